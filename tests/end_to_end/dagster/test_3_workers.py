"""Batches on two worker processes of Celery over a real Redis: one rate for all, and killing one loses nothing."""

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.users.registry import Registry
from resources.embedded_postgres import server as embedded
from tests.conftest import Simulator, running_simulator
from tests.end_to_end.dagster.conftest import days_back, settings
from tests.end_to_end.dagster.running import BIN, RunningDagster, free_port, process, running_dagster, until
from tests.truth import differences

pytestmark = pytest.mark.long

USERS = 40
RATE = 60
DAYS = 20


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of this test's own, which forgets everything at its end."""
    program = shutil.which("redis-server")
    if program is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Redis on a machine of CI: `make redis` installs it")
        pytest.skip("no Redis here: `make redis` installs it")
    port = free_port()
    log = tmp_path_factory.mktemp("redis") / "redis.log"
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with process(command, dict(os.environ), log):
        until("Redis listens", lambda: "Ready to accept connections" in log.read_text(), seconds=20)
        yield f"redis://127.0.0.1:{port}/0"


@dataclass
class Fleet:
    """A deployment whose steps run on two workers."""

    dagster: RunningDagster
    api: Simulator
    workers: list[subprocess.Popen[bytes]]
    start_worker: Callable[[int], subprocess.Popen[bytes]]
    database_url: str


@contextmanager
def _deployed(broker: str, url: str, home: Path) -> Iterator[Fleet]:
    options = ("--users", str(USERS), "--days", "30", "--seed", "3")  # no limit there: what comes is what we sent
    with ExitStack() as stack:
        api = stack.enter_context(running_simulator(*options))
        engine = make_engine(url, application_name="tests")
        with engine.begin() as connection:
            Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
        engine.dispose()
        more = {
            "DAGSTER_EXECUTOR": "celery",
            "CELERY_BROKER_URL": broker,
            "ASLEEP_REQUESTS_PER_SECOND": str(RATE),
            "USER_BATCH_SIZE": "5",
        }
        dagster = stack.enter_context(running_dagster(url, home, **settings(api, **more)))
        start_worker = partial(_worker, stack, dagster)
        yield Fleet(dagster, api, [start_worker(number) for number in range(2)], start_worker, url)


@pytest.fixture
def fleet(broker: str, new_database: Callable[[], AbstractContextManager[str]], tmp_path: Path) -> Iterator[Fleet]:
    """Webserver, daemon, code server and two Celery workers that share a database and a broker."""
    with new_database() as url, _deployed(broker, url, tmp_path / "home") as fleet:
        yield fleet


def _worker(stack: ExitStack, dagster: RunningDagster, number: int) -> subprocess.Popen[bytes]:
    log = dagster.home / f"worker{number}.log"
    command = [
        *(str(BIN / "celery"), "-A", "pipelines.runtime.celery_worker", "worker", "-Q", "dagster"),
        *("-n", f"w{number}@%h"),
        *("--concurrency", "1", "--without-mingle", "--without-gossip", "--loglevel", "info"),
    ]
    started = stack.enter_context(process(command, dagster.environment, log))
    until(f"worker {number} is ready", lambda: log.exists() and " ready." in log.read_text(), seconds=60)
    return started


def _batches_running(fleet: Fleet) -> int:
    engine = make_engine(fleet.database_url, application_name="tests")
    try:
        with engine.connect() as connection:
            return connection.scalar(text("SELECT count(*) FROM asleep.sync_batches WHERE finished_at IS NULL")) or 0
    finally:
        engine.dispose()


def _sync(fleet: Fleet) -> str:
    days = days_back(DAYS)
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    run_id: str = fleet.dagster.launch("sync_sleep_sessions", tags=tags)["run"]["runId"]
    return run_id


def _differences(fleet: Fleet) -> list[str]:
    engine = make_engine(fleet.database_url, application_name="tests")
    try:
        first, last = (date.fromisoformat(days_back(DAYS)[end]) for end in (0, -1))
        return differences(engine, fleet.api.ask("truth"), first, last)
    finally:
        engine.dispose()


