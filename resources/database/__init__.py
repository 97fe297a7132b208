"""Postgres: tables, migrations, statements. Not here: which rows are worth writing."""
