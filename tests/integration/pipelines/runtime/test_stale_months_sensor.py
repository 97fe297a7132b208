"""The sensor that recomputes averages, ticked by Dagster's own daemon loop with a clock of the test's."""

import logging
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from dagster import DagsterRunStatus, RunsFilter
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.test_utils import create_test_daemon_workspace_context, freeze_time
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._daemon.sensor import execute_sensor_iteration
from sqlalchemy import Engine, text

from pipelines.jobs import summarise_months

START = datetime(2026, 11, 20, 6, 0, tzinfo=UTC)
MONTH = date(2026, 11, 1)
LOCATION = """
import os
from datetime import datetime
import dagster as dg
from dagster._time import get_current_datetime
from pipelines.jobs import summarise_months
from pipelines.sensors import stale_months_sensor
from assets.monthly_averages import monthly_averages
from assets.sleep_metrics import MetricsOptions, sleep_metrics
from resources.database.resource import Database

defs = dg.Definitions(
    assets=[monthly_averages, sleep_metrics],
    jobs=[summarise_months],
    sensors=[stale_months_sensor(clock=get_current_datetime)],
    resources={{"database": Database(lambda: {url!r}), "metrics_options": MetricsOptions(frozenset({{6, 7}}))}},
)
"""


class Daemon:
    """Ticks the sensor at the moments that the test chooses."""

    def __init__(self, context: object, instance: dg.DagsterInstance, engine: Engine) -> None:
        self._context, self._instance, self._engine = context, instance, engine

    def tick(self, minutes: float) -> int:
        """Tick so many minutes after the start; returns how many recomputations were requested by then."""
        with freeze_time(START + timedelta(minutes=minutes)):
            list(execute_sensor_iteration(self._context, logging.getLogger("test"), None, None))
        runs = self._instance.get_runs(RunsFilter(job_name=summarise_months.name))
        for run in runs:
            if not run.is_finished:
                self._instance.report_run_canceled(run)
        return len(runs)

    def mark_stale(self) -> None:
        """A session of the month changes."""
        with self._engine.begin() as connection:
            connection.execute(
                text("INSERT INTO asleep.stale_months (user_id, month) VALUES ('U', :m) ON CONFLICT DO NOTHING"),
                {"m": MONTH},
            )

    def recompute(self) -> None:
        """The requested run takes every month off the queue."""
        with self._engine.begin() as connection:
            connection.execute(text("DELETE FROM asleep.stale_months"))

    def begin_sync(self, minutes: float = 0) -> str:
        """A sync is under way, as far as Dagster records it."""
        run = dg.DagsterRun(job_name="process_webhook_events", status=DagsterRunStatus.STARTED)
        with freeze_time(START + timedelta(minutes=minutes)):
            self._instance.add_run(run)
        return run.run_id

    def end_sync(self, run_id: str) -> None:
        """The sync ends."""
        run = self._instance.get_run_by_id(run_id)
        assert run is not None
        self._instance.report_run_canceled(run)


@pytest.fixture
def daemon(engine: Engine, tmp_path: Path) -> Iterator[Daemon]:
    """Dagster's sensor daemon over a location that holds this one sensor."""
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.stale_months"))
    file = tmp_path / "location.py"
    file.write_text(LOCATION.format(url=engine.url.render_as_string(hide_password=False)), "utf-8")
    launcher = {"run_launcher": {"module": "dagster._core.test_utils", "class": "MockedRunLauncher"}}
    target = LoadableTargetOrigin(python_file=str(file), working_directory=str(Path.cwd()))
    origin = InProcessCodeLocationOrigin(target, location_name="test")
    with (
        dg.instance_for_test(overrides=launcher) as instance,
        create_test_daemon_workspace_context(InProcessWorkspaceLoadTarget(origin), instance) as context,
    ):
        yield Daemon(context, instance, engine)


def test_recomputes_at_most_every_quarter_of_an_hour_while_a_sync_runs(daemon: Daemon):
    """A first sync of 10,000 users takes a day; analysts see averages of what has landed."""
    daemon.begin_sync()
    starts: list[int] = []
    for minute in range(0, 50, 5):
        daemon.mark_stale()
        if daemon.tick(minute) > len(starts):
            starts.append(minute)
            daemon.recompute()

    assert starts == [15, 30, 45]


def test_recomputes_at_once_when_no_sync_runs_and_waits_again_in_the_next_sync(daemon: Daemon):
    """The wait of one sync must not be carried into the next."""
    sync = daemon.begin_sync()
    daemon.mark_stale()
    assert daemon.tick(0) == 0
    daemon.end_sync(sync)
    assert daemon.tick(1) == 1
    daemon.recompute()
    assert daemon.tick(2) == 1

    daemon.begin_sync(60)
    daemon.mark_stale()

    assert daemon.tick(60) == 1
    assert daemon.tick(74) == 1
    assert daemon.tick(75) == 2
