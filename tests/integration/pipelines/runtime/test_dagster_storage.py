"""Dagster's own tables: connections are kept, set up, and replaced after a restart of the database."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import URL, Engine, create_engine, text

from pipelines.runtime.dagster_environment import APPLICATION_NAME
from resources.database.engine import database_url

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
