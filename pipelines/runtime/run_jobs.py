"""Run Dagster jobs in this process, for people at a terminal: progress, the result of the run, an end on Ctrl-C."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date
from types import FrameType
from typing import Any, TypeVar
from uuid import uuid4

import click
import dagster as dg
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.definitions.repository_definition import SINGLETON_REPOSITORY_NAME
from dagster._core.execution.api import execute_run
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from assets.metrics.monthly_summary import stale_months
from assets.ops.batches import SyncFlags, totals_of_run
from assets.ops.failures import MISSING, NO_RUN_RETRY, PERMANENT
from assets.partitions import day_key, month_keys, months_from
from pipelines.runtime.run_launcher import HELD_TAG, lock_of
from pipelines.runtime.runs import LOCATION, range_tags
from pipelines.settings import APP_ROOT
from resources.database.advisory_lock import advisory_lock
from resources.database.sync import sync_state

QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
PROGRESS_SECONDS = 0.5
SECONDS_TO_RECORD = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class RunResult:
    """How a run ended."""

    success: bool
    run_id: str
    counts: dict[str, Any] = field(default_factory=dict)
    message: str = ""
    """Why it failed; empty on success, and when only users or sessions are missing, which the caller lists."""
    permanent: str | None = None
    """The kind of a failure that a retry cannot fix; None when there was none."""


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs jobs here, recorded in the Dagster instance."""

    definitions: dg.Definitions
    instance: dg.DagsterInstance
    engine: Engine
    first_day: date
    """Of the partitions."""
    console: Console = field(default_factory=lambda: Console(stderr=True))
    """Where progress is shown, when it is a terminal."""
    run_ids: list[str] = field(default_factory=list)
    """Of the runs begun."""

    def cancel(self) -> None:
        """Record that the run under way ends here; the caller ends the process."""
        self.console.show_cursor()
        run = self.instance.get_run_by_id(self.run_ids[-1]) if self.run_ids else None
        if run is not None and not run.is_finished:
            self.instance.report_run_canceled(run, message="The command was stopped.")

    def sync_all(self, days: tuple[date, date], flags: SyncFlags) -> RunResult:
        """Run `sync_sleep_sessions` over the days, both included, as one run.

        Args:
            days: first and last UTC day.
            flags: how.
        """
        return self.run("sync_sleep_sessions", tags={**range_tags(day_key(days[0]), day_key(days[1])), **flags.tags})

    def summarise_stale_months(self) -> RunResult | None:
        """Run `summarise_months` over the months that wait; return None when none does."""
        with self.engine.connect() as connection:
            months = stale_months(connection)
        if not months:
            return None
        return self.run("summarise_months", tags=range_tags(*month_keys(months, months_from(self.first_day))))

    def run(
        self, job: str, *, tags: Mapping[str, str] | None = None, config: Mapping[str, Any] | None = None
    ) -> RunResult:
        """Run a job.

        Args:
            job: its name.
            tags: of the run.
            config: of the run.
        """
        run_id = str(uuid4())
        self.run_ids.append(run_id)
        with advisory_lock(self.engine, lock_of(run_id)), _progress(self.engine, run_id, self.console):
            definition = self.definitions.resolve_job_def(job)
            run = self.instance.create_run_for_job(
                definition,
                run_id=run_id,
                run_config={**QUIET, **(config or {})},
                tags={**definition.run_tags, **(tags or {}), **NO_RUN_RETRY, HELD_TAG: "true"},
                remote_job_origin=_origin_of(job),
            )
            result = execute_run(InMemoryJob(definition), run, self.instance)
        with self.engine.connect() as connection:
            counts = totals_of_run(sync_state.counts_of_run(connection, run_id))
        return RunResult(result.success, run_id, counts, *_why(result))


def _origin_of(job: str) -> RemoteJobOrigin:
    """Return where the job comes from: the UI's first page and "Re-execute" leave out runs without it."""
    target = LoadableTargetOrigin(module_name="pipelines.definitions", working_directory=str(APP_ROOT))
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)


def _why(result: dg.JobExecutionResult) -> tuple[str, str | None]:
    """Return the message of the failure that matters most, and its kind when it is permanent."""
    message = ""
    for event in result.filter_events(lambda event: event.is_step_failure):
        failure = event.step_failure_data
        failure_data = failure.user_failure_data
        if failure_data and MISSING in failure_data.metadata:
            continue
        message = (failure_data.description if failure_data else None) or _root(failure.error)
        if failure_data and PERMANENT in failure_data.metadata:
            return message, str(failure_data.metadata[PERMANENT].value)
    return message, None


def _root(error: Any) -> str:
    """Return the first line of the error at the bottom of Dagster's chain."""
    while error is not None and error.cause is not None:
        error = error.cause
    return str(error.message).strip().splitlines()[0] if error is not None else ""


@contextmanager
def _progress(engine: Engine, run_id: str, console: Console) -> Iterator[None]:
    """Show a bar of users done while the block runs; the batches note their progress in the database."""
    if not console.is_terminal:
        yield
        return
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("users, {task.fields[sessions]} sessions, {task.fields[requests]} requests"),
        TimeElapsedColumn(),
        console=console,
        transient=True,
    )
    ended = threading.Event()
    with bar:
        task = bar.add_task("syncing", total=None, sessions=0, requests=0)

        def follow() -> None:
            while not ended.wait(PROGRESS_SECONDS):
                try:
                    with engine.connect() as connection:
                        counts = totals_of_run(sync_state.counts_of_run(connection, run_id))
                except SQLAlchemyError:
                    time.sleep(PROGRESS_SECONDS)
                    continue
                bar.update(
                    task,
                    total=counts.get("users") or None,
                    completed=counts.get("users_done", 0) + counts.get("users_fresh", 0),
                    sessions=counts.get("sessions", 0),
                    requests=counts.get("requests", 0),
                )

        thread = threading.Thread(target=follow, name="progress", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()


def run_until_signal(work: Callable[[], Result], record: Callable[[], None], line: str) -> Result:
    """Run `work` in a thread; on SIGINT or SIGTERM end the process with exit code 128 + the signal's number.

    What was written is committed, and what was not is fetched again, as after a crash. Waiting for the threads would
    take as long as the slowest request or pause. Outside of the main thread Dagster sets no signal handlers of its own.

    Args:
        work: what to do.
        record: called before the end; it may take `SECONDS_TO_RECORD`.
        line: printed to the standard error stream.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        click.echo(f"asleep-sync: {line}", err=True)
        recording = threading.Thread(target=record, daemon=True)
        recording.start()
        recording.join(SECONDS_TO_RECORD)
        sys.stdout.flush()
        os._exit(128 + number)

    handlers = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
