"""What all commands share: settings, the database, private files, and errors as one line with exit code 2."""

import gc
import os
import signal
import socket
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import click

NOTHING_DONE = 2
PORT = click.IntRange(1, 65535)
_OF_RIGHTS = frozenset({"42501", "3F000"})
"""Insufficient privilege, and a schema that is not there or may not be used: their texts name objects and no data."""


class Refusal(click.ClickException):
    """One clear line, and exit code 2."""

    exit_code = NOTHING_DONE

    def show(self, file: Any = None) -> None:
        """To the standard error stream."""
        click.echo(f"asleep-sync: {self.message}", err=True, file=file)


class Commands(click.Group):
    """Commands whose expected errors end in one line instead of a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn errors that the user can fix into a `Refusal`, and signals into the code of a shell.

        For signals click itself exits with 1, which here says that data are missing.
        """
        warnings.filterwarnings("ignore", message=".*is currently in (beta|preview)")
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("\nasleep-sync: stopped.", err=True)
            ctx.exit(128 + signal.SIGINT)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the flush at the end of Python
            ctx.exit(128 + signal.SIGPIPE)
        except click.Abort:
            raise Refusal("stopped: nothing was changed.") from None
        except (click.ClickException, click.exceptions.Exit):
            raise
        except Exception as error:
            if (message := _message_of(error)) is None:
                raise
            raise Refusal(message) from None


def _message_of(error: Exception) -> str | None:
    """Return one line for an expected error, None for any other. Imports here, so that `--help` loads nothing."""
    from sqlalchemy.exc import DBAPIError

    from pipelines.settings import SettingsInvalid
    from resources.database.engine import DatabaseUrlInvalid
    from resources.database.migrate import NotMigrated
    from resources.database.session_settings import DatabaseUnsuitable
    from resources.embedded_postgres.programs import EmbeddedPostgresError

    if isinstance(error, SettingsInvalid):
        return f"the environment is not valid:\n{error}"
    if isinstance(error, NotMigrated | DatabaseUnsuitable | DatabaseUrlInvalid | EmbeddedPostgresError):
        return str(error)
    return _message_of_database(error) if isinstance(error, DBAPIError) else None


@contextmanager
def quick_imports() -> Iterator[None]:
    """Import modules without garbage collection, which takes a fifth of the time and finds nothing in them."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def id_of_user(text: str) -> str:
    """An argument that names a user: neither blank nor bytes that are no text."""
    if not text.strip():
        raise click.BadParameter("a user id is not blank.")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise click.BadParameter("a user id is text.")
    return text


def day(text: str) -> date:
    """An argument that is a date."""
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).date()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no date: write it as YYYY-MM-DD, e.g. 2026-03-31.") from None


def month(text: str) -> date:
    """An argument that is a month; returns its first day."""
    try:
        return datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        raise click.BadParameter(f"{text!r} is no month: write it as YYYY-MM, e.g. 2026-03.") from None


def first_line(error: object, otherwise: str = "no reason given") -> str:
    """Return the first line of an error's text.

    Args:
        error: an exception or a text.
        otherwise: returned when the text is empty.
    """
    return next(iter(str(error or "").strip().splitlines()), otherwise)


def _message_of_database(error: Any) -> str:
    """Return the database's error without the statement and its values: most texts of a server may quote a row."""
    from sqlalchemy.exc import InterfaceError, OperationalError

    if isinstance(error, OperationalError | InterfaceError):
        return f"the database cannot be used ({first_line(error.orig)}). Is it running, and is DATABASE_URL right?"
    code = getattr(error.orig, "pgcode", None)
    kind = f"{type(error.orig).__name__} {code or ''}".strip()
    if code not in _OF_RIGHTS:
        return f"the database refused a statement ({kind})."
    return (
        f"the database refused a statement ({kind}: {first_line(error.orig)}). Does the role of DATABASE_URL have the "
        "rights? See deploy/postgres/roles.sql."
    )


def read_settings(*, find_database: bool = True) -> Any:
    """Return the settings; set up logs and warn about variables that look misspelt.

    Without DATABASE_URL, in development, the embedded Postgres is started and its URL set; `find_database` prevents it.
    """
    from pydantic import SecretStr

    from pipelines.observability import set_up_logs
    from pipelines.settings import load_settings, unknown_variables

    settings = load_settings()
    set_up_logs(settings, with_results=settings.logs_results)
    for name in unknown_variables():
        click.echo(f"asleep-sync: set, but no variable of asleep-sync: {name}", err=True)
    if not find_database or settings.database_url is not None:
        return settings
    return settings.model_copy(update={"database_url": SecretStr(embedded_database_url(settings))})


def embedded_database_url(settings: Any) -> str:
    """Return the URL of the embedded Postgres, which is started if it does not run."""
    from resources.embedded_postgres import server as embedded

    return embedded.start(settings.data_directory / "postgres").url


def read_database(settings: Any) -> Any:
    """Return the database of these settings; no connection is opened yet."""
    from resources.database.resource import Database

    return Database(settings.require_database_url, application_name="asleep-sync cli")


def open_database(settings: Any = None) -> Any:
    """Return the migrated database of the settings; without settings, of the environment's.

    Raises:
        NotMigrated: its schema is another one.
    """
    database = read_database(settings or read_settings())
    database.require_migrated()
    return database


def print_table(
    headings: Sequence[Any], rows: Iterable[Sequence[Any]], title: str | None = None, console: Any = None
) -> None:
    """Print rows under headings; moments without fractions of a second, "-" for what is not there.

    Args:
        headings: one for each column, a text or a rich `Column`.
        rows: as many cells each.
        title: above the table.
        console: of `make_console`; a new one by default.
    """
    from rich.table import Table

    table = Table(*headings, title=title, title_justify="left", show_edge=False)
    for column in table.columns:
        column.overflow = "fold"  # nothing is cut off, however narrow the terminal
    for row in rows:
        table.add_row(*map(_shown, row))
    (console or make_console()).print(table)


def make_console() -> Any:
    """Return a rich console that prints texts as they are; a closed pipe raises `BrokenPipeError`."""
    from rich.console import Console

    class Output(Console):
        def on_broken_pipe(self) -> None:
            """Raise it; rich's own handler exits with 1."""
            raise  # noqa: PLE0704 rich calls this from its `except`

    return Output(markup=False, emoji=False, highlight=False)


def _shown(cell: Any) -> str:
    if cell is None:
        return "-"
    return f"{cell:%Y-%m-%d %H:%M:%S}" if isinstance(cell, datetime) else str(cell)


def require_free_port(host: str, port: int, command: str) -> None:
    """Do nothing when a server can listen there.

    Args:
        host: address to listen on.
        port: port to listen on.
        command: named in the error, with another port.

    Raises:
        Refusal: the port is taken, or the address is not this machine's.
    """
    try:
        with socket.create_server((host, port)):
            return
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else first_line(error)
        raise Refusal(f"port {port} of {host} cannot be used ({reason}). Name another: {command}") from None


def write_output(path: Path, text: str) -> None:
    """Write a command's result to a file that only this user can read, and print its name.

    Args:
        path: of the file.
        text: its content.
    """
    try:
        write_private(path, text)
    except OSError as error:
        raise Refusal(f"{path} cannot be written ({error.strerror}): name another with --out.") from None
    click.echo(f"Written: {path}")


def write_private(path: Path, text: str) -> Path:
    """Write a file that only this user can read.

    Args:
        path: the file; one that exists is replaced, its mode included.
        text: written as UTF-8.

    Raises:
        OSError: the file cannot be written.
    """
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write(text)
    return path