def test_two_workers_share_the_work_and_one_rate_limit(fleet: Fleet):
    """The limit belongs to the key: a second worker must not double the rate."""
    fleet.api.reset()

    run = fleet.dagster.finished(_sync(fleet), seconds=240)

    assert run["status"] == "SUCCESS"
    logs = [(fleet.dagster.home / f"worker{number}.log").read_text() for number in range(2)]
    assert all(re.search(r"Task execute_plan\[.*succeeded", log) for log in logs), "one worker did it all"
    stats = fleet.api.ask("stats")
    assert stats["busiest_second"] <= 1.2 * RATE, "two limits instead of one would give twice the rate"
    assert stats["total"] / (stats["last_at"] - stats["first_at"]) <= 1.05 * RATE
    assert _differences(fleet) == []


def _retries_of(fleet: Fleet, run_id: str) -> list[str]:
    parent = {"key": "dagster/parent_run_id", "value": run_id}
    return [run["runId"] for run in fleet.dagster.runs(tags=[parent])]


def test_a_run_whose_worker_is_killed_fails_within_two_minutes_and_starts_again(fleet: Fleet):
    """Without it the run would wait an hour, until the broker hands the batch to another worker."""
    run_id = _sync(fleet)
    until("both workers are at a batch", lambda: _batches_running(fleet) >= 2, seconds=90)

    os.killpg(fleet.workers[0].pid, signal.SIGKILL)

    assert fleet.dagster.finished(run_id, seconds=120)["status"] == "FAILURE"
    assert any("The Celery worker of" in (event.get("message") or "") for event in fleet.dagster.events(run_id))
    [again] = until("the run is started again", lambda: _retries_of(fleet, run_id), seconds=60)
    assert fleet.dagster.finished(again, seconds=200)["status"] == "SUCCESS"
    assert _differences(fleet) == []


def test_messages_of_a_cancelled_run_do_nothing(fleet: Fleet):
    """A worker that comes back finds the messages of a run that was cancelled meanwhile."""
    for worker in fleet.workers:
        os.killpg(worker.pid, signal.SIGKILL)
    run_id = _sync(fleet)
    submitted = "Submitting celery task"
    until(
        "a step waits for a worker",
        lambda: any(submitted in (event.get("message") or "") for event in fleet.dagster.events(run_id)),
    )
    fleet.dagster.terminate(run_id)

    fleet.start_worker(2)

    assert fleet.dagster.finished(run_id, seconds=60)["status"] == "CANCELED"
    assert not any(event.get("eventType") == "STEP_START" for event in fleet.dagster.events(run_id))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Path]:
    """A Postgres server that the test may stop, with a migrated database."""
    directory = tmp_path / "postgres"
    try:
        engine = make_engine(embedded.start(directory).url, application_name="tests")
        migrate(engine, other_schemas=(DAGSTER_SCHEMA,))
        engine.dispose()
        yield directory
    finally:
        embedded.destroy(directory)


@pytest.mark.timeout(1200)
def test_a_restart_of_postgres_beside_the_workers_loses_nothing(broker: str, server: Path, tmp_path: Path):
    """Workers lose connections and locks, and the run is not to wait for them: no person ends or launches anything."""
    url = embedded.start(server).url
    with _deployed(broker, url, tmp_path / "home") as fleet:
        run_id = _sync(fleet)
        until("both workers are at a batch", lambda: _batches_running(fleet) >= 2, seconds=180)

        embedded.stop(server)
        assert embedded.start(server).url == url

        until("the work is done", lambda: _is_done(fleet, run_id), seconds=600, every=1)
        assert _differences(fleet) == []
        assert all(worker.poll() is None for worker in fleet.workers)


def _is_done(fleet: Fleet, run_id: str) -> bool:
    """Whether the run, or the last of those that started it again, has ended well."""
    try:
        while retries := _retries_of(fleet, run_id):
            run_id = retries[0]
        return fleet.dagster.run(run_id)["status"] == "SUCCESS"
    except AssertionError:
        return False
