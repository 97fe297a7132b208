"""The command `asleep-sync`: arguments, help and exit codes.

Exit codes: see `epilog`. A command imports its dependencies when it runs, so that `--help` is fast.
"""

import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import click

from pipelines.cli.common import (
    Commands,
    Refusal,
    day,
    id_of_user,
    month,
    open_database,
    quick_imports,
    read_database,
    read_settings,
    write_output,
)
from pipelines.cli.doctor import doctor
from pipelines.cli.programs import demo, dev, execute, serve, simulate, ui
from pipelines.cli.queues import cache, inbox, notifications
from pipelines.cli.users import erasures, users

SOME_FAILED = 1


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all well; 1 some data are missing (they are listed); 2 the command could not run or had to "
    "stop (the message says why); 130 after Ctrl-C. Settings come from the environment and from .env; .env.example "
    "lists them.",
)
@click.version_option(package_name="asleep-sync")
def main() -> None:
    """Mirror every sleep session of your users from the Asleep API into Postgres.

    \b
    First time:
      asleep-sync migrate                    create the tables
      asleep-sync users import users.csv     register the users to sync
      asleep-sync sync                       fetch the last days, compute averages
      asleep-sync status                     show what is stored and what failed
    """


@main.command()
def migrate() -> None:
    """Create or upgrade the tables and recreate the views. Safe to run repeatedly and concurrently."""
    from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA
    from resources.database.migrate import migrate as upgrade

    settings = read_settings()
    before, now = upgrade(
        read_database(settings).engine,
        other_schemas=(DAGSTER_SCHEMA,),
        first_day=settings.first_day,
        progress=lambda line: click.echo(line, err=True),
    )
    click.echo(
        f"The schema is at revision {now}" + (", as before." if before == now else f" (was {before or 'empty'}).")
    )


@main.command()
@click.option("--from", "first", type=day, metavar="YYYY-MM-DD", help="First UTC day of session starts.")
@click.option("--to", "last", type=day, metavar="YYYY-MM-DD", help="Last UTC day, inclusive. Default: today.")
@click.option(
    "--user",
    "names",
    type=id_of_user,
    multiple=True,
    metavar="USER",
    help="Only this user, by id or pseudonym; may be repeated.",
)
@click.option(
    "--session", "session_ids", multiple=True, metavar="ID", help="Read only this stored session; may be repeated."
)
@click.option("--refresh", is_flag=True, help="Also list users who were synced within CACHE_TTL_SECONDS.")
@click.option("--refetch", is_flag=True, help="Read every session of the days in full, even if stored.")
@click.option(
    "--accept-deletions",
    is_flag=True,
    help="Mark all sessions that the API does not find as deleted, whatever their number.",
)
def sync(
    first: date | None,
    last: date | None,
    names: tuple[str, ...],
    session_ids: tuple[str, ...],
    **flags: bool,
) -> None:
    """Fetch sessions and bring the monthly averages up to date.

    Runs the schedule's Dagster job in this process and records it in the same Dagster instance. Default
    window: the last RECENT_DAYS days. Stored, unchanged sessions are not fetched again, so you can stop and
    restart it at any time. Exit code 1: some data are missing; they are listed.

    \b
    Examples:
      asleep-sync sync
      asleep-sync sync --from 2026-01-01 --to 2026-03-31
      asleep-sync sync --refresh
      asleep-sync sync --user G-20260301091502-AbCdEfGhIjKlMnOpQrSt
      asleep-sync sync --from 2026-01-01 --accept-deletions
      asleep-sync sync --from 2026-03-01 --to 2026-03-31 --refetch
    """
    with quick_imports():
        from assets.ops.batches import SyncFlags
        from pipelines.cli.sync_command import SyncRequest, run_sync

    settings = read_settings()
    days = _days(first, last, settings.recent_days)
    request = SyncRequest(days, names, session_ids, SyncFlags(**flags))
    sys.exit(run_sync(settings, read_database(settings), request))


@main.command()
def retry() -> None:
    """Retry what could not be synced.

    Runs the hourly job for every failed user and session, over the window that failed. Exit code 1: some are still
    missing; they are listed.

    \b
    Example:
      asleep-sync retry
    """
    with quick_imports():
        from pipelines.cli.sync_command import Job, run_for_all_users
        from pipelines.jobs import retry_config

    settings = read_settings()
    job = Job("Retry of what failed", "retry_failures", config=retry_config())
    sys.exit(run_for_all_users(settings, read_database(settings), job))


