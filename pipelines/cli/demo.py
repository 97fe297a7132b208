"""The whole product on one machine, with real nights and nothing to configure.

Lives here: what a demo starts, runs and prints.  Not here: any logic of its own: it calls the commands' parts.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from rich.console import Console
from rich.table import Table
from sqlalchemy import Engine, text

from assets.sync.window import Window
from pipelines.cli.sync_command import SyncRequest, run_sync
from pipelines.observability import set_up_logs
from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA
from pipelines.settings import load_settings
from resources.database.migrate import migrate
from resources.database.resource import Database
from resources.database.users.registry import import_users
from resources.embedded_postgres import server as embedded

KEY = "simulated-key"
RATE = 400
LONGEST_SECONDS = 900
MONTHS_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Simulator:
    """The simulated API, running."""

    url: str

    def ask(self, path: str) -> Any:
        """An answer of its control plane."""
        with urlopen(f"{self.url}/_simulator/{path}", timeout=60) as answer:  # noqa: S310 loopback, our own server
            return json.load(answer)

    def users(self) -> list[tuple[str, str | None]]:
        """The users that it has; zones that nobody knows are left out, as in any registry."""
        return [(user["user_id"], None) for user in self.ask("users")]


@contextmanager
def simulator(directory: Path, users: int, days: int) -> Iterator[Simulator]:
    """Start the simulated API with a history that stays the same from demo to demo; stop it afterwards."""
    state = directory / f"simulated-{users}-users-{days}-days"
    state.parent.mkdir(parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "simulator", "--port", "0", "--users", str(users), "--days", str(days + 40)),
        *("--rate", str(RATE), "--api-key", KEY, "--state-file", str(state)),
        *("--stop-with-parent", "--max-seconds", str(LONGEST_SECONDS)),
    ]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 ours
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise RuntimeError("the simulated API did not start")
        yield Simulator(json.loads(line)["url"])
    finally:
        process.terminate()
        process.wait(timeout=30)


def run_demo(users: int, days: int) -> int:
    """Everything from an empty folder to monthly averages; returns the exit code of the sync."""
    console = Console(highlight=False, markup=False, emoji=False)
    began = time.monotonic()
    console.print("1. Postgres: embedded, for this folder only")
    directory = load_settings().data_directory
    server = embedded.start(directory / "postgres")
    with simulator(directory, users, days) as api:
        console.print(f"2. Simulated Asleep API on {api.url}: {users} users, real nights")
        os.environ.update(
            ASLEEP_API_KEY=KEY, ASLEEP_BASE_URL=api.url, DATABASE_URL=server.url, ASLEEP_REQUESTS_PER_SECOND=str(RATE)
        )
        settings = load_settings()
        set_up_logs(settings)
        database = Database(lambda: server.url, application_name="asleep-sync demo")
        migrate(database.engine, other_schemas=(DAGSTER_SCHEMA,))
        with database.engine.begin() as connection:
            import_users(connection, api.users())
        console.print(f"3. Dagster job sync_sleep_sessions over {days} days, then summarise_months")
        today = datetime.now(UTC).date()
        first = today - timedelta(days=days - 1)
        code = run_sync(settings, database, SyncRequest((first, today)))
        listed = Window.of_days(first, today).days_to_list
        least = api.ask(f"least_requests?from={listed[0]}&to={listed[1]}")["total"]
        console.print(f"          (an empty mirror needs {least} at least)")
    _show(console, database.engine, time.monotonic() - began)
    console.print("\nLook around:")
    console.print(
        "  make dev                       Dagster's UI with these assets and runs: http://127.0.0.1:3000",
        soft_wrap=True,
    )
    console.print(f"  {server.psql_command or 'make psql'}", soft_wrap=True)
    console.print("  .venv/bin/asleep-sync status")
    return code


def _show(console: Console, engine: Engine, seconds: float) -> None:
    with engine.connect() as connection:
        stored = connection.execute(
            text(
                "SELECT (SELECT count(*) FROM asleep.users) AS users, "
                "(SELECT count(*) FROM asleep.sleep_sessions WHERE deleted_at IS NULL) AS sessions, "
                "(SELECT count(*) FROM asleep.nights) AS nights, "
                "(SELECT count(*) FROM asleep.monthly_averages) AS months"
            )
        ).one()
        rows = connection.execute(
            text(
                "SELECT month, count(*) AS users, sum(nights) AS nights, avg(avg_time_in_sleep) AS asleep, "
                "avg(avg_sleep_efficiency) AS efficiency, avg(avg_sleep_latency) AS latency, "
                "avg(avg_deep_ratio) AS deep, avg(avg_rem_ratio) AS rem "
                "FROM asleep.monthly_averages GROUP BY month ORDER BY month DESC LIMIT :most"
            ),
            {"most": MONTHS_SHOWN},
        ).all()
    console.print(
        f"\nIn the tables: {stored.users} users, {stored.sessions} sessions, {stored.nights} nights, "
        f"{stored.months} user-months; {seconds:.1f} s in all.",
        soft_wrap=True,
    )
    table = Table("month", "users", "nights", "asleep", "efficiency", "to fall asleep", "deep", "REM", title="Averages")
    for row in rows:
        table.add_row(
            f"{row.month:%Y-%m}", str(row.users), str(row.nights), _hours(row.asleep), _percent(row.efficiency),
            _minutes(row.latency), _percent(row.deep), _percent(row.rem),
        )  # fmt: skip
    console.print(table)


def _hours(seconds: float | None) -> str:
    return "-" if seconds is None else f"{int(seconds // 3600)} h {int(seconds % 3600 // 60):02d} min"


def _minutes(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds / 60:.0f} min"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
