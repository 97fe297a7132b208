"""The command `asleep-sync`: verbs for people.

Lives here: arguments, help, exit codes.  Not here: logic; each verb calls the rooms.

Exit codes: 0 all well; 1 some users could not be synced (they are listed); 2 nothing could be done.
"""

import os
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, NoReturn

import click

from pipelines.cli_errors import Commands, Refusal

SOME_FAILED = 1


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well, 1 some users failed, 2 nothing could be done. Settings come from the environment "
    "and from .env; .env.example lists them.",
)
@click.version_option(package_name="asleep-sync")
def main() -> None:
    """Mirror every sleep session of your users from the Asleep API into Postgres.

    \b
    First time:
      asleep-sync migrate                    make the tables
      asleep-sync users import users.csv     say whose sessions you want
      asleep-sync sync                       fetch the last days, compute averages
      asleep-sync status                     see what is there and what failed
    """


def _settings() -> Any:
    from pipelines.observability import set_up_logs
    from pipelines.settings import load_settings, without_unknown

    settings = load_settings()
    set_up_logs(settings)
    for name in without_unknown():
        click.echo(f"asleep-sync: {name} is set but is no variable of asleep-sync: misspelt?", err=True)
    return settings


def _database(settings: Any) -> Any:
    from pipelines.database_url import find_database_url
    from resources.database.resource import Database

    return Database(lambda: find_database_url(settings), application_name="asleep-sync cli")


@main.command()
def migrate() -> None:
    """Make or upgrade the tables, and apply the views again. Safe to run twice, and at once."""
    from pipelines.database_url import DAGSTER_SCHEMA
    from resources.database.migrate import migrate as upgrade

    before, now = upgrade(_database(_settings()).engine, other_schemas=(DAGSTER_SCHEMA,))
    click.echo(
        f"The schema is at revision {now}" + (", as before." if before == now else f" (was {before or 'empty'}).")
    )


@main.group()
def users() -> None:
    """Say whose sessions are synced. The Asleep API cannot list users, so you have to."""


@users.command("import")
@click.argument("file", type=click.File("r", encoding="utf-8-sig", errors="strict"))
def import_users(file: Any) -> None:
    """Register the users of FILE: all of them, or none when a line is wrong.

    FILE is a CSV with a column user_id (and, if you like, timezone: an IANA name such as Asia/Seoul), or simply one
    user id a line. `-` reads from standard input. Doing it twice changes nothing.

    \b
    Example:
      echo G-20260301091502-AbCdEfGhIjKlMnOpQrSt | asleep-sync users import -
    """
    from pipelines.user_file import UserFileInvalid, read_users
    from resources.database.registry import import_users as register

    try:
        found = read_users(file)
    except UnicodeDecodeError as error:
        raise Refusal(f"{file.name} is not UTF-8 text (byte {error.start}): nothing was imported.") from None
    except UserFileInvalid as error:
        raise Refusal(f"{file.name}: nothing was imported.\n{error}") from None
    database = _database(_settings())
    database.require_migrated()
    with database.engine.begin() as connection:
        imported = register(connection, found)
    click.echo(f"{len(found)} users: {imported.new} new, {imported.updated} updated, {imported.unchanged} unchanged.")


@main.command()
@click.option("--from", "first", type=click.DateTime(["%Y-%m-%d"]), help="First UTC day of session starts.")
@click.option("--to", "last", type=click.DateTime(["%Y-%m-%d"]), help="Last UTC day, included. Default: today.")
@click.option("--user", "user_ids", multiple=True, metavar="ID", help="Only this user; may be given several times.")
def sync(first: datetime | None, last: datetime | None, user_ids: tuple[str, ...]) -> None:
    """Fetch sessions and bring the monthly averages up to date.

    The same Dagster job that the schedule runs, executed here and recorded in the same Dagster instance. Default
    window: the last RECENT_DAYS days. What is stored and unchanged is not fetched again, so it can be stopped and
    started at any time.

    \b
    Examples:
      asleep-sync sync
      asleep-sync sync --from 2026-01-01 --to 2026-03-31
      asleep-sync sync --user G-20260301091502-AbCdEfGhIjKlMnOpQrSt
    """
    from pipelines.sync_command import SyncRequest, run_sync

    settings = _settings()
    days = _days(first, last, settings.recent_days)
    code = run_sync(settings, _database(settings), SyncRequest(days, user_ids))
    sys.exit(code)


