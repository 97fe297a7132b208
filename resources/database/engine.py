"""Connections to Postgres: driver, time-outs, application name.

Lives here: how an engine is made from a URL, and the bulk paths that need the driver itself.  Not here:
statements, sessions kept.
"""

import psycopg2
from psycopg2.extensions import make_dsn
from sqlalchemy import URL, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError

_OPTIONS = (
    "-c timezone=UTC -c jit=off -c lock_timeout=60s -c idle_in_transaction_session_timeout=300s "
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3"
)
"""A machine that lost power is noticed within a minute, on both sides: until then it holds its locks."""
_HIGHEST_PORT = 65535


class DatabaseUrlInvalid(ValueError):
    """The database URL cannot be read: it should look like postgresql://user:password@host:5432/database."""


def database_url(text: str) -> URL:
    """Read any usual form of a Postgres URL and name the driver in it.

    `postgres://`, `postgresql://` and `postgresql+psycopg2://` all become `postgresql+psycopg2://`: SQLAlchemy
    2.1 would read the bare forms as another driver.

    Raises:
        DatabaseUrlInvalid: it is no Postgres URL. The message does not repeat it, for it may hold a password.
    """
    try:
        url = make_url(text.strip())
        is_ours = url.drivername in {"postgres", "postgresql", "postgresql+psycopg2"}
        url = url.set(drivername="postgresql+psycopg2")
        if is_ours and _can_be_connected_to(url):
            return url
    except (ArgumentError, ValueError, psycopg2.ProgrammingError):  # each may quote a part of it
        pass
    raise DatabaseUrlInvalid(DatabaseUrlInvalid.__doc__)


def _can_be_connected_to(url: URL) -> bool:
    """False when a part of a password was taken for host or port: drivers repeat those when they cannot connect.

    Raises:
        ArgumentError, psycopg2.ProgrammingError: the query names options that the driver does not know.
    """
    _, named = url.get_dialect()().create_connect_args(url)
    make_dsn(**named)
    return "@" not in (url.host or "") and (url.port is None or 0 < url.port <= _HIGHEST_PORT)


def make_engine(url: str | URL, *, application_name: str, pool_size: int = 5) -> Engine:
    """An engine whose connections are checked before use, speak UTC and never wait for ever.

    Args:
        url: where; see `database_url` for the forms accepted.
        application_name: shown in `pg_stat_activity`.
        pool_size: connections kept; twice as many may be open for a moment.
    """
    return create_engine(
        database_url(url if isinstance(url, str) else url.render_as_string(hide_password=False)),
        pool_size=pool_size,
        max_overflow=pool_size,
        pool_pre_ping=True,
        pool_timeout=30,
        hide_parameters=True,
        connect_args={
            "connect_timeout": 10,
            "application_name": application_name,
            "options": _OPTIONS,
            "tcp_user_timeout": 20_000,
            "keepalives_idle": 30,
            "keepalives_interval": 10,
            "keepalives_count": 3,
        },
    )
