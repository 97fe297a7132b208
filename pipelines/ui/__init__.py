"""Dagster's UI behind a guard against web pages of other sites."""
