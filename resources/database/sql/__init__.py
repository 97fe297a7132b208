"""Statements, one a file. Not here: Python."""
