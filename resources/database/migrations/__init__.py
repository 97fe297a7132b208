"""Steps from one schema to the next, run by alembic. `resources/database/schema` describes the result."""
