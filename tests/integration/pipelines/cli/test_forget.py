"""After `forget` a person's id is in no table of any schema and in no file that the commands wrote."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from sqlalchemy import Engine, text

from resources.database.service.inbox import Inbox, IncomingEvent
from resources.database.users.registry import Registry
from tests.conftest import Simulator
from tests.integration.pipelines.cli.conftest import Type

TABLES = """
SELECT format('%I.%I', nspname, relname)
FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
WHERE relkind IN ('r', 'm', 'p') AND relpersistence <> 't' AND nspname NOT IN ('pg_catalog', 'information_schema')
"""
MONTH_AND_SESSIONS = """
SELECT to_char(mode() WITHIN GROUP (ORDER BY night_month) FILTER (WHERE slept), 'YYYY-MM'), array_agg(session_id)
FROM asleep.sleep_sessions
WHERE user_id = :user
"""


@pytest.fixture
def api(simulate: Callable[..., AbstractContextManager[Simulator]]) -> Iterator[Simulator]:
    with simulate("--users", "8", "--days", "14", "--seed", "5") as simulator:
        yield simulator


def tables_with(engine: Engine, name: str) -> set[str]:
    """Tables with a row that holds the name, also within bytes."""
    with engine.connect() as connection:
        found = set()
        for table in connection.scalars(text(TABLES)).all():
            query = text(f"SELECT EXISTS (SELECT FROM {table} AS t WHERE t::text LIKE ANY (:patterns))")
            patterns = [f"%{name}%", f"%{name.encode().hex()}%"]
            if connection.scalar(query, {"patterns": patterns}):
                found.add(table)
        return found


def files_with(folder: Path, name: str) -> set[str]:
    """Files that hold the name, also compressed in Parquet."""
    return {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file() and name in content_of(file)}


def content_of(file: Path) -> str:
    if file.suffix == ".parquet":
        return str(duckdb.sql(f"SELECT t::text FROM read_parquet('{file}') AS t").fetchall())
    return file.read_bytes().decode("utf-8", "replace")


def slept(session: dict[str, Any]) -> bool:
    return bool((session["result"]["stat"] or {}).get("time_in_sleep"))


def test_a_forgotten_person_is_in_no_table_and_in_no_file(
    typed: Type, engine: Engine, api: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Exports, reports, logs and Dagster's storage were written before anyone asked for an erasure."""
    monkeypatch.setenv("ASLEEP_BASE_URL", api.url)
    monkeypatch.setenv("ASLEEP_API_KEY", "simulated-key")
    monkeypatch.setenv("EXPORT_DIRECTORY", str(tmp_path / "exports"))
    by_sleep = sorted(api.ask("truth")["users"], key=lambda user: -sum(map(slept, user["sessions"])))
    person, other = (user["user_id"] for user in by_sleep[:2])
    unreadable = list(filter(slept, by_sleep[0]["sessions"]))[-3]["row"]["session_id"]
    api.ask("faults", [{"kind": "html_200", "session": unreadable}])
    with engine.begin() as connection:
        Registry(connection).add([(person, None), (other, None)])
        Inbox(connection).put([IncomingEvent(f'{{"data": {{"user_id": "{person}"}}}}'.encode(), {})])
    assert typed("sync", "--from", f"{datetime.now(UTC) - timedelta(days=13):%Y-%m-%d}").exit_code == 1
    with engine.connect() as connection:
        month, sessions = connection.execute(text(MONTH_AND_SESSIONS), {"user": person}).one()
    for command in (f"export --stages --epochs --month {month}", f"report --user {person} --month {month}"):
        assert typed(*command.split()).exit_code == 0
    tables, files = tables_with(engine, person), files_with(tmp_path, person)
    assert {"asleep.sleep_sessions", "asleep.sync_failures", "asleep.webhook_events"} <= tables
    assert {f"exports/{name}/month={month}/{name}.parquet" for name in ("sessions", "stages", "epochs")} <= files

    assert typed("forget", person, "--yes").exit_code == 0

    assert tables_with(engine, person) == set()
    assert files_with(tmp_path, person) == set()
    assert unreadable not in sessions
    assert tables_with(engine, unreadable) == set()
    for session_id in sessions:
        assert tables_with(engine, session_id) == {"asleep.changes"}, "the tombstone that copies elsewhere need"
        assert files_with(tmp_path, session_id) == set()
    assert tables_with(engine, other)
    assert files_with(tmp_path / "exports", other)
