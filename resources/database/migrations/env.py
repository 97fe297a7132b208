"""Entry point of alembic, which runs on the connection that `migrate` passes."""

from alembic import context

from resources.database.schema import bookkeeping, metrics_table, tables
from resources.database.schema.metadata import SCHEMA, metadata

_ALL_TABLES = (tables, metrics_table, bookkeeping)

connection = context.config.attributes["connection"]
connection.dialect.default_schema_name = "public"  # a role named as the schema would hide the schema's name
context.configure(
    connection=connection,
    target_metadata=metadata,
    version_table_schema=SCHEMA,
    include_schemas=True,
    include_name=lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
    compare_type=True,
    compare_server_default=True,
)
with context.begin_transaction():
    context.run_migrations()
