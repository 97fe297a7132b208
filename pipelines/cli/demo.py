"""The whole product on one machine, with real nights and nothing to configure."""

import os
import shutil
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import click
from sqlalchemy import Engine, func, inspect, select

from assets.sync.window import Window
from pipelines.cli.common import Refusal, print_table, write_private
from pipelines.cli.development.simulated_api import Size, has_other_users, register_demo_users, simulated_api
from pipelines.cli.sync_command import SyncRequest, run_sync
from pipelines.observability import set_up_logs
from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA
from pipelines.settings import IS_CHECKOUT, load_settings
from resources.database.migrate import migrate
from resources.database.resource import Database
from resources.database.schema import tables
from resources.database.schema.metadata import SCHEMA
from resources.database.service.inbox import Inbox
from resources.embedded_postgres import server as embedded

MONTHS_SHOWN = 12
BATCHES = 4
"""Steps of the demo's sync, each a bar in the run's Gantt chart."""
NEXT_STEPS = """
Monthly report: {report}

Still running: Postgres, for {postgres}{stop}. The simulated API has ended; `{dev}` starts it again.

Next:
  {dev:<36}  Dagster's UI with these assets and runs: http://127.0.0.1:3000
  {psql:<36}  the tables
  {status:<36}  what is stored, how fresh it is, what is missing
  {show_report:<36}  the report of any month or user
  {remove:<36}  before your own account uses this folder: ends Postgres, removes the demo's data
"""


def run_demo(size: Size) -> int:
    """Run everything from an empty folder to the report; returns the exit code of the sync.

    Raises:
        Refusal: the embedded database holds users of a real account, or the simulated API did not start.
    """
    began = time.monotonic()
    click.echo("1. Postgres: embedded, for this folder only")
    directory = load_settings().data_directory
    server = embedded.start(directory / "postgres")
    url = server.url
    with simulated_api(directory, size) as api:
        click.echo(f"2. Simulated Asleep API on {api.url}: {size.users} users, real nights")
        os.environ.setdefault("USER_BATCH_SIZE", str(max(1, -(-size.users // BATCHES))))
        os.environ.update(api.environment, DATABASE_URL=url)
        settings = load_settings()
        set_up_logs(settings, with_results=settings.logs_results)
        database = Database(lambda: url, application_name="asleep-sync demo")
        first = size.first_day
        migrate(database.engine, other_schemas=(DAGSTER_SCHEMA,), first_day=settings.first_day or first)
        with database.engine.begin() as connection:
            register_demo_users(connection, api.user_ids())
        click.echo(f"3. Dagster job sync_sleep_sessions over {size.days} days, then summarise_months")
        today = datetime.now(UTC).date()
        code = run_sync(settings, database, SyncRequest((first, today)))
        listed = Window.of_days(first, today).days_to_list
        least = api.ask(f"least_requests?from={listed[0]}&to={listed[1]}")["total"]
        click.echo(f"          (an empty mirror needs {least} at least)")
    _show(database.engine, time.monotonic() - began)
    report = _write_report(database.engine, directory, today)
    program, dev, psql, stop = ("asleep-sync", "asleep-sync dev", server.psql_command, "")
    if IS_CHECKOUT:
        program, dev, psql, stop = (".venv/bin/asleep-sync", "make dev", "make psql", " (`make stop` ends it)")
    ours = {"status": f"{program} status", "show_report": f"{program} report", "remove": f"{program} demo --remove"}
    places = {"report": report, "postgres": directory / "postgres"}
    click.echo(NEXT_STEPS.format(**places, **ours, dev=dev, psql=psql, stop=stop))
    return code


def remove_demo() -> None:
    """Remove what the demo made: the embedded Postgres with runs and users, the simulated API's state, the reports.

    Raises:
        Refusal: the embedded database also holds other users, or webhook events that were not handled.
    """
    settings = load_settings()
    directory = settings.data_directory
    database = Database(lambda: embedded.start(directory / "postgres").url, application_name="asleep-sync demo")
    with database.engine.connect() as connection:
        is_migrated = inspect(connection).has_table(tables.users.name, SCHEMA)
        if is_migrated and has_other_users(connection):
            raise Refusal(
                "the embedded database also holds users who are not of the demo: nothing was removed. "
                "`asleep-sync users list` shows where each comes from."
            )
        if is_migrated and (inbox := Inbox(connection).count()).waiting + inbox.parked:
            raise Refusal(
                "the embedded database also holds webhook events that were not handled, maybe of real users: nothing "
                "was removed. `make dev` handles those that wait, `asleep-sync inbox list` shows those given up."
            )
    database.engine.dispose()
    embedded.destroy(directory / "postgres")
    of_the_database = ("dagster", "reports") if settings.database_url is None else ()
    for name in (*of_the_database, "simulated-api"):
        shutil.rmtree(directory / name, ignore_errors=True)


def _write_report(engine: Engine, directory: Path, today: date) -> Path:
    from assets.report.monthly_report import render_report

    month = (today - timedelta(days=1)).replace(day=1)
    with engine.connect() as connection:
        page = render_report(connection, month)
    folder = directory / "reports"
    folder.mkdir(mode=0o700, exist_ok=True)
    return write_private(folder / f"asleep-{month:%Y-%m}.html", page)


def _show(engine: Engine, seconds: float) -> None:
    from assets.report.formatting import duration, format_number, percent
    from resources.database import frames

    with engine.connect() as connection:
        users = connection.scalar(select(func.count()).select_from(tables.users))
        sessions = connection.scalar(select(func.count()).where(tables.sleep_sessions.c.deleted_at.is_(None)))
        months = frames.read(connection, "monthly_overview")
    click.echo(
        f"\nIn the tables: {users} users, {sessions} sessions, {months['nights'].sum():.0f} nights, "
        f"{months['users'].sum()} user-months; {seconds:.1f} s in all."
    )
    newest_first: Any = months[::-1].head(MONTHS_SHOWN).itertuples()
    rows = [
        (
            f"{row.month:%Y-%m}",
            row.users,
            format_number(row.nights),
            duration(row.avg_time_in_sleep_of_date),
            percent(row.avg_efficiency_of_night),
            duration(row.avg_latency_of_night),
            percent(row.avg_deep_ratio),
            percent(row.avg_rem_ratio),
        )
        for row in newest_first
    ]
    print_table(("month", "users", "nights", "asleep", "efficiency", "latency", "deep", "REM"), rows, "Averages")
