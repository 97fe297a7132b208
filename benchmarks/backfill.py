"""What Dagster's bookkeeping costs a backfill: the time of a run outside its batches, and what the run stores.

    python benchmarks/backfill.py [--users 10] [--days 400 1095]

One run over all days, as `asleep-sync sync --from … --to …` and a backfill of the UI make it. The time outside of the
batches is that of the run's creation with its planned events, of its steps, of a materialisation a day and of checks.
"""

import argparse
import os
import time
from tempfile import TemporaryDirectory
from typing import NamedTuple

import dagster as dg
from pydantic import SecretStr
from sqlalchemy import Engine, text
from surroundings import KEY, Surroundings, surroundings

from assets.partitions import day_key
from pipelines.definitions import build_definitions
from pipelines.observability import set_up_logs
from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.runtime.run_jobs import Runner
from pipelines.runtime.runs import range_tags
from pipelines.settings import Settings
from resources.database.engine import make_engine

IN_BATCHES = text("SELECT EXTRACT(EPOCH FROM sum(finished_at - started_at))::float FROM asleep.sync_batches")
EVENTS = text("""
SELECT dagster_event_type AS kind, count(*) AS events
FROM dagster.event_logs
GROUP BY 1
ORDER BY 2 DESC
LIMIT 4
""")
SIZE = text("""
SELECT sum(pg_total_relation_size(c.oid))::bigint
FROM pg_class AS c
INNER JOIN pg_namespace AS n
    ON n.oid = c.relnamespace
WHERE n.nspname = 'dagster' AND c.relkind = 'r'
""")


class Measured(NamedTuple):
    """One run."""

    seconds: float
    """From its creation to its end."""
    in_batches: float
    """Seconds within its batches."""
    cpu_seconds: float
    """Of this process, threads included, from the creation of the run to its end."""
    requests: int


def run_backfill(engine: Engine, settings: Settings, world: Surroundings) -> Measured:
    """Sync all days as one run.

    Args:
        engine: of the database.
        settings: the environment.
        world: the simulated API.
    """
    definitions = build_definitions(settings, dg.in_process_executor)
    with dg.DagsterInstance.get() as instance:
        runner = Runner(definitions, engine)
        runner.instance = instance
        began, cpu_began = time.perf_counter(), time.process_time()
        result = runner.run("sync_sleep_sessions", range_tags(*map(day_key, world.days)), {})
        seconds, cpu_seconds = time.perf_counter() - began, time.process_time() - cpu_began
    if not result.success:
        raise SystemExit(f"the run failed: {result.message}")
    with engine.connect() as connection:
        return Measured(seconds, connection.scalar(IN_BATCHES) or 0.0, cpu_seconds, result.counts["requests"])


def measure(users: int, days: int) -> str:
    """Return a row of the result.

    Args:
        users: registered users.
        days: of the backfill; every user has a session on every other day.
    """
    with surroundings(users, days // 2, 20) as world, world.database() as url, TemporaryDirectory() as home:
        os.environ.update(DATA_DIRECTORY=home)
        settings = Settings(  # type: ignore[call-arg]
            _env_file=None,
            asleep_api_key=(SecretStr(KEY),),
            asleep_base_url=world.api_url,
            asleep_requests_per_second=5000.0,
            max_connections=64,
            database_url=SecretStr(url),
        )
        set_up_logs(settings)
        os.environ.update(dagster_environment(settings))
        engine = make_engine(url, application_name="benchmark")
        run = run_backfill(engine, settings, world)
        with engine.connect() as connection:
            events = ", ".join(f"{row.events} {row.kind or 'log lines'}" for row in connection.execute(EVENTS))
            size = connection.scalar(SIZE) or 0
        engine.dispose()
        span = (world.days[1] - world.days[0]).days + 1
    times = (run.seconds, run.in_batches, run.seconds - run.in_batches, run.cpu_seconds)
    row = (users, span, run.requests, *(f"{t:.1f} s" for t in times), f"{size / 1e6:.1f} MB", events)
    return f"| {' | '.join(map(str, row))} |"


def main() -> None:
    """Print a table, a row for each number of days."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=10)
    parser.add_argument("--days", type=int, nargs="+", default=[400, 1095])
    options = parser.parse_args()
    print("| Users | Days | Requests | Run | In batches | Bookkeeping | CPU | Dagster's tables | Events |")
    print("|" + "---|" * 9)
    for days in options.days:
        print(measure(options.users, days), flush=True)


if __name__ == "__main__":
    main()
