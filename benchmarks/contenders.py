"""Contenders: each reads every session of every user from the API and stores it, in a process of its own.

    python benchmarks/contenders.py NAME --api URL --database URL --first DAY --last DAY

One pass. The first fetches everything; a second one finds nothing new and must not read a session again. Prints one
JSON line: seconds of wall and processor time of the work (imports are not counted, they show in the process's total),
and the peak of resident memory.

Lives here: our engine and what it is held against.  Not here: starting and comparing (`engine.py`, `memory.py`).
"""

import argparse
import asyncio
import json
import resource
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import date
from io import StringIO
from typing import Any

from sqlalchemy import make_url

KEY = "simulated-key"
NO_LIMIT_PER_SECOND = 100_000.0
BATCH_USERS = 500
ROWS_PER_COPY = 500
Work = Callable[[], int]
"""Returns how many sessions were stored."""


@dataclass(frozen=True)
class Order:
    """What a contender is told."""

    api_url: str
    database_url: str
    days: tuple[date, date]
    connections: int

    def list_url(self) -> str:
        """One page holds all sessions of a user: the benchmark has at most 100 each."""
        first, last = self.days
        query = f"date_gte={first}&date_lte={last}&order_by=ASC&offset=0&limit=100"
        return f"{self.api_url}/data/v1/sessions?{query}"

    def session_url(self, session_id: str) -> str:
        """One session in full."""
        return f"{self.api_url}/data/v3/sessions/{session_id}"

    def headers(self, user_id: str) -> dict[str, str]:
        """What every request carries."""
        return {"x-api-key": KEY, "x-user-id": user_id, "timezone": "UTC", "accept-encoding": "gzip"}


# ----------------------------------------------------------------------------------------------- our engine


def engine(order: Order) -> Work:
    """`sync_batch` over everybody, as a step of the job calls it, rate limit and all."""
    return _engine(order, is_limited=True)


def engine_without_gate(order: Order) -> Work:
    """The same without the fleet's rate limit: what the limit itself costs."""
    return _engine(order, is_limited=False)


