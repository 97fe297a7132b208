"""Steps from one schema to the next, run by alembic. Not here: what the schema is (`tables.py`)."""
