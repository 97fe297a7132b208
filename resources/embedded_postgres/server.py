"""A Postgres server for development: started on demand, shared by all processes, kept until stopped.

It listens on 127.0.0.1 with a password that only the owner of the files can read; the role is no superuser.
"""

import secrets
import shlex
import socket
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import psycopg2
from psycopg2 import extensions

from resources.embedded_postgres.home import Home, find_home, lock, open_home, replace_file
from resources.embedded_postgres.programs import EmbeddedPostgresError, find_program, run

LOOPBACK = "127.0.0.1"
APPLICATION, SUPERUSER, DATABASE = "asleep", "postgres", "asleep"
SETTLE_SECONDS = 60
POLL_SECONDS = 0.02
CONNECT_TIMEOUT_SECONDS = 2
PORT_ATTEMPTS = 5
SETTINGS = (
    f"-c listen_addresses={LOOPBACK} -c unix_socket_directories= -c max_connections=200 -c shared_buffers=128MB "
    "-c timezone=UTC -c log_timezone=UTC -c log_min_duration_statement=-1 "
    "-c log_statement=none -c log_min_messages=log -c log_min_error_statement=panic -c log_error_verbosity=terse "
    "-c log_parameter_max_length=0 -c log_parameter_max_length_on_error=0"
)
"""Statements hold ids and bodies of events, and the texts of errors quote them: none is logged."""
_LOCALE = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
_LOGIN = (f"--username={SUPERUSER}", "--auth=scram-sha-256", "--pwfile=/dev/stdin")


@dataclass(frozen=True, slots=True)
class EmbeddedPostgres:
    """A running server; psql_command opens psql."""

    url: str = field(repr=False)
    """The database `asleep` as its owner, with the password."""
    data_directory: Path
    psql_command: str
    superuser_dsn: str = field(repr=False)
    """For work on the server itself: it still has a place when all connections are in use."""


def start(directory: Path) -> EmbeddedPostgres:
    """Return the server of `directory`: created on first use, started when it is down, left alone when it runs.

    Raises:
        EmbeddedPostgresError: it cannot be started, or the directory cannot be used.
    """
    with _usable(directory):
        return running(directory) or _start(directory)