def _days(first: datetime | None, last: datetime | None, recent_days: int) -> tuple[date, date]:
    from assets.partitions import FIRST_DAY

    today = datetime.now(UTC).date()
    to = last.date() if last else today
    start = first.date() if first else to - timedelta(days=recent_days - 1)
    if start > to:
        raise Refusal(f"--from {start} lies after --to {to}: swap them.")
    if to > today:
        raise Refusal(f"--to {to} lies in the future: the last day that can be synced is today, {today}.")
    if start < date.fromisoformat(FIRST_DAY):
        raise Refusal(f"--from {start} is too early: nothing is older than {FIRST_DAY}.")
    return start, to


@main.command()
def status() -> None:
    """Show what is stored, how fresh it is, what failed and waits, and the rate in force.

    Exit code 1 while something is missing, so that a monitor can call it.
    """
    from pipelines.status import show_status

    settings = _settings()
    database = _database(settings)
    database.require_migrated()
    sys.exit(SOME_FAILED if show_status(database.engine) else 0)


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8080, show_default=True, help="Port to listen on.")
@click.option("--workers", default=1, show_default=True, type=click.IntRange(1, 64), help="Processes.")
def serve(host: str, port: int, workers: int) -> None:
    """Run the service: webhooks of Asleep, the read API, /live, /ready, /health.

    Several instances may run at once behind a proxy that ends TLS. The read API is off until SERVICE_API_KEYS is
    set. `/openapi.json` describes all of it.
    """
    from pipelines.service.__main__ import FACTORY, options_from
    from pipelines.service.server import serve as run

    settings = _settings()
    try:
        options_from(settings)
    except ValueError as error:
        raise Refusal(str(error)) from None
    _database(settings).require_migrated()
    run(FACTORY, host=host, port=port, workers=workers)


@main.command()
@click.argument("user_id")
@click.option("--yes", is_flag=True, help="Do not ask.")
def forget(user_id: str, yes: bool) -> None:
    """Erase everything stored of USER_ID here, for good, and keep a record that it was done.

    Nothing is deleted at Asleep: do that in your app's backend, or the next webhook would bring the user's data
    back. An erased user is not registered again by webhooks; `users import` may do so.
    """
    from resources.database.erase import erase

    if not yes:
        click.confirm("Everything stored of this user will be erased and cannot be brought back. Go on?", abort=True)
    database = _database(_settings())
    database.require_migrated()
    with database.engine.begin() as connection:
        removed = erase(connection, user_id, "requested")
    click.echo(f"Erased: {', '.join(f'{rows} {table}' for table, rows in removed.items())}.")


@main.command(context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def simulate(options: tuple[str, ...]) -> NoReturn:
    """Run the simulated Asleep API (all its options: `asleep-sync simulate --help`)."""
    os.execv(sys.executable, [sys.executable, "-m", "simulator", *options])  # noqa: S606 our own interpreter


@main.command("exec", context_settings={"ignore_unknown_options": True})
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
def execute(command: tuple[str, ...]) -> NoReturn:
    """Run COMMAND in the environment that Dagster's programs need here.

    \b
    Examples:
      asleep-sync exec -- dagster job list
      asleep-sync exec -- dagster-webserver -w workspace.yaml
    """
    from pipelines.database_url import dagster_environment, find_database_url

    settings = _settings()
    environment = dagster_environment(settings, find_database_url(settings))
    bin_directory = Path(sys.executable).parent
    path = f"{bin_directory}{os.pathsep}{os.environ.get('PATH', '')}"
    try:
        os.execvpe(command[0], list(command), {**os.environ, **environment, "PATH": path})  # noqa: S606 as asked
    except FileNotFoundError:
        raise Refusal(f"there is no program {command[0]}.") from None


@main.command()
@click.option("--users", "count", default=40, show_default=True, help="How many users the simulated API has.")
@click.option("--days", default=60, show_default=True, help="How many days back to sync.")
def demo(count: int, days: int) -> None:
    """See it all work: embedded Postgres, the simulated API with real nights, the job, the averages.

    Contacts nothing but this machine. A second demo finds everything stored and fetches nothing.
    """
    from pipelines.demo import run_demo

    sys.exit(run_demo(count, days))


if __name__ == "__main__":
    main()
