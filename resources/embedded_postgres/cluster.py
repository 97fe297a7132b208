"""What a Postgres cluster of ours is made of, and how Postgres' own programs make, launch and shut it down.

Lives here: the calls of `initdb`, `postgres` and `pg_ctl`, settings, roles.  Not here: whether a call is due (the
callers hold the lock and have looked), who is connected.
"""

import secrets
from pathlib import Path
from typing import IO

from resources.embedded_postgres.home import LOOPBACK, Home, write_private
from resources.embedded_postgres.programs import EmbeddedPostgresError

APPLICATION = "asleep"
SUPERUSER = "postgres"
DATABASE = "asleep"
LAUNCH_SECONDS = 60
PORT_ATTEMPTS = 5
SETTINGS = {
    "listen_addresses": LOOPBACK,
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_min_duration_statement": "-1",
}


def create_cluster(home: Home, life: IO[str]) -> None:
    """Make a cluster with roles, passwords and database, complete before it gets its name.

    The programs hold the sign of life: when we are killed, the next one to try waits for them to end.
    """
    passwords = {role: secrets.token_urlsafe(24) for role in (APPLICATION, SUPERUSER)}
    write_private(home.passwords, "".join(f"{LOOPBACK}:*:*:{role}:{word}\n" for role, word in passwords.items()))
    new = home.prepare_data()
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    with home.secret_for_programs(passwords[SUPERUSER]) as secret:
        login = (f"--username={SUPERUSER}", "--auth=scram-sha-256", f"--pwfile={secret}")
        _must(home, "initdb", *login, *locale, "-D", new, life=life)
    statements = (
        f"CREATE ROLE {APPLICATION} LOGIN CREATEDB CREATEROLE PASSWORD '{passwords[APPLICATION]}';\n"
        f"CREATE DATABASE {DATABASE} OWNER {APPLICATION};\n"
    )
    alone = ("--single", "-c", "exit_on_error=on")
    _must(home, "postgres", *alone, "-D", new, "postgres", given=statements, life=life)
    new.rename(home.data)


def launch(home: Home, life: IO[str]) -> None:
    """Start the server with the sign of life in its hands, on the port of last time if that is free."""
    # Postgres believes this file when a process of that number lives, be it a zombie or a stranger.
    (home.data / "postmaster.pid").unlink(missing_ok=True)
    settings = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    where = ("-D", home.data, "-l", home.log)
    for _ in range(PORT_ATTEMPTS):
        log_length = home.prepare_log()
        options = ("-w", "-t", str(LAUNCH_SECONDS), "-o", f"-p {home.choose_port()} {settings}")
        ended = home.programs.run("pg_ctl", "start", *where, *options, keep_open=[life.fileno()])
        if ended.returncode == 0:
            return
        if "Address already in use" not in home.log_since(log_length):
            break
    raise EmbeddedPostgresError(
        "Postgres did not start (set DATABASE_URL to do without it):\n"
        f"{ended.stdout[-500:]}\n{home.log_since(log_length)[-1500:]}"
    )


def shut_down(home: Home) -> None:
    """Stop the server. Only for one that has just answered: pg_ctl signals the number in postmaster.pid unseen."""
    _must(home, "pg_ctl", "stop", "-D", home.data, "-m", "fast", "-w", "-t", str(LAUNCH_SECONDS))


def _must(home: Home, program: str, *arguments: str | Path, given: str = "", life: IO[str] | None = None) -> None:
    keep_open = [] if life is None else [life.fileno()]
    ended = home.programs.run(program, *arguments, given=given, keep_open=keep_open)
    if ended.returncode != 0:
        raise EmbeddedPostgresError(f"{program} failed (set DATABASE_URL to do without it):\n{ended.stdout[-2000:]}")
