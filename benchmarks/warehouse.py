"""The warehouse at scale: load, size, averages and the cookbook's questions, on a Postgres of its own.

    python benchmarks/warehouse.py [--sessions 1000000] [--server URL]

Without --server an embedded Postgres is started in a temporary directory and destroyed after. Stage arrays are the
real nights of the simulator. Peer of the averages: pandas over the same rows, in a process of its own (up to two
million sessions: it holds them all). Peers of the arrays: the other ways to store a hypnogram.
"""

import argparse
import csv
import platform
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import NotSupportedError

from assets.metrics.monthly_summary import summarise
from resources.database.copy import copy_text
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.schema.session_columns import MEANS, RATIOS
from resources.database.sync.upsert import SESSION_COLUMNS, upsert_sessions
from resources.embedded_postgres import server as embedded

ROOT = Path(__file__).resolve().parents[1]
NIGHTS = ROOT / "simulator" / "nights"
DAYS = 180
UNTIL, MONTH, DAY = date(2026, 5, 31), date(2026, 5, 1), date(2026, 5, 30)
TOUCH = "INSERT INTO asleep.stale_months SELECT DISTINCT user_id, night_month FROM asleep.sleep_sessions"
SAMPLE = 20_000
MAX_FOR_PANDAS = 2_000_000

ANEW = "sleep_stages || '{}'", "snoring_stages || '{}'"
"""Arrays made anew: a stored one would be copied as it is, compressed."""

STORES = {
    "`smallint[]`, pglz, in the row (chosen)": ("smallint[]", *ANEW, "cardinality", ""),
    "`smallint[]`, lz4, in the row": ("smallint[] COMPRESSION lz4", *ANEW, "cardinality", ""),
    "`smallint[]`, compressed, out of line": (
        "smallint[]", *ANEW, "cardinality", "ALTER TABLE asleep.store SET (toast_tuple_target = 128)",
    ),
    "`smallint[]`, not compressed": (
        "smallint[]", *ANEW, "cardinality",
        "ALTER TABLE asleep.store ALTER sleep SET STORAGE EXTERNAL, ALTER snoring SET STORAGE EXTERNAL",
    ),
    "text, a digit an epoch": (
        "text", "array_to_string(sleep_stages, '')", "array_to_string(snoring_stages, '')", "length", "",
    ),
    "jsonb": ("jsonb", "to_jsonb(sleep_stages)", "to_jsonb(snoring_stages)", "jsonb_array_length", ""),
}  # fmt: skip


