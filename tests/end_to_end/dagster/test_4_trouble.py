"""What goes wrong in operation: a cancelled run, a database that is away, a machine that loses power."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, text

from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA
from pipelines.runtime.runs import range_tags
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.users.registry import Registry
from resources.embedded_postgres import server as embedded
from tests.conftest import Simulator
from tests.end_to_end.dagster.conftest import days_back, settings
from tests.end_to_end.dagster.running import RunningDagster, running_dagster, until
from tests.truth import differences


def _sync(dagster: RunningDagster, days: list[str]) -> str:
    run_id: str = dagster.launch("sync_sleep_sessions", tags=range_tags(days[0], days[-1]))["run"]["runId"]
    return run_id


@contextmanager
def _slow(api: Simulator) -> Iterator[None]:
    """Slow responses: a run can be interrupted in the middle."""
    api.ask("behaviour", {"latency_seconds": 1.0})
    try:
        yield
    finally:
        api.ask("behaviour", {"latency_seconds": 0.0})


def _progress(engine: Engine, run_id: str) -> int:
    query = text("SELECT count(*) FROM asleep.sync_batches WHERE run_id = :run_id AND finished_at IS NULL")
    with engine.connect() as connection:
        return connection.scalar(query, {"run_id": run_id}) or 0


def _missing(engine: Engine, api: Simulator, days: list[str]) -> list[str]:
    first, last = (date.fromisoformat(days[end]) for end in (0, -1))
    return differences(engine, api.ask("truth"), first, last)


def test_a_cancelled_run_keeps_what_landed_and_the_next_one_continues(
    dagster: RunningDagster, engine: Engine, api: Simulator
):
    """Somebody stops a backfill at noon, because it takes the whole rate; at night it goes on from there."""
    days = days_back(330)[:40]
    with _slow(api):
        run_id = _sync(dagster, days)
        until("a batch is under way", lambda: _progress(engine, run_id))
        assert dagster.terminate(run_id)["__typename"] == "TerminateRunSuccess"
        assert dagster.finished(run_id)["status"] == "CANCELED"

    again = dagster.finished(_sync(dagster, days))

    assert again["status"] == "SUCCESS"
    assert _missing(engine, api, days) == []


@pytest.fixture
def postgres_of_its_own(tmp_path: Path) -> Iterator[Path]:
    """A server that the test may stop."""
    directory = tmp_path / "postgres"
    try:
        embedded.start(directory)
        yield directory
    finally:
        embedded.destroy(directory)


@pytest.fixture
def lonely(
    postgres_of_its_own: Path, api: Simulator, tmp_path: Path
) -> Callable[[], AbstractContextManager[RunningDagster]]:
    """`with lonely() as dagster`: a deployment over that server."""
    url = embedded.start(postgres_of_its_own).url
    engine = make_engine(url, application_name="tests")
    migrate(engine, other_schemas=(DAGSTER_SCHEMA,))
    with engine.begin() as connection:
        Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
    engine.dispose()
    return lambda: running_dagster(url, tmp_path / "home", **settings(api))


def _launched(dagster: RunningDagster, days: list[str]) -> str | None:
    try:
        return _sync(dagster, days)
    except AssertionError:
        return None


@pytest.mark.long
def test_a_launch_while_the_database_is_away_is_refused_and_works_afterwards(
    lonely: Callable[[], AbstractContextManager[RunningDagster]], postgres_of_its_own: Path, api: Simulator
):
    """Dagster's own tables are in the same database: nothing can be recorded, so nothing may be started."""
    days = days_back(3)
    with lonely() as dagster:
        embedded.stop(postgres_of_its_own)
        with pytest.raises(AssertionError, match="too many retries for DB connection"):
            _sync(dagster, days)

        url = embedded.start(postgres_of_its_own).url
        run_id = until("a launch after the database came back", lambda: _launched(dagster, days), seconds=120)

        assert dagster.finished(run_id, seconds=200)["status"] == "SUCCESS"
        engine = make_engine(url, application_name="tests")
        assert _missing(engine, api, days) == []
        engine.dispose()


@pytest.mark.long
def test_a_run_whose_machine_lost_power_is_found_and_done_again(
    lonely: Callable[[], AbstractContextManager[RunningDagster]], postgres_of_its_own: Path, api: Simulator
):
    """It would look started for ever, and every sync after it would wait for its turn as long."""
    days = days_back(30)
    engine = make_engine(embedded.start(postgres_of_its_own).url, application_name="tests")
    with lonely() as dagster:
        with _slow(api):
            run_id = _sync(dagster, days)
            until("a batch is under way", lambda: _progress(engine, run_id))
            for name in ("code", "daemon"):
                os.killpg(dagster.processes[name].pid, signal.SIGKILL)

        with dagster.code_server(), dagster.daemon():
            assert dagster.finished(run_id, seconds=200)["status"] == "FAILURE"
            messages = [str(event["message"]) for event in dagster.events(run_id)]
            assert any("the code server that ran it has stopped" in message for message in messages)
            second = until("the run is started again", lambda: _retry_of(dagster, run_id), seconds=100)
            assert dagster.finished(second["runId"], seconds=200)["status"] == "SUCCESS"
        assert _missing(engine, api, days) == []
    engine.dispose()


def _retry_of(dagster: RunningDagster, run_id: str) -> Any:
    retries = dagster.runs(tags=[{"key": "dagster/parent_run_id", "value": run_id}])
    return retries[0] if retries else None
