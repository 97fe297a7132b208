"""Upgrades the schema: one transaction for each migration, then the views.

A migration waits at most `LOCK_SECONDS` for a table, because writers wait behind it, and is repeated. One with
`IN_TRANSACTION = False` (a concurrent index) runs outside a transaction and without time limits.
"""

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import date
from functools import cache, partial
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import Script, ScriptDirectory
from psycopg2 import errors
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, OperationalError, ProgrammingError
from sqlalchemy.schema import CreateSchema
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random

from resources.database.advisory_lock import advisory_lock
from resources.database.first_day import store_first_day
from resources.database.nights.assign import assign_all_nights, users_without_nights
from resources.database.schema.metadata import SCHEMA
from resources.database.users.registry import Registry
from resources.load_sql import load_sql
from resources.rate_limit.table import create_functions

LOCK_SECONDS = 0.8
"""Less than Postgres' deadlock_timeout of one second, so that of a migration and a writer the migration gives way."""
STATEMENT_SECONDS = 60
ATTEMPTS = 100
PAUSE_SECONDS = (0.5, 2.0)
USERS_AT_ONCE = 50
"""Users whose sessions one transaction assigns to nights."""
MIGRATIONS = Path(str(files("resources.database"))) / "migrations"
VERSIONS: tuple[Path, ...] = (MIGRATIONS / "versions",)
_LOCK = "asleep-sync migrate"
_LOCKED = (errors.LockNotAvailable, errors.DeadlockDetected)


class NotMigrated(RuntimeError):
    """The database's schema is not the one that this program needs; the message names the remedy."""


def migrate(
    engine: Engine,
    *,
    other_schemas: Sequence[str] = (),
    first_day: date | None = None,
    progress: Callable[[str], None] = lambda _line: None,
) -> tuple[str | None, str]:
    """Upgrade the schema and apply the views again; it may be repeated, and run in several places at once.

    Args:
        engine: the database; the role must own it or its schemas.
        other_schemas: empty schemas to make for others, such as Dagster's own tables.
        first_day: the first day that has a partition, see `store_first_day`.
        progress: called with a line of text during steps that may take minutes.

    Returns:
        The revision before (None for an empty database) and the revision now.

    Raises:
        NotMigrated: another release made the schema, or other people's views depend on it (nothing was changed); or a
            migration did not get its lock (those before it are applied).
    """
    with advisory_lock(engine, _LOCK), engine.connect() as connection:
        found = _revision_of(connection)
        _refuse_other_releases(found)
        pending = _pending(found)
        if pending:
            with connection.begin():
                _refuse_views_of_others(connection)
        _run(connection, "Creating schemas", partial(_create_schemas, connection, (SCHEMA, *other_schemas)))
        for migration in pending:
            _apply(connection, migration)
        _run(connection, "Applying the views", partial(_apply_views, connection))
        _run(connection, "Creating the rate limiter's functions", partial(create_functions, connection))
        _assign_nights(connection, progress)
        _run(connection, "Storing the first day", partial(store_first_day, connection, first_day))
        return found, newest_revision()


def require_migrated(connection: Connection) -> None:
    """Check that the schema is current.

    Raises:
        NotMigrated: it is not; the message names both revisions and the remedy.
    """
    found = _revision_of(connection)
    if found != newest_revision():
        _refuse_other_releases(found)
        raise NotMigrated(
            f"The database's schema is at revision {found or 'none'}, this program needs {newest_revision()}: "
            "run `asleep-sync migrate`."
        )


@cache
def newest_revision() -> str:
    """The revision that this program needs."""
    head = ScriptDirectory.from_config(alembic_config()).get_current_head()
    assert head is not None  # noqa: S101 a package without migrations cannot be built
    return head


def alembic_config(connection: Connection | None = None) -> Config:
    """Return alembic's configuration for our migrations, run on this connection."""
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", "\n".join(map(str, VERSIONS)))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _revision_of(connection: Connection) -> str | None:
    with connection.begin() if not connection.in_transaction() else connection.begin_nested():
        return MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA}).get_current_revision()


def _refuse_other_releases(found: str | None) -> None:
    known = {script.revision for script in ScriptDirectory.from_config(alembic_config()).walk_revisions()}
    if found is not None and found not in known:
        raise NotMigrated(
            f"The database's schema is at revision {found}, which this program does not have; its own range from "
            f"{min(known)} to {newest_revision()}. Install the release that made it or a later one, or restore a dump "
            f"from before the upgrade. A revision below {min(known)} is from before the first release: see "
            "docs/how-to/backup-and-restore.md. Nothing was changed."
        )


def _pending(found: str | None) -> list[Script]:
    script = ScriptDirectory.from_config(alembic_config())
    return list(reversed(list(script.iterate_revisions("head", found or "base"))))