def lines(engine: Engine, sessions: int) -> Iterator[str]:
    """The page, line by line, as the figures come in."""
    users = max(1, sessions // DAYS)
    with engine.connect() as connection:
        version = connection.scalar(text("SHOW server_version"))
        settings = connection.execute(text("SELECT name, current_setting(name) FROM pg_settings WHERE name IN "
            "('shared_buffers', 'work_mem', 'fsync', 'synchronous_commit', 'jit')")).all()  # fmt: skip
    yield f"## {users * DAYS:,} sessions of {users:,} users over {DAYS} days\n"
    yield f"Postgres {version} ({', '.join(f'{name} {value}' for name, value in settings)}), "
    yield f"{platform.system()} {platform.machine()}, shared machine of 2 cores.\n"
    yield "| What | Figure |\n|---|---|"
    with timed() as took, engine.begin() as connection:
        fill(connection, users)
    yield f"| Load in the database (INSERT … SELECT, all indexes) | {users * DAYS / took():,.0f} sessions/s |"
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE asleep.sleep_sessions"))
    yield from upserting(engine)
    yield from sizes(engine, users * DAYS)
    yield from averages(engine)
    if users * DAYS <= MAX_FOR_PANDAS:
        command = [sys.executable, __file__, "--pandas", engine.url.render_as_string(hide_password=False)]
        yield subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    yield from questions(engine)
    yield from stores(engine)


def fill(connection: Connection, users: int) -> None:
    """Sessions with the stages of the real nights."""
    connection.execute(
        text("CREATE TEMPORARY TABLE night_pool (number integer, sleep_stages smallint[], snoring_stages smallint[])")
    )
    for number, (sleep, snoring) in enumerate(real_nights()):
        connection.execute(text("INSERT INTO night_pool VALUES (:n, :a, :b)"), {"n": number, "a": sleep, "b": snoring})
    connection.execute(text("ANALYZE night_pool"))  # else the join writes the rows in random order, not day by day
    generator = (ROOT / "benchmarks" / "warehouse_sessions.sql").read_text("utf-8")
    connection.execute(text(generator), {"users": users, "days": DAYS, "until": UNTIL})
    connection.execute(
        text("INSERT INTO asleep.users (user_id, source) SELECT DISTINCT user_id, 'import' FROM asleep.sleep_sessions")
    )


def real_nights() -> Iterator[tuple[list[int], list[int]]]:
    """Stages as recorded; snoring where the two scorings of a night differ, which comes in runs just so."""
    for name in ("boas_128_nights.csv", "dod_80_nights.csv"):
        with (NIGHTS / name).open(newline="") as file:
            for row in csv.DictReader(file):
                pairs = zip(row["stages"], row["stages_alt"], strict=True)
                yield [-1 if c == "x" else int(c) for c in row["stages"]], [int(a != b) for a, b in pairs]


def upserting(engine: Engine) -> Iterator[str]:
    """The sync's own path: COPY and one statement; the peer is a bare COPY of the same rows into the same table."""
    with engine.begin() as connection:
        names = (*SESSION_COLUMNS, "night_date")  # the upsert assigns nights itself
        columns = ", ".join(names)
        where = "WHERE local_date = '2026-05-30' ORDER BY session_id LIMIT 5000"
        found = connection.execute(text(f"SELECT {columns} FROM asleep.sleep_sessions {where}"))
        rows = [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found]
        ids = {"ids": [row[0] for row in rows]}
        connection.execute(text("DELETE FROM asleep.sleep_sessions WHERE session_id = ANY (:ids)"), ids)
        with timed() as bare:
            buffer = copy_text(rows)
            connection.connection.cursor().copy_expert(f"COPY asleep.sleep_sessions ({columns}) FROM STDIN", buffer)
        yield f"| Bare COPY of one day ({len(rows):,} sessions) | {len(rows) / bare():,.0f} sessions/s |"
        connection.execute(text("DELETE FROM asleep.sleep_sessions WHERE session_id = ANY (:ids)"), ids)
        for label in ("new", "unchanged"):
            with timed() as took:
                upsert_sessions(connection, [(*row[:-1], None) for row in rows])
            yield f"| The sync's upsert of the same rows, {label} | {len(rows) / took():,.0f} sessions/s |"


def sizes(engine: Engine, sessions: int) -> Iterator[str]:
    """Bytes on disk, a session's share."""
    query = text(
        "SELECT pg_relation_size(oid) AS heap, pg_table_size(oid) - pg_relation_size(oid) AS toast, "
        "pg_indexes_size(oid) AS indexes FROM pg_class WHERE oid = 'asleep.sleep_sessions'::regclass"
    )
    each = text("SELECT indexrelid::regclass::text AS name, pg_relation_size(indexrelid) AS size FROM pg_index "
                "WHERE indrelid = 'asleep.sleep_sessions'::regclass ORDER BY 2 DESC")  # fmt: skip
    with engine.connect() as connection:
        heap, toast, indexes = connection.execute(query).one()
        yield f"| On disk: rows with their arrays | {heap / sessions:,.0f} bytes a session ({heap / 2**20:,.0f} MiB) |"
        yield f"| On disk: out of line | {toast / sessions:,.0f} bytes a session |"
        yield f"| On disk: indexes | {indexes / sessions:,.0f} bytes a session ({indexes / 2**20:,.0f} MiB) |"
        for name, size in connection.execute(each):
            yield f"| … `{name.removeprefix('asleep.')}` | {size / sessions:,.0f} bytes a session |"


def averages(engine: Engine) -> Iterator[str]:
    """The one statement, for all months, for the same again, for a month, for a day's changes."""

    def run(queue: str, month: date | None = None) -> str:
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE asleep.stale_months"))
            connection.execute(text(queue))
        with timed() as took, engine.begin() as connection:
            used = cpu_seconds(connection)
            done = summarise(connection, month)
            used = cpu_seconds(connection) - used
        figure = f"{took():,.2f} s ({used:,.2f} s of CPU)"
        return f"{figure} for {done.user_months:,} user-months, {done.written:,} written"

    yield f"| Averages of all months, first time | {run(TOUCH)} |"
    yield f"| … again, nothing changed | {run(TOUCH)} |"
    month = f"{TOUCH} WHERE night_month = '{MONTH}'"
    yield f"| … one month | {run(month, MONTH)} |"
    day = f"{TOUCH} WHERE night_date = '{DAY}'"
    yield f"| … one day's changes of all users | {run(day)} |"
    yield f"| … one day's changes of every tenth user | {run(day + ' AND hashtext(user_id) % 10 = 0')} |"


def with_pandas(url: str) -> str:
    """The same averages by pandas: read the slept sessions, group, average; nothing is written back."""
    import numpy as np
    import pandas as pd

    stats = [name for name, _ in MEANS]
    clocks = [f"{edge}_local" for edge in ("session_start", "session_end", "sleep_time", "wake_time")]
    query = f"SELECT user_id, night_month, {', '.join(stats + clocks)} FROM asleep.sleep_sessions WHERE slept"
    with timed() as took:
        engine = make_engine(url, application_name="benchmark")
        with engine.connect() as connection:
            frame = pd.read_sql(text(query), connection)
        angles = []
        for clock in clocks:
            moment = frame[clock].dt
            hand = np.exp(2j * np.pi * (moment.hour * 3600 + moment.minute * 60 + moment.second) / 86400)
            frame[f"{clock}_x"], frame[f"{clock}_y"] = hand.to_numpy().real, hand.to_numpy().imag
            angles += [f"{clock}_x", f"{clock}_y"]
        groups = frame.groupby(["user_id", "night_month"])
        means, sums = groups[stats + angles].mean(), groups[stats].sum()
        for clock in clocks:
            means[clock] = np.arctan2(means[f"{clock}_y"], means[f"{clock}_x"]) % (2 * np.pi) * 86400 / (2 * np.pi)
        for name, part, whole in RATIOS:
            means[name] = sums[part] / sums[whole]
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cpu = time.process_time()
    return (
        f"| … of all months by pandas, nothing written | {took():,.2f} s ({cpu:,.2f} s of CPU here) for "
        f"{len(means):,} user-months, {memory:,.0f} MiB |"
    )


def questions(engine: Engine) -> Iterator[str]:
    """Each recipe of the cookbook, median of three, result thrown away on the server; and how it was answered."""
    yield "\n| Question | Time | Blocks of 8 kB | Reads |\n|---|---|---|---|"
    book = (ROOT / "docs" / "how-to" / "cookbook.md").read_text("utf-8")
    with engine.connect() as connection:
        one = connection.execute(
            text("SELECT user_id, session_id FROM asleep.sleep_sessions WHERE local_date = :day AND state = 'COMPLETE' "
                 "ORDER BY session_id LIMIT 1"), {"day": DAY}).one()  # fmt: skip
        values = {"user": one.user_id, "session": one.session_id, "month": str(MONTH), "day": str(DAY)}
        recipes = re.findall(r"^## (\d+)\. (.+?)\n.*?^```sql\n(.+?);\n```", book, flags=re.MULTILINE | re.DOTALL)
        for number, title, recipe in recipes:
            asked = re.sub(r":'(\w+)'", lambda found: f"'{values[found[1]]}'", recipe)
            explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {asked}"
            plans: list[Any] = [connection.exec_driver_sql(explain).scalar_one()[0] for _ in range(3)]
            took = statistics.median(plan["Execution Time"] for plan in plans)
            plan = plans[-1]["Plan"]
            blocks = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            yield f"| {number}. {title} | {took:,.1f} ms | {blocks:,} | {', '.join(dict.fromkeys(scans(plan)))} |"


def scans(plan: dict[str, Any]) -> Iterator[str]:
    """What a plan reads, and how many rows of it."""
    name = plan.get("Index Name") or plan.get("Relation Name")
    if name and plan["Node Type"].endswith("Scan") and plan["Node Type"] != "Bitmap Heap Scan":
        rows = plan["Actual Rows"] * plan["Actual Loops"]
        yield f"{plan['Node Type'].lower()} `{name}` {rows:,.0f}"
    for part in plan.get("Plans", ()):
        yield from scans(part)


def stores(engine: Engine) -> Iterator[str]:
    """Other ways to keep the two arrays of a night, beside a stand-in for the 550 bytes of the other columns."""
    yield f"\nThe two arrays of a night in other forms ({SAMPLE:,} sessions, beside 550 bytes of other columns):\n"
    yield "| Form | Bytes a session | Written | Other columns of all read | Hypnograms of all read |"
    yield "|---|---|---|---|---|"
    for label, form in STORES.items():
        try:
            with engine.begin() as connection:
                yield f"| {label} | {store(connection, *form)} |"
        except NotSupportedError:
            yield f"| {label} | this server lacks it | | | |"
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE asleep.store"))
        connection.execute(text("CREATE TABLE asleep.store AS SELECT session_id, epoch, sleep_stage, snoring_stage "
            "FROM (SELECT * FROM asleep.sleep_sessions WHERE sleep_stages IS NOT NULL LIMIT 500) AS s, "
            "unnest(sleep_stages, snoring_stages) WITH ORDINALITY AS e (sleep_stage, snoring_stage, epoch)"
        ))  # fmt: skip
        connection.execute(text("ALTER TABLE asleep.store ADD PRIMARY KEY (session_id, epoch)"))
        size = connection.scalar(text("SELECT pg_total_relation_size('asleep.store')")) or 0
        connection.execute(text("DROP TABLE asleep.store"))
        yield f"| a row per epoch (500 sessions) | {size / 500:,.0f} | | | |"


def store(connection: Connection, kind: str, sleep: str, snoring: str, size_of: str, change: str) -> str:  # noqa: PLR0913, PLR0917
    """One form: bytes, rate of writing, time to read the other columns, time to read the arrays."""
    connection.execute(text("DROP TABLE IF EXISTS asleep.store"))
    connection.execute(text(f"CREATE TABLE asleep.store (id text, rest text, sleep {kind}, snoring {kind})"))
    connection.execute(text("ALTER TABLE asleep.store ALTER rest SET STORAGE PLAIN"))
    if change:
        connection.execute(text(change))
    source = f"FROM asleep.sleep_sessions WHERE sleep_stages IS NOT NULL LIMIT {SAMPLE}"
    values = f"session_id, repeat('x', 550), {sleep}, {snoring}"
    with timed() as wrote:
        connection.execute(text(f"INSERT INTO asleep.store SELECT {values} {source}"))
    size = connection.scalar(text("SELECT pg_table_size('asleep.store')")) or 0
    with timed() as rest:
        connection.execute(text("SELECT count(*), sum(length(rest)) FROM asleep.store"))
    with timed() as arrays:
        connection.execute(text(f"SELECT sum({size_of}(sleep)) FROM asleep.store"))
    rates = f"{size / SAMPLE:,.0f} | {SAMPLE / wrote():,.0f}/s"
    return f"{rates} | {rest() * 1e3:,.0f} ms | {arrays() * 1e3:,.0f} ms"


def cpu_seconds(connection: Connection) -> float:
    """What the server's process behind the connection has computed so far: wall time lies on a busy machine."""
    process = connection.scalar(text("SELECT pg_backend_pid()"))
    return int(Path(f"/proc/{process}/schedstat").read_text().split()[0]) / 1e9


@contextmanager
def timed() -> Iterator[Callable[[], float]]:
    """Seconds that the block took, once it is over."""
    began = time.perf_counter()
    ended: list[float] = []
    yield lambda: ended[0] - began
    ended.append(time.perf_counter())


def main() -> None:
    """Measure and print the page."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument("--server", help="URL of an empty database; default: an embedded Postgres, destroyed after")
    parser.add_argument("--pandas", metavar="URL", help="only the peer's averages, of a database that was filled")
    options = parser.parse_args()
    if options.pandas:
        print(with_pandas(options.pandas))
        return
    with tempfile.TemporaryDirectory() as directory:
        url = options.server or embedded.start(Path(directory) / "postgres").url
        engine = make_engine(url, application_name="benchmark")
        migrate(engine)
        try:
            for line in lines(engine, options.sessions):
                print(line, flush=True)
        finally:
            engine.dispose()
            if not options.server:
                embedded.destroy(Path(directory) / "postgres")


if __name__ == "__main__":
    main()
