"""Bring a database to the current schema.

Lives here: upgrade under a lock, views dropped before and applied again after, and the question whether a
database is up to date.  Not here: DDL text (`migrations/`, `views/`).
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, text
from sqlalchemy.schema import CreateSchema

from resources.database.schema.metadata import SCHEMA

_LOCK = "asleep-sync migrate"


class NotMigrated(RuntimeError):
    """The database's schema is not the one this program needs: run `asleep-sync migrate`."""


def migrate(engine: Engine, *, other_schemas: Sequence[str] = ()) -> tuple[str | None, str]:
    """Upgrade the schema and apply the views again; safe to run twice and at once.

    Args:
        engine: the database; the role must own it or its schemas.
        other_schemas: empty schemas to make for others, such as Dagster's own tables.

    Returns:
        The revision found (None for an empty database) and the revision now.
    """
    with engine.connect() as connection, _alone(connection):
        found = _revision_of(connection)
        with connection.begin():
            for schema in (SCHEMA, *other_schemas):
                connection.execute(CreateSchema(schema, if_not_exists=True))
            if found != newest_revision():
                _drop_views(connection)
            config = _config()
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            for name in _view_files():
                connection.exec_driver_sql(files("resources.database").joinpath("views", name).read_text("utf-8"))
        return found, newest_revision()


def require_migrated(connection: Connection) -> None:
    """Do nothing when the schema is current.

    Raises:
        NotMigrated: it is not; the message names both revisions and the remedy.
    """
    found = _revision_of(connection)
    if found != newest_revision():
        raise NotMigrated(
            f"The database's schema is at revision {found or 'none'}, this program needs {newest_revision()}: "
            "run `asleep-sync migrate`."
        )


@cache
def newest_revision() -> str:
    """The revision that this program was written for."""
    head = ScriptDirectory.from_config(_config()).get_current_head()
    assert head is not None  # noqa: S101 a package without migrations cannot be built
    return head


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(str(files("resources.database"))) / "migrations"))
    return config


def _revision_of(connection: Connection) -> str | None:
    with connection.begin() if not connection.in_transaction() else connection.begin_nested():
        return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


def _view_files() -> list[str]:
    return sorted(
        entry.name for entry in files("resources.database").joinpath("views").iterdir() if entry.name.endswith(".sql")
    )


def _drop_views(connection: Connection) -> None:
    """Columns under a view cannot be altered, so our views go first and `views/` makes them again.

    One statement for all, without CASCADE: a view that somebody else built upon ours is never dropped silently.
    """
    names = connection.scalars(
        text("SELECT format('%I.%I', schemaname, viewname) FROM pg_views WHERE schemaname = :schema"),
        {"schema": SCHEMA},
    ).all()
    if names:
        connection.exec_driver_sql(f"DROP VIEW {', '.join(names)}")


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """Hold the migration lock of this database; a second migration waits and then finds nothing to do."""
    connection.execution_options(isolation_level="READ COMMITTED")
    with connection.begin():
        connection.execute(text("SET lock_timeout = 0"))
        connection.execute(text("SELECT pg_advisory_lock(hashtextextended(:name, 0))"), {"name": _LOCK})
    try:
        yield
    finally:
        with connection.begin():
            connection.execute(text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))"), {"name": _LOCK})
