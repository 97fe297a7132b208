"""A Postgres server for development, demo and tests."""
