"""Rows a second of the upsert, against a bare COPY of the same rows.

    python benchmarks/upsert.py [--quick]

Whole sessions of the simulated API: statistics, both stage arrays, the raw result; 500 rows a call, as the sync
writes them, each call its own transaction. The bare COPY goes into two tables with the same columns and a primary key
each, but without the other indexes, and gets the text encoded beforehand; `upsert` encodes, loads, compares and
writes. `no-op` upserts the same rows again, and none may be rewritten. Interleaved, medians.
"""

import argparse
import os
import statistics
import time
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, text
from surroundings import Surroundings, surroundings

from assets.sync.session_rows import session_row
from resources.asleep.parsing import parse_session_result
from resources.database.copy import copy_text
from resources.database.engine import make_engine
from resources.database.sync.upsert import SESSION_COLUMNS, upsert_sessions

ROWS_PER_CALL = 500
IMPOSSIBLE_SCORE = 7
"""Different from every `sleep_index` there is."""
Rows = list[tuple[Any, ...]]


def rows_of(found: Surroundings) -> Rows:
    """Every session of the simulated API as a row."""
    asked_at = datetime.now(UTC)
    return [
        session_row(
            parse_session_result(session["result"], user_id=user["user_id"], asked_at=asked_at),
        )
        for user in found.ask("truth")["users"]
        for session in user["sessions"]
    ]


def chunks(rows: Rows) -> Iterator[Rows]:
    """As the sync hands them over."""
    return (rows[start : start + ROWS_PER_CALL] for start in range(0, len(rows), ROWS_PER_CALL))


KINDS = ("inserted", "updated", "unchanged")


def bare_copy(engine: Engine, rows: Rows) -> float:
    """Seconds that COPY takes for rows that are text already."""
    columns = ", ".join(SESSION_COLUMNS)
    with engine.begin() as connection:
        connection.execute(
            text(
                f"CREATE TABLE asleep.bare_sessions AS SELECT {columns} FROM asleep.sleep_sessions WITH NO DATA; "
                "ALTER TABLE asleep.bare_sessions ADD PRIMARY KEY (session_id); "
                "CREATE TABLE asleep.bare_payloads AS TABLE asleep.session_payloads WITH NO DATA; "
                "ALTER TABLE asleep.bare_payloads ADD PRIMARY KEY (session_id)"
            )
        )
    identifier, fetched_at = (SESSION_COLUMNS.index(name) for name in ("session_id", "fetched_at"))
    prepared = [
        (
            copy_text([row[:-1] for row in chunk]),
            copy_text([(row[identifier], row[-1], row[fetched_at]) for row in chunk]),
        )
        for chunk in chunks(rows)
    ]
    began = time.perf_counter()
    for sessions, payloads in prepared:
        with engine.begin() as connection:
            cursor = connection.connection.cursor()
            cursor.copy_expert(f"COPY asleep.bare_sessions ({columns}) FROM STDIN", sessions)
            cursor.copy_expert("COPY asleep.bare_payloads (session_id, result, fetched_at) FROM STDIN", payloads)
            cursor.close()
    return time.perf_counter() - began


def upserted(engine: Engine, rows: Rows, *, expected: list[int]) -> float:
    """Seconds that the upsert takes; what became of the rows must be as expected, in the order of `KINDS`."""
    totals = [0, 0, 0]
    began = time.perf_counter()
    for chunk in chunks(rows):
        with engine.begin() as connection:
            counts = upsert_sessions(connection, chunk)
            totals = [totals[place] + counts[f"sessions_{kind}"] for place, kind in enumerate(KINDS)]
    seconds = time.perf_counter() - began
    if totals != expected:
        raise RuntimeError(f"expected {expected}, was {totals}")
    return seconds


def versions(engine: Engine) -> list[Any]:
    """The physical version of every row of both tables."""
    with engine.connect() as connection:
        return [
            connection.execute(text(f"SELECT session_id, ctid, xmin FROM asleep.{table} ORDER BY session_id")).all()
            for table in ("sleep_sessions", "session_payloads")
        ]


def run(found: Surroundings, rows: Rows) -> dict[str, float]:
    """One repetition in a fresh database: seconds for each way."""
    score = SESSION_COLUMNS.index("sleep_index")
    changed = [(*row[:score], IMPOSSIBLE_SCORE, *row[score + 1 :]) for row in rows]
    with found.database() as url:
        engine = make_engine(url, application_name="benchmark")
        seconds = {"bare COPY": bare_copy(engine, rows)}
        seconds["upsert, all new"] = upserted(engine, rows, expected=[len(rows), 0, 0])
        before = versions(engine)
        seconds["upsert, nothing new (no-op)"] = upserted(engine, rows, expected=[0, 0, len(rows)])
        if versions(engine) != before:
            raise RuntimeError("rows were rewritten although nothing had changed")
        seconds["upsert, all changed"] = upserted(engine, changed, expected=[0, len(rows), 0])
        engine.dispose()
    return seconds


def main() -> None:
    """Run, print a markdown table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,500 rows, once")
    options = parser.parse_args()
    users, repetitions = (50, 1) if options.quick else (200, 5)
    runs: dict[str, list[float]] = defaultdict(list)
    with surroundings(users, 30, latency_ms=0) as found:
        rows = rows_of(found)
        for _ in range(repetitions):
            for way, seconds in run(found, rows).items():
                runs[way].append(seconds)
    print(f"{len(rows):,} sessions, median of {repetitions}, load {os.getloadavg()[1]:.1f}\n")
    print("| | rows/s | share of bare COPY |\n|---|--:|--:|")
    for way, seconds in runs.items():
        shares = [bare / mine for bare, mine in zip(runs["bare COPY"], seconds, strict=True)]
        print(f"| {way} | {len(rows) / statistics.median(seconds):,.0f} | {statistics.median(shares):.0%} |")


if __name__ == "__main__":
    main()
