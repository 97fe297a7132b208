"""Connections to Postgres: URL, driver, time-outs, application name."""

import re
from typing import Any

import psycopg2
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, OperationalError

from resources.database.session_settings import KEEPALIVE_IDLE_SECONDS, KEEPALIVE_INTERVAL_SECONDS, set_up_session

_HIGHEST_PORT = 65535
POOL_TIMEOUT_SECONDS = 30
CONNECT_TIMEOUT_SECONDS = 10
UNACKNOWLEDGED_MILLISECONDS = 20_000
_PASSES = ("08", "40", "57P")
"""SQLSTATE classes of a connection that broke, of a transaction that met another one, and of a server that stops."""
_SEVERAL_HOSTS = re.compile(r"([\w+]+://(?:[^@/?]*@)?)([^@/?]*,[^@/?]*)(.*)", re.DOTALL)


class DatabaseUrlInvalid(ValueError):
    """The database URL cannot be read: it should look like postgresql://user:password@host:5432/database."""


def database_url(text: str) -> URL:
    """Read any usual form of a Postgres URL and name the driver in it.

    `postgres://`, `postgresql://` and `postgresql+psycopg2://` all become `postgresql+psycopg2://`: SQLAlchemy
    2.1 would read the bare forms as another driver. Several hosts, separated by commas, are tried in order, as in
    libpq.

    Raises:
        DatabaseUrlInvalid: it is no Postgres URL. The message does not repeat it, for it may hold a password.
    """
    try:
        url = _with_several_hosts(text.strip())
        is_ours = url.drivername in {"postgres", "postgresql", "postgresql+psycopg2"}
        url = url.set(drivername="postgresql+psycopg2")
        if is_ours and _can_be_connected_to(url):
            return url
    except (ArgumentError, ValueError, psycopg2.ProgrammingError):  # each may quote a part of it
        pass
    raise DatabaseUrlInvalid(DatabaseUrlInvalid.__doc__)


def _with_several_hosts(text: str) -> URL:
    """A URL, with hosts that are separated by commas moved to where SQLAlchemy expects them."""
    several = _SEVERAL_HOSTS.fullmatch(text)
    if several is None:
        return make_url(text)
    before, hosts, after = several.groups()
    return make_url(before + after).update_query_dict({"host": hosts.split(",")})


def _can_be_connected_to(url: URL) -> bool:
    """False when a part of a password was taken for host or port: drivers repeat those when they cannot connect.

    Raises:
        ArgumentError, ValueError, psycopg2.ProgrammingError: the query names options that the driver does not know, or
            a port is no number.
    """
    _, named = url.get_dialect()().create_connect_args(url)
    make_dsn(**named)
    ports = [int(port) for port in str(named.get("port", "")).split(",") if port]
    return "@" not in str(named.get("host", "")) and all(0 < port <= _HIGHEST_PORT for port in ports)


def make_engine(url: str | URL, *, application_name: str, pool_size: int = 5) -> Engine:
    """An engine whose connections are set up when made, checked before use, and never wait for ever.

    Args:
        url: where; see `database_url` for the forms accepted.
        application_name: shown in `pg_stat_activity`.
        pool_size: connections kept; twice as many may be open for a moment.
    """
    engine = create_engine(
        database_url(url if isinstance(url, str) else url.render_as_string(hide_password=False)),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=POOL_TIMEOUT_SECONDS,
        hide_parameters=True,
        use_native_hstore=False,
        connect_args={
            "connect_timeout": CONNECT_TIMEOUT_SECONDS,
            "application_name": application_name,
            "tcp_user_timeout": UNACKNOWLEDGED_MILLISECONDS,
            "keepalives_idle": KEEPALIVE_IDLE_SECONDS,
            "keepalives_interval": KEEPALIVE_INTERVAL_SECONDS,
            "keepalives_count": 3,
        },
    )

    @event.listens_for(engine, "connect", insert=True)  # before SQLAlchemy's own, which begins a transaction
    def set_up(connection: Any, _record: object) -> None:
        set_up_session(connection)

    return engine


def passes_by_itself(error: DBAPIError) -> bool:
    """Return whether a later attempt may succeed: the database cannot be reached, or a transaction met another one.

    The class `OperationalError` alone does not say so: it includes a full disk, a time-out, and a value too large.
    """
    code = getattr(error.orig, "pgcode", None)
    return isinstance(error, OperationalError | InterfaceError) and (code is None or code.startswith(_PASSES))


def concerns_every_statement(error: DBAPIError) -> bool:
    """Return whether other statements would meet the same error: an outage, a lack of resources, a lock held."""
    return passes_by_itself(error) or (getattr(error.orig, "pgcode", None) or "").startswith(("53", "55"))