@contextmanager
def _usable(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise EmbeddedPostgresError(
            f"DATA_DIRECTORY: {directory} cannot be used ({error.strerror or error}). Name a folder that can be "
            "written, or set DATABASE_URL."
        ) from None


def _start(directory: Path) -> EmbeddedPostgres:
    with open_home(directory) as home:
        if (life := _await_answer_or_end(home)) is not None:
            with life:
                if not home.data.exists():
                    _create_cluster(home, life)
                _launch(home, life)
        if not _answers(home):
            raise EmbeddedPostgresError(f"Postgres started but does not let us in: see {home.log}")
        return _describe(home)


def running(directory: Path) -> EmbeddedPostgres | None:
    """Return the server of `directory` if it runs and answers; nothing is changed."""
    home = find_home(directory)
    return None if home is None or not _answers(home) else _describe(home)


def stop(directory: Path) -> bool:
    """Stop the server of `directory`; return False when it did not run."""
    with _usable(directory):
        return _end(directory, remove=False)


def destroy(directory: Path) -> None:
    """Stop the server of `directory` and remove its data for good."""
    with _usable(directory):
        _end(directory, remove=True)


def _end(directory: Path, *, remove: bool) -> bool:
    if find_home(directory) is None:
        return False
    with open_home(directory) as home:
        life = _await_answer_or_end(home)
        if was_running := life is None:
            # It has just answered, so postmaster.pid is its own: pg_ctl signals that number without a look.
            run("pg_ctl", "stop", "-D", home.data, "-m", "fast", "-w", "-t", str(SETTLE_SECONDS))
            life = _await_answer_or_end(home)
        if life is not None:
            life.close()
        if remove:
            home.remove(directory)
        return was_running


def _create_cluster(home: Home, life: IO[str]) -> None:
    """Make a cluster, complete before it gets its name; should we be killed, the next waits for the programs to end."""
    passwords = {role: secrets.token_urlsafe(24) for role in (APPLICATION, SUPERUSER)}
    replace_file(home.passwords, "".join(f"{LOOPBACK}:*:*:{role}:{word}\n" for role, word in passwords.items()))
    new = home.prepare_data()
    run("initdb", *_LOGIN, *_LOCALE, "-D", new, stdin=passwords[SUPERUSER], life=life)
    role = f"CREATE ROLE {APPLICATION} LOGIN CREATEDB CREATEROLE PASSWORD '{passwords[APPLICATION]}';\n"
    statements = f"{role}CREATE DATABASE {DATABASE} OWNER {APPLICATION};\n"
    silent = ("-c", "log_min_error_statement=panic")  # a statement that fails holds a password
    run("postgres", "--single", "-c", "exit_on_error=on", *silent, "-D", new, "postgres", stdin=statements, life=life)
    new.rename(home.data)


def _launch(home: Home, life: IO[str]) -> None:
    """Start the server with the sign of life in its hands, on the port of last time if that is free."""
    # Postgres trusts this file while a process of that number lives, be it a zombie or a stranger.
    (home.data / "postmaster.pid").unlink(missing_ok=True)
    for attempt in range(PORT_ATTEMPTS):
        if attempt or not home.port.exists():
            with socket.create_server((LOOPBACK, 0)) as probe:
                replace_file(home.port, str(probe.getsockname()[1]))
        home.prepare_log()
        options = ("-w", "-t", str(SETTLE_SECONDS), "-o", f"-p {home.port.read_text()} {SETTINGS}")
        try:
            return run("pg_ctl", "start", "-D", home.data, "-l", home.log, *options, life=life)
        except EmbeddedPostgresError as error:
            failed, log = error, home.log.read_text(errors="replace")
        if "Address already in use" not in log:
            break
    raise EmbeddedPostgresError(f"{failed}\n{log[-1500:]}")


def _await_answer_or_end(home: Home) -> IO[str] | None:
    """Wait until the server answers (None), or until none of its processes lives: then return its sign of life."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while time.monotonic() < deadline:
        if _answers(home):
            return None
        if (life := lock(home.alive)) is not None:
            return life
        time.sleep(POLL_SECONDS)
    raise EmbeddedPostgresError(
        f"{home.data}: the server neither answers nor ends (`lsof {home.alive}`), see {home.log}"
    )


def _answers(home: Home) -> bool:
    """Return whether our port leads to the server of this very data directory, and it lets us in."""
    if not (home.port.exists() and home.passwords.exists()):
        return False
    try:
        with closing(psycopg2.connect(_superuser_dsn(home))) as connection, connection.cursor() as cursor:
            cursor.execute("SHOW data_directory")
            return Path(cursor.fetchall()[0][0]).resolve() == home.data.resolve()
    except psycopg2.OperationalError:
        return False


def _superuser_dsn(home: Home) -> str:
    """Return a DSN that makes the server prove that it knows the password: a stranger on the port never gets it."""
    safety = {"require_auth": "scram-sha-256", "sslmode": "disable", "gssencmode": "disable"}
    login = {"user": SUPERUSER, "password": home.password_of(SUPERUSER), "dbname": "postgres"}
    place = {"host": LOOPBACK, "port": home.port.read_text(), "connect_timeout": str(CONNECT_TIMEOUT_SECONDS)}
    return extensions.make_dsn(**place, **login, **safety)


def _describe(home: Home) -> EmbeddedPostgres:
    port = home.port.read_text()
    psql = [str(find_program("psql")), "-h", LOOPBACK, "-p", port, "-U", APPLICATION, "-d", DATABASE]
    command = f"PGPASSFILE={shlex.quote(str(home.passwords))} {shlex.join(psql)}"
    url = f"postgresql+psycopg2://{APPLICATION}:{home.password_of(APPLICATION)}@{LOOPBACK}:{port}/{DATABASE}"
    return EmbeddedPostgres(url, home.data, command, _superuser_dsn(home))
