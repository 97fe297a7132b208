"""Old runs are removed with their events and logs; the assets keep their history."""

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from dagster._core.definitions.asset_checks.asset_check_evaluation import AssetCheckEvaluationPlanned
from dagster._core.events import StepMaterializationData
from dagster._core.storage.compute_log_manager import ComputeIOType
from dagster._core.test_utils import freeze_time
from pydantic import SecretStr
from sqlalchemy import Engine

from assets.ops.deleted_users import Retention
from pipelines.jobs import delete_old_records
from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.settings import Settings
from resources.database.resource import Database

NOW = datetime.now(UTC)
CHECK = dg.AssetCheckKey(dg.AssetKey("monthly_averages"), "averages_are_current")
MONTH = NOW.replace(day=1).date().isoformat()


@pytest.fixture
def instance(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The project's instance."""
    url = SecretStr(engine.url.render_as_string(hide_password=False))
    settings = Settings(_env_file=None, database_url=url, data_directory=tmp_path)  # type: ignore[call-arg]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    for name, value in dagster_environment(settings).items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


def ended(instance: dg.DagsterInstance, job: str, status: DagsterRunStatus, *, days_ago: float) -> str:
    """A run of that job that ended so many days ago, with a log file; returns its id."""
    with freeze_time(NOW - timedelta(days=days_ago)):
        run = dg.DagsterRun(job_name=job, status=status)
        instance.add_run(run)
    key = [run.run_id, "compute_logs", "step"]
    with instance.compute_log_manager.open_log_stream(key, ComputeIOType.STDOUT) as stream:
        assert stream is not None
        stream.write("a line")
    return run.run_id


def checked(instance: dg.DagsterInstance, run_id: str) -> None:
    """The run was to evaluate a check."""
    instance.report_dagster_event(
        dg.DagsterEvent(
            event_type_value=dg.DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value,
            job_name="any",
            event_specific_data=AssetCheckEvaluationPlanned(asset_key=CHECK.asset_key, check_name=CHECK.name),
        ),
        run_id=run_id,
    )


def log_of(run_id: str) -> Path:
    return Path(os.environ["DAGSTER_LOCAL_DIR"]) / run_id


def delete(instance: dg.DagsterInstance, engine: Engine) -> None:
    database = Database(lambda: engine.url.render_as_string(hide_password=False))
    assert delete_old_records.execute_in_process(
        instance=instance, resources={"database": database, "retention": Retention()}
    ).success


def test_successful_runs_of_frequent_jobs_go_after_a_week_and_failed_ones_after_a_month(
    instance: dg.DagsterInstance, engine: Engine
):
    """A recomputation every 15 minutes would fill the run table within a year."""
    success, failure = DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE
    gone = [
        ended(instance, "summarise_months", success, days_ago=8),
        ended(instance, "process_webhook_events", success, days_ago=8),
        ended(instance, "retry_failures", failure, days_ago=31),
    ]
    kept = [
        ended(instance, "summarise_months", success, days_ago=6),
        ended(instance, "retry_failures", failure, days_ago=29),
        ended(instance, "sync_sleep_sessions", success, days_ago=400),
    ]

    for run_id in (*gone, *kept):
        checked(instance, run_id)

    delete(instance, engine)

    executions = instance.event_log_storage.get_asset_check_execution_history(CHECK, limit=10)
    assert {execution.run_id for execution in executions} == set(kept)
    assert [instance.has_run(run_id) for run_id in gone] == [False] * len(gone)
    assert [log_of(run_id).exists() for run_id in gone] == [False] * len(gone)
    assert [instance.has_run(run_id) for run_id in kept] == [True] * len(kept)
    assert [log_of(run_id).exists() for run_id in kept] == [True] * len(kept)


def test_the_run_that_last_computed_a_month_stays(instance: dg.DagsterInstance, engine: Engine):
    """Without it the month would look as if it had never been computed."""
    run_ids = [ended(instance, "summarise_months", DagsterRunStatus.SUCCESS, days_ago=days) for days in (60, 50)]
    for run_id in run_ids:
        run = instance.get_run_by_id(run_id)
        assert run is not None
        instance.report_dagster_event(
            dg.DagsterEvent(
                event_type_value=dg.DagsterEventType.ASSET_MATERIALIZATION.value,
                job_name=run.job_name,
                event_specific_data=StepMaterializationData(
                    dg.AssetMaterialization("monthly_averages", partition=MONTH)
                ),
            ),
            run_id=run_id,
        )

    delete(instance, engine)

    assert [instance.has_run(run_id) for run_id in run_ids] == [False, True]
    assert instance.get_materialized_partitions(dg.AssetKey("monthly_averages")) == {MONTH}


def test_events_without_a_run_go_after_a_week_but_the_newest_of_each_month(
    instance: dg.DagsterInstance, engine: Engine
):
    """Webhooks report a month's averages 150 times a day: 400 MB of events a year."""
    asset = dg.AssetKey("monthly_averages")
    for partition, days_ago in (("2026-01-01", 9), ("2026-01-01", 8), ("2026-02-01", 8), ("2026-02-01", 6)):
        with freeze_time(NOW - timedelta(days=days_ago)):
            instance.report_runless_asset_event(dg.AssetMaterialization(asset, partition=partition))

    delete(instance, engine)
    delete(instance, engine)

    def ages(partition: str) -> list[int]:
        records = instance.fetch_materializations(dg.AssetRecordsFilter(asset, asset_partitions=[partition]), limit=9)
        return [round((NOW.timestamp() - record.timestamp) / 86_400) for record in records.records]

    assert (ages("2026-01-01"), ages("2026-02-01")) == ([8], [6])
    assert instance.get_materialized_partitions(asset) >= {"2026-01-01", "2026-02-01"}
