"""Dagster's own tables: connections are kept, set up, and replaced after a restart of the database."""

import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.utils import FuturesAwareThreadPoolExecutor
from dagster._grpc.server import DagsterApiServer
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import DagsterPostgresException
from pydantic import SecretStr
from sqlalchemy import URL, Engine, create_engine, event, text

from assets.ops.failures import as_dagster_failure
from pipelines.runtime.dagster_environment import APPLICATION_NAME, dagster_environment
from pipelines.runtime.dagster_storage import KeptConnectionsStorage
from pipelines.settings import Settings
from resources.database.engine import database_url
from resources.embedded_postgres.server import EmbeddedPostgres
from tests.integration.pipelines.service.serving import await_truth

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def empty_database(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[URL]:
    """A database of the test's own."""
    with new_database() as url:
        yield database_url(url)


@pytest.fixture
def instance(empty_database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The instance that `dagster.yaml` describes."""
    storage = empty_database.update_query_dict({"application_name": APPLICATION_NAME})
    monkeypatch.setenv("DAGSTER_STORAGE_URL", storage.render_as_string(hide_password=False))
    monkeypatch.setenv("DAGSTER_LOCAL_DIR", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text("utf-8"), "utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def administrator(empty_database: URL) -> Iterator[Engine]:
    """Connections of another program to the same database."""
    engine = create_engine(empty_database, isolation_level="AUTOCOMMIT")
    yield engine
    engine.dispose()


DEAD: Any = SimpleNamespace(is_alive=lambda: False, exitcode=-9)
"""The process of a run, killed."""
DAYS = 200
"""Of a backfill."""


@dg.asset(partitions_def=dg.DailyPartitionsDefinition("2024-01-01"), backfill_policy=dg.BackfillPolicy.single_run())
def daily_rows() -> None:
    """An asset of which one run materialises many days."""


def store_events(instance: dg.DagsterInstance, count: int) -> None:
    for number in range(count):
        instance.report_runless_asset_event(dg.AssetMaterialization("a", partition=str(number)))


def sessions_opened(administrator: Engine) -> int:
    with administrator.connect() as connection:
        connection.execute(text("SELECT pg_stat_clear_snapshot(), pg_stat_force_next_flush()"))
        return connection.scalar(text("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")) or 0


def test_events_are_stored_over_kept_connections(instance: dg.DagsterInstance, administrator: Engine):
    """A new connection for every event took most of the time of a sync with nothing new."""
    store_events(instance, 1)
    before = sessions_opened(administrator)

    store_events(instance, 20)

    assert sessions_opened(administrator) - before <= 2
    assert len(instance.get_materialized_partitions(dg.AssetKey("a"))) == 20


def test_a_connection_that_the_server_closed_is_replaced(instance: dg.DagsterInstance, administrator: Engine):
    """A restart of the database must not fail the next event of every process."""
    store_events(instance, 1)
    with administrator.connect() as connection:
        closed = connection.scalars(
            text("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = :name"),
            {"name": APPLICATION_NAME},
        ).all()
    assert closed

    store_events(instance, 3)

    assert len(instance.get_materialized_partitions(dg.AssetKey("a"))) == 3


def test_dagsters_tables_lie_in_their_schema(instance: dg.DagsterInstance, administrator: Engine):
    """Behind a pooler that drops start-up options they landed in `public` without a word."""
    store_events(instance, 1)
    with administrator.connect() as connection:
        schemas = connection.scalars(
            text("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('runs', 'event_logs')")
        ).all()
    assert schemas == ["dagster"]


def test_the_days_of_a_backfill_are_stored_together(
    instance: dg.DagsterInstance, empty_database: URL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One statement after another for each day takes longer than to sync three years of ten users."""
    url = SecretStr(empty_database.render_as_string(hide_password=False))
    settings = Settings(_env_file=None, database_url=url, data_directory=tmp_path / "data")  # type: ignore[call-arg]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name, value in dagster_environment(settings).items():
        monkeypatch.setenv(name, value)
    statements: list[str] = []
    days = dg.PartitionKeyRange("2024-01-01", "2024-07-18")
    tags = {"dagster/asset_partition_range_start": days.start, "dagster/asset_partition_range_end": days.end}

    def note(*call: object) -> None:
        statements.append(str(call[2]))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        assert dg.materialize([daily_rows], instance=instance, tags=tags).success
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    assert len(instance.get_materialized_partitions(dg.AssetKey("daily_rows"))) == DAYS
    planned_and_others = DAYS + 30
    assert sum("INSERT INTO event_logs" in statement for statement in statements) < planned_and_others


@pytest.fixture
def code_server(instance: dg.DagsterInstance) -> Iterator[DagsterApiServer]:
    """Dagster's code server without code, with the thread that fails the runs of dead processes."""
    ending, executor = threading.Event(), FuturesAwareThreadPoolExecutor(max_workers=1)
    server = DagsterApiServer(ending, logging.getLogger("dagster"), executor, instance_ref=instance.get_ref())
    yield server
    ending.set()
    server.cleanup()


@contextmanager
def outage(postgres: EmbeddedPostgres, database: URL, refused: threading.Semaphore, expected: int) -> Iterator[None]:
    """The database refuses connections until so many attempts to open the storage have failed after the block."""
    server = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(text(f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS false"))
        connection.execute(text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"),
                           {"name": database.database})  # fmt: skip
        try:
            yield
            for _ in range(expected):
                assert refused.acquire(timeout=30), "the storage does not wait for the database"
        finally:
            connection.execute(text(f"ALTER DATABASE {database.database} ALLOW_CONNECTIONS true"))
    server.dispose()


def test_an_outage_of_the_database_ends_neither_the_start_of_a_code_server_nor_its_search_for_dead_processes(
    instance: dg.DagsterInstance,
    code_server: DagsterApiServer,
    postgres: EmbeddedPostgres,
    empty_database: URL,
    monkeypatch: pytest.MonkeyPatch,
):
    """Without code, runs that left the queue failed for good; without the search, dead runs looked started for ever."""
    run = instance.add_run(dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTED))
    refused, opened = threading.Semaphore(0), DagsterPostgresStorage.__init__

    def opening(*arguments: Any, **options: Any) -> None:
        try:
            opened(*arguments, **options)
        except DagsterPostgresException:
            refused.release()
            raise

    monkeypatch.setattr(DagsterPostgresStorage, "__init__", opening)
    with ThreadPoolExecutor(1) as pool, outage(postgres, empty_database, refused, 2):
        starting = pool.submit(KeptConnectionsStorage.from_config_value, None, {})
        code_server._executions[run.run_id] = (DEAD, instance.get_ref())  # noqa: SLF001 as after a launch
        code_server._termination_events[run.run_id] = threading.Event()  # noqa: SLF001

    assert isinstance(starting.result(), KeptConnectionsStorage)
    await_truth(lambda: instance.get_run_by_id(run.run_id).status is dg.DagsterRunStatus.FAILURE)


def test_a_step_that_cannot_read_its_run_fails_as_one_whose_database_is_away(
    instance: dg.DagsterInstance, postgres: EmbeddedPostgres, empty_database: URL
):
    """It failed at once and for good, and the alert named a class of Dagster's instead of the reason."""
    context = dg.build_op_context(instance=instance)

    with (
        outage(postgres, empty_database, threading.Semaphore(0), 0),
        pytest.raises(dg.Failure, match=r"The database could not be used .*is not currently accepting") as failed,
        as_dagster_failure(context),
    ):
        pass

    assert failed.value.allow_retries, "the step is tried again"
