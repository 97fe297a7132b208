"""Databases of the embedded server, for tests and benchmarks."""

from collections.abc import Iterable
from contextlib import closing

import psycopg2
from psycopg2 import sql

from resources.embedded_postgres.server import APPLICATION, EmbeddedPostgres


def url_of(server: EmbeddedPostgres, name: str) -> str:
    """The URL of another database of the server."""
    return f"{server.url.rpartition('/')[0]}/{name}"


def create_database(server: EmbeddedPostgres, name: str, *, template: str = "template1") -> str:
    """Create a database and return its URL; the template must have no connections."""
    _execute(server, "CREATE DATABASE {} OWNER {} TEMPLATE {}", (name, APPLICATION, template))
    return url_of(server, name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Remove a database together with its connections; does nothing when there is none."""
    _execute(server, "DROP DATABASE IF EXISTS {} WITH (FORCE)", (name,))


def _execute(server: EmbeddedPostgres, statement: str, names: Iterable[str]) -> None:
    with closing(psycopg2.connect(server.superuser_dsn)) as connection:
        connection.autocommit = True
        connection.cursor().execute(sql.SQL(statement).format(*map(sql.Identifier, names)))