def _engine(order: Order, *, is_limited: bool) -> Work:
    from assets.sync_batch import Batch, sync_batch
    from assets.window import Window
    from resources.asleep.client import AsleepClient
    from resources.asleep.exchange import Exchange
    from resources.asleep.gate import OpenGate
    from resources.asleep.resource import AsleepApi
    from resources.asleep.transport import Transport
    from resources.database import sync_state
    from resources.database.engine import make_engine

    database = make_engine(order.database_url, application_name="benchmark")
    api = AsleepApi(order.api_url, KEY, NO_LIMIT_PER_SECOND, order.connections, 30.0)

    @contextmanager
    def open_client() -> Iterator[AsleepClient]:
        with Exchange(order.api_url, KEY, max_connections=order.connections) as exchange:
            yield AsleepClient(Transport(OpenGate(), exchange))

    def work() -> int:
        stored = 0
        with database.connect() as connection:
            batches = -(-sync_state.count_users(connection) // BATCH_USERS)
        for number in range(batches):
            batch = Batch("benchmark", number, batches, Window.of_days(*order.days), order.connections, 0.0)
            with api.client(database) if is_limited else open_client() as client:
                stored += sync_batch(database, client, batch, dict)["sessions_inserted"]
        database.dispose()
        return stored

    return work


# ------------------------------------------------------------------------- bare fetch and COPY, without care


def floor(order: Order) -> Work:
    """The floor: asyncio and aiohttp fetch, orjson decodes, COPY writes. No limit, no retries, no checks, no upsert."""
    import aiohttp
    import orjson

    table = Table(order.database_url)

    async def fetch_all(users: list[str]) -> int:
        connector = aiohttp.TCPConnector(limit=order.connections)
        async with aiohttp.ClientSession(connector=connector, auto_decompress=True) as http:

            async def get(url: str, user_id: str) -> Any:
                async with http.get(url, headers=order.headers(user_id)) as answer:
                    answer.raise_for_status()
                    return orjson.loads(await answer.read())["result"]

            async def read(user_id: str, session_id: str) -> None:
                table.add(user_id, await get(order.session_url(session_id), user_id))

            async def follow(user_id: str) -> None:
                listed = (await get(order.list_url(), user_id))["sleep_session_list"]
                new = [row["session_id"] for row in listed if row["session_id"] not in table.known]
                await asyncio.gather(*(read(user_id, session_id) for session_id in new))

            await asyncio.gather(*map(follow, users))
        return table.close()

    return lambda: asyncio.run(fetch_all(table.users()))


def requests_and_copy(order: Order) -> Work:
    """The usual script: `requests.Session` in threads, `.json()`, COPY."""
    import requests

    table = Table(order.database_url)
    own = threading.local()
    alone = threading.Lock()

    def get(url: str, user_id: str) -> Any:
        if not hasattr(own, "session"):
            own.session = requests.Session()
        answer = own.session.get(url, headers=order.headers(user_id), timeout=30)
        answer.raise_for_status()
        return answer.json()["result"]

    def follow(user_id: str) -> None:
        for row in get(order.list_url(), user_id)["sleep_session_list"]:
            if row["session_id"] not in table.known:
                result = get(order.session_url(row["session_id"]), user_id)
                with alone:
                    table.add(user_id, result)

    def work() -> int:
        with ThreadPoolExecutor(order.connections) as threads:
            list(threads.map(follow, table.users()))
        return table.close()

    return work


class Table:
    """A plain table, one row a session, filled by COPY: times, statistics and stages typed, and the whole result."""

    SESSION = ("id", "state", "start_time", "end_time", "unexpected_end_time", "created_timezone")
    STAGES = ("sleep_stages", "breath_stages", "snoring_stages")

    def __init__(self, database_url: str) -> None:
        import orjson
        import psycopg2

        from resources.asleep.records import STAT_FIELDS

        self._dump = orjson.dumps
        self._stat = STAT_FIELDS
        self._connection = psycopg2.connect(_plain(database_url))
        with self._connection.cursor() as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS plain_sessions (user_id text, id text PRIMARY KEY, state text, "
                "start_time timestamptz, end_time timestamptz, unexpected_end_time timestamptz, created_timezone text, "
                "sleep_stages smallint[], breath_stages smallint[], snoring_stages smallint[], "
                + ", ".join(f"{name} {_type_of(name)}" for name in STAT_FIELDS)
                + ", result json)"
            )
            cursor.execute("SELECT id FROM plain_sessions")
            self.known = {row[0] for row in cursor}
        self._connection.commit()
        self._lines: list[str] = []
        self._written = 0

    def users(self) -> list[str]:
        """Whose sessions are wanted."""
        with self._connection.cursor() as cursor:
            cursor.execute("SELECT user_id FROM asleep.users ORDER BY user_id")
            return [row[0] for row in cursor]

    def add(self, user_id: str, result: dict[str, Any]) -> None:
        """Note one session; every so often all that was noted is written."""
        session, stat = result["session"], result["stat"] or {}
        values = [user_id, *(session[name] for name in self.SESSION)]
        values += [self._array(session[name]) for name in self.STAGES]
        values += [self._array(v) if isinstance(v := stat.get(name), list) else v for name in self._stat]
        values.append(self._dump(result).decode().replace("\\", "\\\\"))
        self._lines.append("\t".join(["\\N" if value is None else str(value) for value in values]))
        if len(self._lines) >= ROWS_PER_COPY:
            self._write()

    def _array(self, values: list[Any] | None) -> str | None:
        return None if values is None else "{" + self._dump(values).decode()[1:-1] + "}"

    def _write(self) -> None:
        with self._connection.cursor() as cursor:
            cursor.copy_expert("COPY plain_sessions FROM STDIN", StringIO("\n".join([*self._lines, ""])))
        self._connection.commit()
        self._written += len(self._lines)
        self._lines = []

    def close(self) -> int:
        """Write the rest; returns how many sessions were written."""
        if self._lines:
            self._write()
        self._connection.close()
        return self._written


def _type_of(statistic: str) -> str:
    if statistic == "sleep_cycle_time":
        return "timestamptz[]"
    if statistic in {"sleep_time", "wake_time"}:
        return "timestamptz"
    return "text" if statistic == "breathing_pattern" else "double precision"


# ----------------------------------------------------------------------------------------------------- dlt


def with_dlt(order: Order) -> Work:
    """dlt: a resource of users, parallel transformers for lists and sessions, merged into Postgres by session id.

    Helped where that is fair: stages stay one value (no child tables), known sessions are looked up in one query.
    """
    import os

    os.environ.update(
        {
            "RUNTIME__DLTHUB_TELEMETRY": "false",
            "RUNTIME__LOG_LEVEL": "ERROR",
            "EXTRACT__WORKERS": str(order.connections),
            "EXTRACT__MAX_PARALLEL_ITEMS": str(2 * order.connections),
        }
    )
    import dlt
    import psycopg2
    from dlt.sources.helpers import requests

    stages_as_json: Any = {
        f"session__{name}": {"data_type": "json"} for name in ("sleep_stages", "breath_stages", "snoring_stages")
    }

    def get(url: str, user_id: str) -> Any:
        return requests.get(url, headers=order.headers(user_id)).json()["result"]

    def work() -> int:
        with closing(psycopg2.connect(_plain(order.database_url))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT user_id FROM asleep.users ORDER BY user_id")
            users = [row[0] for row in cursor]
            cursor.execute("SELECT to_regclass('with_dlt.sessions')")
            stored = cursor.fetchone()
            if stored and stored[0]:
                cursor.execute("SELECT session_id FROM with_dlt.sessions")
            known = {row[0] for row in cursor}

        @dlt.resource(selected=False)
        def user_ids() -> Iterable[Any]:
            yield from users

        @dlt.transformer(data_from=user_ids, parallelized=True, selected=False)
        def listed(user_id: str) -> Iterable[Any]:
            for row in get(order.list_url(), user_id)["sleep_session_list"]:
                if row["session_id"] not in known:
                    yield {"user_id": user_id, "session_id": row["session_id"]}

        @dlt.transformer(
            data_from=listed,
            parallelized=True,
            write_disposition="merge",
            primary_key="session_id",
            max_table_nesting=0,
            columns=stages_as_json,
        )
        def sessions(row: dict[str, str]) -> Iterable[Any]:
            yield {**row, **get(order.session_url(row["session_id"]), row["user_id"])}

        directory = f"/tmp/dlt-{os.getpid()}"  # noqa: S108 removed below
        pipeline = dlt.pipeline(
            "benchmark",
            pipelines_dir=directory,
            destination=dlt.destinations.postgres(_plain(order.database_url)),
            dataset_name="with_dlt",
        )
        try:
            pipeline.run([user_ids, listed, sessions])
            return int(pipeline.last_trace.last_normalize_info.row_counts.get("sessions", 0))
        finally:
            import shutil

            shutil.rmtree(directory, ignore_errors=True)

    return work


def _plain(database_url: str) -> str:
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)


CONTENDERS: dict[str, Callable[[Order], Work]] = {
    "engine": engine,
    "engine-without-gate": engine_without_gate,
    "floor": floor,
    "requests": requests_and_copy,
    "dlt": with_dlt,
}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """One pass of one contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--api", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--first", type=date.fromisoformat, required=True)
    parser.add_argument("--last", type=date.fromisoformat, required=True)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    order = Order(options.api, options.database, (options.first, options.last), options.connections)
    work = CONTENDERS[options.name](order)
    began, used = time.perf_counter(), _cpu_seconds()
    stored = work()
    print(
        json.dumps(
            {
                "stored": stored,
                "seconds": time.perf_counter() - began,
                "cpu_seconds": _cpu_seconds() - used,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
