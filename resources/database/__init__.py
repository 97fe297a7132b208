"""Postgres: tables, migrations, statements. Does not belong here: which rows are worth writing."""
