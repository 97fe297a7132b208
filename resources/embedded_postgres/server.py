"""A Postgres of one's own for development: started on demand, shared by all processes, kept until stopped.

    python -m resources.embedded_postgres.server start|stop|status|url|destroy [--directory DIRECTORY]

Reached over 127.0.0.1 with a password that only the owner of the files can read. The application's role is not a
superuser, as in production.

Lives here: which server answers, and what may be done to it when.  Not here: how Postgres' programs are called,
files, our schema.
"""

import contextlib
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO
from urllib.parse import quote

import click
import psycopg2
from psycopg2 import extensions, sql

from resources.embedded_postgres.cluster import (
    APPLICATION,
    DATABASE,
    SUPERUSER,
    create_cluster,
    launch,
    shut_down,
)
from resources.embedded_postgres.home import (
    LOOPBACK,
    Home,
    alone,
    find_home,
    is_locked,
    lock_at_once,
    make_home,
    remove_home,
)
from resources.embedded_postgres.programs import EmbeddedPostgresError

SETTLE_SECONDS = 60


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server."""

    url: str = field(repr=False)
    """The database `asleep` as its owner, with the password."""
    data_directory: Path
    bin_directory: Path
    psql_command: str | None
    """What to type in a shell to look around; None when the wheel brings no psql."""
    superuser_dsn: str = field(repr=False)
    """For work on the server itself: it still has a place when all connections are in use."""

    def url_for(self, database: str) -> str:
        """Another database of this server."""
        return f"{self.url.rpartition('/')[0]}/{quote(database, safe='')}"


def start(directory: Path) -> EmbeddedPostgres:
    """The server of `directory`: created on first use, started when it is down, left alone when it runs."""
    if (server := running(directory)) is not None:
        return server
    with alone(directory):
        home = find_home(directory) or make_home(directory)
        life = _await_answer_or_end(home)
        if life is not None:
            with life:
                if not home.data.exists():
                    create_cluster(home, life)
                launch(home, life)
        if not _answers(home):
            raise EmbeddedPostgresError(f"Postgres started but does not let us in: see {home.log}")
        return _describe(home)


def running(directory: Path) -> EmbeddedPostgres | None:
    """The server of `directory` if it runs and answers; nothing is changed."""
    home = find_home(directory)
    if home is None or not is_locked(home.sign_of_life) or not _answers(home):
        return None
    return _describe(home)


def stop(directory: Path) -> bool:
    """Stop the server of `directory`; False when it did not run."""
    if find_home(directory) is None:
        return False
    with alone(directory):
        home = find_home(directory)
        return home is not None and _stop(home)


def destroy(directory: Path) -> None:
    """Stop the server of `directory` and remove its data for good."""
    if find_home(directory) is None:
        return
    with alone(directory):
        home = find_home(directory)
        if home is not None:
            _stop(home)
            remove_home(directory, home)


def create_database(server: EmbeddedPostgres, name: str, *, template: str = "template1") -> str:
    """A new database, a copy of a template that nobody is connected to; its URL."""
    names = [sql.Identifier(part) for part in (name, APPLICATION, template)]
    _execute(server.superuser_dsn, sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(*names))
    return server.url_for(name)


def drop_database(server: EmbeddedPostgres, name: str) -> None:
    """Remove a database together with its connections; nothing happens when there is none."""
    statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name))
    _execute(server.superuser_dsn, statement)


def _execute(dsn: str, statement: sql.Composed) -> None:
    with _connected(dsn) as connection, connection.cursor() as cursor:
        cursor.execute(statement)


def _await_answer_or_end(home: Home) -> IO[str] | None:
    """Wait until the server answers (None), or until nothing of it is alive: then its sign of life is ours."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if _answers(home):
            return None
        if (life := lock_at_once(home.sign_of_life)) is not None:
            return life
        time.sleep(0.02)
    raise EmbeddedPostgresError(
        f"The server in {home.data} neither answers nor ends: see {home.log}, or end the processes that "
        f"`lsof {home.sign_of_life}` lists"
    )


def _stop(home: Home) -> bool:
    life = _await_answer_or_end(home)
    if life is not None:
        life.close()
        return False
    # It has just answered, so postmaster.pid is its own: pg_ctl signals that number without a look.
    shut_down(home)
    deadline = time.monotonic() + SETTLE_SECONDS
    while (life := lock_at_once(home.sign_of_life)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    if life is not None:
        life.close()
    return True


def _answers(home: Home) -> bool:
    """Whether our port leads to the server of this very data directory, and it lets us in."""
    if not (home.port.exists() and home.passwords.exists()):
        return False
    try:
        with _connected(_superuser_dsn(home)) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            found = cursor.fetchone()
    except psycopg2.OperationalError:
        return False
    return found is not None and Path(found[0]).resolve() == home.data.resolve()


@contextlib.contextmanager
def _connected(dsn: str) -> Iterator[extensions.connection]:
    with contextlib.closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        yield connection


def _superuser_dsn(home: Home) -> str:
    """Asks for proof that the server knows the password, so that a stranger on the port never gets to see it."""
    return extensions.make_dsn(
        host=LOOPBACK,
        port=home.port.read_text(),
        user=SUPERUSER,
        password=home.password_of(SUPERUSER),
        dbname="postgres",
        require_auth="scram-sha-256",
        sslmode="disable",
        gssencmode="disable",
        connect_timeout="2",
    )


def _describe(home: Home) -> EmbeddedPostgres:
    port = home.port.read_text()
    psql = home.programs.directory / "psql"
    login = ["-h", LOOPBACK, "-p", port, "-U", APPLICATION, "-d", DATABASE]
    command = f"PGPASSFILE={shlex.quote(str(home.passwords))} {shlex.join([str(psql), *login])}"
    address = f"{APPLICATION}:{home.password_of(APPLICATION)}@{LOOPBACK}:{port}"
    return EmbeddedPostgres(
        url=f"postgresql+psycopg2://{address}/{DATABASE}",
        data_directory=home.data,
        bin_directory=home.programs.directory,
        psql_command=command if psql.exists() else None,
        superuser_dsn=_superuser_dsn(home),
    )


@click.command()
@click.argument("verb", type=click.Choice(["start", "stop", "status", "url", "destroy"]))
@click.option("--directory", type=click.Path(path_type=Path, file_okay=False), default=Path(".data/postgres"))
def main(verb: str, directory: Path) -> None:
    """Start, stop or look at the embedded Postgres; `url` starts it when needed, `destroy` removes its data."""
    try:
        click.echo(_do(verb, directory))
    except EmbeddedPostgresError as error:
        raise click.ClickException(str(error)) from error


def _do(verb: str, directory: Path) -> str:
    if verb == "stop":
        return "stopped" if stop(directory) else "was not running"
    if verb == "destroy":
        destroy(directory)
        return "removed"
    server = running(directory) if verb == "status" else start(directory)
    if server is None:
        raise click.ClickException("not running")
    return server.url if verb == "url" else f"running in {server.data_directory}\n{server.psql_command}"


if __name__ == "__main__":
    main()