def _refuse_views_of_others(connection: Connection) -> None:
    """Refuse while another owner's view depends on our tables: it may block a change, and we never drop it."""
    values = {"schema": SCHEMA, "ours": list(_views())}
    names = connection.scalars(load_sql(__package__, "views_of_others"), values).all()
    if names:
        raise NotMigrated(
            f"Views that are not ours depend on schema {SCHEMA}: {', '.join(names)}. Save each definition (SELECT "
            f"pg_get_viewdef('{names[0]}'::regclass)) and its grants, drop it, run `asleep-sync migrate`, create it "
            "again. Nothing was changed."
        )


def _apply(connection: Connection, migration: Script) -> None:
    """Apply one migration; our views are dropped for it only when it changes a column that they use."""
    upgrade = partial(command.upgrade, alembic_config(connection), migration.revision)
    if not getattr(migration.module, "IN_TRANSACTION", True):
        connection.execution_options(isolation_level="AUTOCOMMIT")
        with connection.begin():
            connection.exec_driver_sql("SET lock_timeout = 0")
            upgrade()
            connection.exec_driver_sql("RESET lock_timeout")
        connection.execution_options(isolation_level="READ COMMITTED")
        return

    def upgrade_without_views() -> None:
        _drop_views(connection)
        upgrade()
        with suppress(ProgrammingError), connection.begin_nested():
            _create_views(connection)  # they may need a later migration

    try:
        _run(connection, f"Migration {migration.revision}", upgrade)
    except DBAPIError as error:
        if not isinstance(error.orig, errors.FeatureNotSupported | errors.DependentObjectsStillExist):
            raise
        _run(connection, f"Migration {migration.revision}", upgrade_without_views)


def _run(connection: Connection, what: str, action: Callable[[], object]) -> None:
    """Run an action in a transaction with short time limits; repeat it while a lock is not available."""

    def attempt() -> None:
        with connection.begin():
            connection.exec_driver_sql(f"SET LOCAL lock_timeout = '{LOCK_SECONDS}s'")
            connection.exec_driver_sql(f"SET LOCAL statement_timeout = '{STATEMENT_SECONDS}s'")
            action()

    retry = retry_if_exception(lambda error: isinstance(getattr(error, "orig", None), _LOCKED))
    try:
        Retrying(retry=retry, stop=stop_after_attempt(ATTEMPTS), wait=wait_random(*PAUSE_SECONDS), reraise=True)(
            attempt
        )
    except OperationalError as error:
        if isinstance(error.orig, _LOCKED):
            raise NotMigrated(
                f"{what}: no lock within {LOCK_SECONDS} s, {ATTEMPTS} times; a long transaction holds a table. End it "
                "(SELECT pid, xact_start, query FROM pg_stat_activity ORDER BY xact_start) and run `asleep-sync "
                "migrate` again: it goes on where it stopped."
            ) from None
        if isinstance(error.orig, errors.QueryCanceled):
            raise NotMigrated(
                f"{what}: a statement ran longer than {STATEMENT_SECONDS} s and was rolled back. Run `asleep-sync "
                "migrate` again at a quiet hour; a migration that needs longer sets statement_timeout itself."
            ) from None
        raise


def _assign_nights(connection: Connection, progress: Callable[[str], None]) -> None:
    """Assign sessions stored before there were nights, some users in each transaction, without a time-out."""
    with connection.begin():
        total = len(users_without_nights(connection))
    done = 0
    while True:
        with connection.begin():
            users = users_without_nights(connection, USERS_AT_ONCE)
            if not users:
                return
            Registry(connection).hold(users)
            assign_all_nights(connection, users)
        done += len(users)
        progress(f"Nights of {done} of {max(done, total)} users assigned.")


def _create_schemas(connection: Connection, schemas: Sequence[str]) -> None:
    for schema in schemas:
        connection.execute(CreateSchema(schema, if_not_exists=True))


def _drop_views(connection: Connection) -> None:
    """Drop our views, for columns under a view cannot be altered; without CASCADE, so other people's views stay."""
    names = ", ".join(f"{SCHEMA}.{name}" for name in _views())
    connection.exec_driver_sql(f"DROP VIEW IF EXISTS {names}")


def _create_views(connection: Connection) -> None:
    for statements in _view_files().values():
        connection.exec_driver_sql(statements.replace("%", "%%"))  # the driver reads % as a parameter


def _apply_views(connection: Connection) -> None:
    try:
        with connection.begin_nested():
            _create_views(connection)
    except ProgrammingError as error:
        if not isinstance(error.orig, errors.InvalidTableDefinition):
            raise
        _refuse_views_of_others(connection)  # columns of a view changed: it cannot be replaced in place
        _drop_views(connection)
        _create_views(connection)


@cache
def _view_files() -> dict[str, str]:
    """Return the statements of `views/` by file name, in the order in which they are applied."""
    entries = files("resources.database").joinpath("views").iterdir()
    return {e.name: e.read_text("utf-8") for e in sorted(entries, key=lambda e: e.name) if e.name.endswith(".sql")}


@cache
def _views() -> tuple[str, ...]:
    """Return the names of our views."""
    return tuple(
        re.findall(rf"^CREATE OR REPLACE VIEW {SCHEMA}\.(\w+)", "\n".join(_view_files().values()), re.MULTILINE)
    )
