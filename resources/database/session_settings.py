"""What each session with Postgres needs, set after connecting and verified, so that a connection pooler cannot drop it.

PgBouncer refuses or drops settings that are sent while connecting (`options`). In session mode it keeps those that are
set afterwards. In transaction mode it hands a session's server connection to other clients between transactions, and
settings and advisory locks get lost: such a pooler is refused.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2.extensions import connection as PostgresConnection  # noqa: N812 the driver's class has a lower-case name
from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import Pool

LOCK_TIMEOUT = "1min"
IDLE_IN_TRANSACTION_TIMEOUT = "5min"
KEEPALIVE_IDLE_SECONDS = 30
KEEPALIVE_INTERVAL_SECONDS = 10

SETTINGS: Mapping[str, str] = {
    "search_path": "pg_catalog",
    "TimeZone": "UTC",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "IntervalStyle": "postgres",
    "extra_float_digits": "1",
    "jit": "off",
    "lock_timeout": LOCK_TIMEOUT,
    "idle_in_transaction_session_timeout": IDLE_IN_TRANSACTION_TIMEOUT,
}
"""In the server's own spelling. Every statement of ours names its schema, so nothing else is searched."""

_KEEPALIVES: Mapping[str, str] = {
    "tcp_keepalives_idle": str(KEEPALIVE_IDLE_SECONDS),
    "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_SECONDS),
    "tcp_keepalives_count": "3",
}
"""The server notices within a minute that a client's machine lost power, and releases its locks. Not verified: over a
Unix socket the server ignores them."""

_POOLER_TRIES = 5


class DatabaseUnsuitable(RuntimeError):
    """This database cannot be used as it is set up; the message names the remedy."""


def set_up_session(connection: PostgresConnection, settings: Mapping[str, str] = SETTINGS) -> None:
    """Set a new session's settings, and verify them.

    Args:
        connection: just connected, without a transaction.
        settings: name and value, in the server's own spelling.

    Raises:
        DatabaseUnsuitable: the database is not in UTF-8, a setting did not stay, or a pooler shares sessions.
    """
    before, connection.autocommit = connection.autocommit, True
    try:
        _require_utf8(connection)
        wanted = {**settings, **_KEEPALIVES}
        calls = ", ".join(["set_config(%s, %s, false)"] * len(wanted))
        _row(connection, f"SELECT {calls}", [part for pair in wanted.items() for part in pair])
        calls = ", ".join(["current_setting(%s)"] * len(settings))
        found = dict(zip(settings, _row(connection, f"SELECT {calls}", list(settings)), strict=True))
        _refuse_shared_sessions(connection)
        for name, value in settings.items():
            if found[name] != value:
                raise DatabaseUnsuitable(
                    f"The setting {name} of a database session is {found[name]!r} and not {value!r}, although it was "
                    "just set: is there a connection pooler in between? Use its session mode, or connect without it."
                )
    finally:
        connection.autocommit = before


def set_up_pools_of(application_name: str, settings: Mapping[str, str]) -> None:
    """From now on set up connections of this name, and check them before use, in all engines of this process.

    For a library that makes its own engines, such as Dagster. A kept connection that a restart of the server has closed
    is replaced.

    Args:
        application_name: as the URL of these connections names it.
        settings: as for `set_up_session`.
    """

    @event.listens_for(Pool, "connect")
    def set_up(connection: Any, record: Any) -> None:
        is_postgres = isinstance(connection, PostgresConnection)
        if is_postgres and connection.get_dsn_parameters().get("application_name") == application_name:
            record.info[application_name] = True
            set_up_session(connection, settings)

    @event.listens_for(Pool, "checkout")
    def check(connection: PostgresConnection, record: Any, _proxy: object) -> None:
        if application_name in record.info:
            try:
                _backend_of(connection)
            except psycopg2.Error as error:
                raise DisconnectionError from error


def _require_utf8(connection: PostgresConnection) -> None:
    name, encoding = _row(connection, "SELECT current_database(), current_setting('server_encoding')")
    if encoding != "UTF8":
        raise DatabaseUnsuitable(
            f"The database {name} has the encoding {encoding}, and names need UTF8: create another one with "
            f"\"CREATE DATABASE … ENCODING 'UTF8' TEMPLATE template0\" and name it in DATABASE_URL."
        )


def _refuse_shared_sessions(connection: PostgresConnection) -> None:
    """A pooler shows by another process number than the server's; its mode, by two connections that share a process."""
    if connection.info.backend_pid == _backend_of(connection):
        return
    address: dict[str, Any] = {**connection.get_dsn_parameters(), "password": connection.info.password}
    ours, others = set(), set()
    with closing(psycopg2.connect(**address)) as other:
        other.autocommit = True
        for _ in range(_POOLER_TRIES):
            ours.add(_backend_of(connection))
            others.add(_backend_of(other))
    if ours & others:
        raise DatabaseUnsuitable(
            "DATABASE_URL leads to a connection pooler that shares connections between transactions or statements, "
            "and so loses settings and locks: use its session mode (PgBouncer: pool_mode = session), or connect "
            "without it."
        )


def _backend_of(connection: PostgresConnection) -> int:
    (process,) = _row(connection, "SELECT pg_backend_pid()")
    return int(process)


def _row(connection: PostgresConnection, statement: str, values: Sequence[str] = ()) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)
        row = cursor.fetchone()
        assert row is not None  # noqa: S101 each statement here returns one row
        return row