@main.command()
@click.option(
    "--days", default=98, show_default=True, type=click.IntRange(1, 98), help="Number of days, today included."
)
def reconcile(days: int) -> None:
    """Compare stored data with the API's figures.

    Compares statistics and averages, and reads again what differs. Runs the Sunday job: one request per user. Exit
    code 1: something still differs.

    \b
    Example:
      asleep-sync reconcile --days 30
    """
    with quick_imports():
        from pipelines.cli.sync_command import Job, run_for_all_users
        from pipelines.jobs import op_config

    settings = read_settings()
    job = Job(
        f"Reconciliation of {days} days", "reconcile", config=op_config("average_stats_reconciliation", days=days)
    )
    sys.exit(run_for_all_users(settings, read_database(settings), job))


def _days(first: date | None, last: date | None, recent_days: int) -> tuple[date, date]:
    from resources.database.first_day import EARLIEST_DAY

    today = datetime.now(UTC).date()
    for option, named in (("--to", last), ("--from", first)):
        if named and named > today:
            raise Refusal(f"{option} {named} lies in the future: the last day to sync is today, {today} (UTC).")
        if named and named < EARLIEST_DAY:
            raise Refusal(f"{option} {named} is too early: nothing is older than {EARLIEST_DAY}.")
    to = last or today
    start = first or max(EARLIEST_DAY, to - timedelta(days=recent_days - 1))
    if start > to:
        raise Refusal(f"--from {start} lies after --to {to}: swap them.")
    return start, to


@main.command()
def status() -> None:
    """Show what is stored and what failed.

    Shows database and account, rows and their age, failures, queues, and the current rate limit.
    For monitors: exit code 1 while data are missing, after a sync that stopped before its end, and when a user has not
    been synced within 26 hours of registration.
    """
    from pipelines.cli.status import show_status

    settings = read_settings()
    database = open_database(settings)
    sys.exit(SOME_FAILED if show_status(database.engine, settings) else 0)


@main.command()
@click.option("--restart", is_flag=True, help="Start over instead of resuming an interrupted rebuild.")
def reshape(restart: bool) -> None:
    """Rebuild the typed columns from raw results.

    Makes no requests. Use it after an upgrade that corrects how results are parsed. Unchanged rows are not written.
    You can interrupt it: the next call resumes where this one stopped. Monthly averages are updated automatically.
    """
    from assets.reshape.reshape import Reshaped
    from assets.reshape.reshape import reshape as rebuild

    def show(total: Reshaped) -> None:
        click.echo(f"{total.read} read, {total.changed} changed, {total.unreadable} unreadable", err=True)

    database = open_database()
    total = rebuild(database.engine, progress=show, restart=restart)
    click.echo(f"{total.read} sessions: {total.changed} changed, {total.unchanged} unchanged.")
    if total.unreadable:
        click.echo(
            f"asleep-sync: {total.unreadable} raw results cannot be read; their rows stay as they are.", err=True
        )
        sys.exit(SOME_FAILED)


@main.command()
@click.argument("user_id", type=id_of_user)
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def forget(user_id: str, yes: bool) -> None:
    """Erase a user's data permanently.

    Erases everything stored here about USER_ID, and records the erasure.
    Nothing is deleted at Asleep: also delete the user in your app's backend. Neither webhooks nor `users import`
    without --again register an erased user again. An id without stored data is refused, unless the user was
    erased before.

    \b
    Example:
      asleep-sync forget G-20260301091502-AbCdEfGhIjKlMnOpQrSt
    """
    from resources.database.users.erase import Erasures

    if not yes:
        click.confirm("Everything stored of this user will be erased and cannot be restored. Continue?", abort=True)
    settings = read_settings()
    database = open_database(settings)
    with database.engine.begin() as connection:
        erased_before = Erasures(connection).last(user_id)
        removed = Erasures(connection).erase(user_id, "requested")
        if not removed and erased_before is None:  # inside: the record of an erasure that was none goes, too
            raise Refusal(
                "nothing is stored of this user, and nothing was erased. Is the id right? See `asleep-sync users list`."
            )
    if removed:
        click.echo(f"Erased: {', '.join(f'{rows} {table}' for table, rows in removed.items())}.")
    else:
        click.echo(f"This user was already erased on {erased_before:%Y-%m-%d %H:%M:%S} (UTC): nothing is stored.")
    if settings.export_directory is not None:
        from assets.export.export import refresh

        try:
            refreshed = refresh(database.engine, settings.export_directory)
        except OSError as error:
            raise Refusal(
                f"the user is erased in the database, but {error.filename or settings.export_directory} could not be "
                f"written ({error.strerror}): exported files may still hold the user. Run this command again."
            ) from None
        click.echo(f"{refreshed.written} exported months written again.")


