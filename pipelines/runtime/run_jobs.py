"""Run Dagster jobs in this process, for people at a terminal: progress, the result of the run, an end on Ctrl-C."""

import os
import signal
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
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
from rich.progress import BarColumn, Progress, TimeElapsedColumn
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from assets.ops.batches import totals_of_run
from assets.ops.failures import MISSING, NO_RUN_RETRY, PERMANENT
from pipelines.runtime.runs import LOCATION
from pipelines.settings import APP_ROOT
from resources.database.advisory_lock import advisory_lock
from resources.database.sync.run_health import HELD_TAG, lock_of_run
from resources.database.sync.sync_state import SyncState

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


@dataclass(slots=True)
class Runner:
    """Runs jobs here, recorded in the Dagster instance."""

    definitions: dg.Definitions
    engine: Engine
    instance: dg.DagsterInstance = field(init=False)
    """Set before the first run."""
    run_id: str | None = None
    """Of the run under way, or of the last one."""

    def cancel(self) -> None:
        """Record that the run under way ends here; the caller ends the process."""
        _terminal().show_cursor()
        run = self.instance.get_run_by_id(self.run_id) if self.run_id else None
        if run is not None and not run.is_finished:
            self.instance.report_run_canceled(run, message="The command was stopped.")

    def run(self, job: str, tags: Mapping[str, str], config: Mapping[str, Any]) -> RunResult:
        """Run a job.

        Args:
            job: its name.
            tags: of the run.
            config: of the run.
        """
        self.run_id = run_id = str(uuid4())
        with advisory_lock(self.engine, lock_of_run(run_id)), _progress(self.engine, run_id, job):
            definition = self.definitions.resolve_job_def(job)
            run = self.instance.create_run_for_job(
                definition,
                run_id=run_id,
                run_config={**QUIET, **config},
                tags={**definition.run_tags, **tags, **NO_RUN_RETRY, HELD_TAG: "true"},
                remote_job_origin=_origin_of(job),
            )
            result = execute_run(InMemoryJob(definition), run, self.instance)
        return RunResult(result.success, run_id, _counts(self.engine, run_id), *_why(result))


def _origin_of(job: str) -> RemoteJobOrigin:
    """Return where the job comes from: the UI's first page and "Re-execute" leave out runs without it."""
    target = LoadableTargetOrigin(module_name="pipelines.definitions", working_directory=str(APP_ROOT))
    location = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
    return RemoteJobOrigin(RemoteRepositoryOrigin(location, SINGLETON_REPOSITORY_NAME), job)


def _counts(engine: Engine, run_id: str) -> dict[str, Any]:
    with engine.connect() as connection:
        return totals_of_run(SyncState(connection).counts_of_run(run_id))


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


@cache
def _terminal() -> Console:
    """Return the standard error stream, as it was before Dagster redirected it to a file for the time of a step."""
    console = Console(stderr=True)
    return Console(file=os.fdopen(os.dup(console.file.fileno()), "w")) if console.is_terminal else console


@contextmanager
def _progress(engine: Engine, run_id: str, job: str) -> Iterator[None]:
    """Show a bar of users done on a terminal while the block runs; the batches note their progress in the database."""
    console = _terminal()
    columns = ("{task.description}", BarColumn(), "{task.fields[counted]}", TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    task = bar.add_task(job, total=None, counted="")
    ended = threading.Event()

    def follow() -> None:
        while not ended.wait(PROGRESS_SECONDS):
            with suppress(SQLAlchemyError):
                counts = Counter(_counts(engine, run_id))
                if users := counts["users"]:
                    done = counts["users_done"] + counts["users_fresh"]
                    counted = f"{done}/{users} users, {counts['sessions']} sessions, {counts['requests']} requests"
                    bar.update(task, total=users, completed=done, counted=counted)

    with bar, ThreadPoolExecutor(1) as pool:
        if not bar.disable:
            pool.submit(follow)
        try:
            yield
        finally:
            ended.set()


def run_until_signal(work: Callable[[], Result], record: Callable[[], None]) -> Result:
    """Run `work` in a thread; on SIGINT or SIGTERM end the process with exit code 128 + the signal's number.

    What was written is committed, and what was not is fetched again, as after a crash. Waiting for the threads would
    take as long as the slowest request or pause. Outside of the main thread Dagster sets no signal handlers of its own.

    Args:
        work: what to do.
        record: called before the end; it may take `SECONDS_TO_RECORD`.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        click.echo("asleep-sync: stopped. What was fetched is stored; the next sync fetches the rest.", err=True)
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
