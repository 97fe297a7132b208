"""Descriptions of all tables."""