@main.command()
@click.option("--month", "first", type=month, metavar="YYYY-MM", help="Default: yesterday's month.")
@click.option("--user", "user_id", type=id_of_user, metavar="ID", help="Only this user. Default: the organisation.")
@click.option(
    "--out", type=click.Path(dir_okay=False, writable=True), help="Default: asleep-YYYY-MM.html in this folder."
)
def report(first: date | None, user_id: str | None, out: str | None) -> None:
    """Write the monthly report as an HTML file.

    It shows stages, efficiency and bed times, and for one user also hypnograms.
    The file names users by pseudonym, or by id if the login cannot compute pseudonyms (an analyst's). It contains
    health data: delete it when a user in it is erased.

    \b
    Examples:
      asleep-sync report
      asleep-sync report --month 2026-10 --user G-20260301091502-AbCdEfGhIjKlMnOpQrSt --out night-owl.html
    """
    from assets.report.monthly_report import NothingToReport, render_report

    first = first or (datetime.now(UTC).date() - timedelta(days=1)).replace(day=1)
    database = open_database()
    try:
        with database.engine.connect() as connection:
            page = render_report(connection, first, user_id)
    except NothingToReport:
        whose = " of this user" if user_id else ""
        raise Refusal(f"no sleep{whose} is stored for {first:%Y-%m}: sync that month first, or name another.") from None
    write_output(Path(out or f"asleep-{first:%Y-%m}.html"), page)


@main.command()
@click.option(
    "--to",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    help="Where to write. Default: EXPORT_DIRECTORY.",
)
@click.option(
    "--month", "months", type=month, metavar="YYYY-MM", multiple=True, help="Only this month; may be repeated."
)
@click.option("--stages", is_flag=True, help="Also sessions with their stage arrays.")
@click.option("--epochs", is_flag=True, help="Also one row per 30 seconds. Needs --month.")
@click.option(
    "--format", "formats", type=click.Choice(["parquet", "csv"]), multiple=True, default=["parquet", "csv"],
    show_default=True, help="May be repeated.",
)  # fmt: skip
def export(
    directory: Path | None, months: tuple[date, ...], stages: bool, epochs: bool, formats: tuple[str, ...]
) -> None:
    """Write the tables as Parquet and CSV.

    Writes sessions, nights, monthly averages and metrics, one folder per month.
    Only months that changed since the last export are written. Files appear complete or not at all and only you can
    read them: they contain health data with user ids. `forget` rewrites an erased user's months in EXPORT_DIRECTORY.

    \b
    Examples:
      asleep-sync export --to /srv/asleep
      asleep-sync export --month 2026-10 --epochs --format parquet
      duckdb -c "SELECT night_month, count(*) FROM '/srv/asleep/nights/*/*.parquet' GROUP BY 1"
    """
    from assets.export.export import DATASETS, EPOCHS, STAGES, ExportRequest
    from assets.export.export import export as write

    settings = read_settings()
    target = directory or settings.export_directory
    if target is None:
        raise Refusal("name a folder with --to, or set EXPORT_DIRECTORY.")
    if epochs and not months:
        raise Refusal("--epochs writes about 900 rows per night: name a month with --month, such as --month 2026-10.")
    database = open_database(settings)
    datasets = (*DATASETS, *((STAGES,) if stages else ()), *((EPOCHS,) if epochs else ()))

    def show(dataset: str, month: date) -> None:
        click.echo(f"{dataset} {month:%Y-%m}", err=True)

    request = ExportRequest(datasets, list(months) or None, formats)
    try:
        exported = write(database.engine, target, request, progress=show)
    except OSError as error:
        place = error.filename or target
        raise Refusal(f"{place} cannot be written ({error.strerror}): name another folder with --to.") from None
    if months and not exported.written and not exported.unchanged:
        raise Refusal(f"nothing is stored for {', '.join(f'{each:%Y-%m}' for each in months)}: sync those days first.")
    click.echo(
        f"{exported.written} months written ({exported.rows} rows), {exported.unchanged} unchanged, "
        f"{exported.removed} removed: {target}"
    )


for command in (users, inbox, notifications, cache, erasures, doctor, serve, ui, dev, simulate, execute, demo):
    main.add_command(command)

if __name__ == "__main__":
    main()
