"""Cost of the change feed on first writes: batches are stored in turn with and without its triggers.

    python benchmarks/changes.py [--sessions 60000]

The database is an embedded Postgres in a temporary directory, destroyed afterwards. Each transaction stores 500
sessions of ten users: a night each day, and a nap every third day, whose night is assigned after the insert.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, text
from surroundings import postgres

sys.path.insert(0, str(Path(__file__).parents[1]))

from resources.asleep.records import SleepSession
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from tests.warehouse_sessions import session, slept, store

BATCH, USERS = 500, 10
NAP = 3
"""Of four sessions of a user, the last one."""
TRIGGERS = ("changes_of_inserts", "changes_of_updates")
SIZES = text(
    "SELECT count(*) AS changes, pg_relation_size('asleep.changes') AS rows, pg_indexes_size('asleep.changes') AS "
    "indexes FROM asleep.changes"
)


def batches(count: int) -> Iterator[list[SleepSession]]:
    """Batches of first writes, `USERS` new users in each."""
    for number in range(count):
        found: list[SleepSession] = []
        for place in range(BATCH):
            turn, user = divmod(place, USERS)
            is_nap = turn % 4 == NAP
            start = datetime(2026, 5, 1, 14, tzinfo=UTC) + timedelta(days=turn // 4 * 3 + min(turn % 4, 2))
            start += timedelta(hours=14 * is_nap)
            length = timedelta(hours=1 if is_nap else 8)
            stat = slept(time_in_sleep=3000 if is_nap else 26400)
            name = f"{number * USERS + user:05d}"
            given = {"session_id": f"{start:%Y%m%d%H%M%S}_{name}", "session_end_time": start + length}
            found.append(session(f"G-20260501140000-{name:x>20}", start, stat, **given))
        yield found


def write(engine: Engine, batch: list[SleepSession], *, feed: bool) -> tuple[float, float]:
    """Store one batch; returns seconds of wall time and of the server process's CPU."""
    with engine.connect() as connection:
        for trigger in TRIGGERS:
            switch = "ENABLE" if feed else "DISABLE"
            connection.execute(text(f"ALTER TABLE asleep.sleep_sessions {switch} TRIGGER {trigger}"))
        connection.commit()
        began, cpu = time.perf_counter(), cpu_seconds(connection)
        store(connection, batch)
        connection.commit()
        return time.perf_counter() - began, cpu_seconds(connection) - cpu


def cpu_seconds(connection: Connection) -> float:
    """CPU that the server's process behind the connection has used so far."""
    process = connection.scalar(text("SELECT pg_backend_pid()"))
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


def lines(engine: Engine, sessions: int) -> Iterator[str]:
    """The figures as a table."""
    spent = {True: [0.0, 0.0], False: [0.0, 0.0]}
    for number, batch in enumerate(batches(max(2, sessions // BATCH) // 2 * 2)):
        took = write(engine, batch, feed=number % 2 == 0)
        spent[number % 2 == 0] = [a + b for a, b in zip(spent[number % 2 == 0], took, strict=True)]
    written = (number + 1) // 2 * BATCH
    with engine.connect() as connection:
        changes, rows, indexes = connection.execute(SIZES).one()
    yield "| First writes | Wall | CPU of the server |\n|---|---|---|"
    for feed, name in ((False, "without the feed"), (True, "with the feed")):
        wall, cpu = (seconds / written * 1e6 for seconds in spent[feed])
        yield f"| {name} | {wall:,.0f} µs a session | {cpu:,.0f} µs a session |"
    yield f"\nChanges a first write: {changes / written:.3f}"
    yield f"Bytes a first write: {rows / written:,.0f} in rows, {indexes / written:,.0f} in indexes"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=60_000)
    options = parser.parse_args()
    with postgres() as (server, _):
        engine = make_engine(server.url, application_name="benchmark")
        migrate(engine)
        for line in lines(engine, options.sessions):
            print(line, flush=True)
        engine.dispose()


if __name__ == "__main__":
    main()
