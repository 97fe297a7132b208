"""Sleep metrics at scale: 1,000 users with 30 nights each, seconds and memory; and assigning sessions to nights.

    python benchmarks/metrics.py [--users 1000] [--nights 30] [--server URL]

Without --server an embedded Postgres is started in a temporary directory and destroyed after. Stage arrays are the real
nights of the simulator. Seconds of CPU are this process's and the server process's own.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import warehouse
from sqlalchemy import Engine, text

from assets.metrics.sleep_metrics import compute_metrics
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.nights.assign import ChangedSession, assign_nights
from resources.embedded_postgres import server

STALE = """
INSERT INTO asleep.stale_periods (user_id, period, period_start)
SELECT DISTINCT user_id, touched.period, touched.period_start::date
FROM asleep.sleep_sessions
CROSS JOIN LATERAL (
    VALUES ('month', date_trunc('month', night_date)), ('week', date_trunc('week', night_date))
) AS touched (period, period_start)
"""
ASSIGNED_AT_ONCE = 5000


def lines(engine: Engine, users: int, nights: int) -> Iterator[str]:
    """The page, line by line, as the figures come in."""
    warehouse.DAYS = nights
    with engine.begin() as connection:
        warehouse.fill(connection, users)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    yield f"## {users:,} users, {nights} nights each\n\n| What | Figure |\n|---|---|"
    for label in ("all weeks and months, first time", "again, nothing changed"):
        with engine.begin() as connection:
            connection.execute(text(STALE))
        began, cpu = time.perf_counter(), time.process_time()
        done = compute_metrics(engine, warehouse.UNTIL + timedelta(days=2))
        took, used = time.perf_counter() - began, time.process_time() - cpu
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        yield (
            f"| Metrics of {label} | {took:,.1f} s ({used:,.1f} s of CPU here), {memory:,.0f} MiB at most, for "
            f"{done.periods:,} periods, {done.written:,} written |"
        )
    with engine.begin() as connection:
        ids = connection.scalars(
            text("SELECT session_id FROM asleep.sleep_sessions ORDER BY session_start_time DESC LIMIT :most"),
            {"most": ASSIGNED_AT_ONCE},
        ).all()
        for label in ("first time", "again, plan and pages warm"):
            began, cpu = time.perf_counter(), warehouse.cpu_seconds(connection)
            assign_nights(connection, [ChangedSession(session_id) for session_id in ids])
            took, used = time.perf_counter() - began, warehouse.cpu_seconds(connection) - cpu
            figure = f"{took:.2f} s ({used:.2f} s of CPU in Postgres)"
            yield f"| Assign {len(ids):,} sessions to nights, {label} | {figure} |"


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--users", type=int, default=1000)
    parser.add_argument("--nights", type=int, default=30)
    parser.add_argument("--server", help="URL of an empty database; default: an embedded Postgres, destroyed after")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        url = options.server or server.start(Path(directory) / "postgres").url
        engine = make_engine(url, application_name="benchmark")
        migrate(engine)
        try:
            for line in lines(engine, options.users, options.nights):
                print(line, flush=True)
        finally:
            engine.dispose()
            if not options.server:
                server.destroy(Path(directory) / "postgres")


if __name__ == "__main__":
    main()
