"""Rebuilding of typed columns from the stored raw results."""
