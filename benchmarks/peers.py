"""The other contenders, each doing the job in its usual way: bare fetch with COPY, requests in threads, dlt."""

import asyncio
import os
import tempfile
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from io import StringIO
from typing import Any

from orders import Order, Work
from sqlalchemy import make_url

ROWS_PER_COPY = 500


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


def with_dlt(order: Order) -> Work:
    """dlt: a resource of users, parallel transformers for lists and sessions, merged into Postgres by session id.

    Helped where that is fair: stages stay one value (no child tables), known sessions are looked up in one query.
    """
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

        with tempfile.TemporaryDirectory() as directory:
            pipeline = dlt.pipeline(
                "benchmark",
                pipelines_dir=directory,
                destination=dlt.destinations.postgres(_plain(order.database_url)),
                dataset_name="with_dlt",
            )
            pipeline.run([user_ids, listed, sessions])
            return int(pipeline.last_trace.last_normalize_info.row_counts.get("sessions", 0))

    return work


def _plain(database_url: str) -> str:
    return make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
