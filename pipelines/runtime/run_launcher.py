"""Dagster's default run launcher, which also detects a lost run process or a lost worker of its steps.

The code server has a thread that fails the runs of dead processes, but an error of the database ends this thread for
good. Without this launcher such a run, and one whose machine lost power, stays "started" for ever, and whatever waits
for its turn waits as long. What follows from a run's health is configured as `run_monitoring` in `dagster.yaml`.
"""

import json
from contextlib import suppress
from typing import Any

import psutil
from dagster import (
    DagsterError,
    DagsterEventType,
    DagsterRun,
    DefaultRunLauncher,
    deserialize_value,
)
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult, CancelExecutionRequest

from resources.database.advisory_lock import is_held
from resources.database.engine import make_engine
from resources.database.sync.run_health import HELD_TAG, lock_of_run

STEPS_TAG = "asleep-sync/steps-held-by-workers"
"""On runs of which a worker has taken a step."""

STEP_TAKEN = "Taken by the Celery worker"
"""How the event begins that a worker stores when it has taken a step and holds `lock_of_step`."""

_ENDS = {
    DagsterEventType.STEP_SUCCESS,
    DagsterEventType.STEP_FAILURE,
    DagsterEventType.STEP_UP_FOR_RETRY,
    DagsterEventType.STEP_SKIPPED,
}

LOCAL = {"localhost", "127.0.0.1", "::1"}
RESPONSE_SECONDS = 10
_RUNNING = CheckRunHealthResult(WorkerStatus.RUNNING)


def lock_of_step(run_id: str, step_key: str) -> str:
    """Return the name of the lock that a worker holds while it executes a step.

    Args:
        run_id: the Dagster run.
        step_key: the step.
    """
    return f"asleep-sync step {step_key} of run {run_id}"


class WatchedRunLauncher(DefaultRunLauncher):
    """The default launcher, which finds runs whose process or Celery worker was lost."""

    def __init__(self, inst_data: Any = None) -> None:
        super().__init__(inst_data)
        self._without_worker: dict[str, frozenset[str]] = {}
        """Steps that had no worker at the last check, by run."""
        self._without_process: set[str] = set()
        """Runs that had no process at the last check."""

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run monitoring calls `check_run_worker_health`."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started the run, and look at the locks of its steps, or at that of a command.

        Runs started in another way are taken to be running: only their time runs out.
        """
        if (tag := run.tags.get(GRPC_INFO_TAG)) is not None:
            server = json.loads(tag)
            health = _health_at(server, run.run_id)
            if health.status is WorkerStatus.RUNNING and _is_here(server) and self._has_lost_its_process(run):
                health = CheckRunHealthResult(WorkerStatus.NOT_FOUND, "its process was killed")
            is_watched = health.status is WorkerStatus.RUNNING and STEPS_TAG in run.tags
            return self._health_of_steps(run) if is_watched else health
        if HELD_TAG in run.tags and not self._is_held(lock_of_run(run.run_id)):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the command that started the run was killed")
        return _RUNNING

    def _has_lost_its_process(self, run: DagsterRun) -> bool:
        """Return whether the run had no process at two checks in a row: one ends a moment before it is reported."""
        started = self._instance.get_records_for_run(run.run_id, of_type=DagsterEventType.ENGINE_EVENT, limit=10)
        events = (record.event_log_entry.dagster_event for record in started.records)
        pids = (event.engine_event_data.metadata.get("pid") for event in events if event is not None)
        pid = next((int(str(pid.value)) for pid in pids if pid is not None), None)
        if pid is None or _is_alive(pid):
            self._without_process.discard(run.run_id)
            return False
        was_gone = run.run_id in self._without_process
        self._without_process.add(run.run_id)
        return was_gone

    def _health_of_steps(self, run: DagsterRun) -> CheckRunHealthResult:
        """Fail the run when a step has no worker at two checks in a row: a step ends a moment before its lock is free.

        The run's process is interrupted, or it would wait for the worker's answer.
        """
        found = self._steps_without_worker(run.run_id)
        gone = found & self._without_worker.pop(run.run_id, frozenset())
        if not gone:
            self._without_worker[run.run_id] = found
            return _RUNNING
        message = (
            f"The Celery worker of {', '.join(sorted(gone))} was lost: killed, out of memory, or its machine is off. "
            "The run is started again with all its steps; what is stored is not fetched again. See the worker's log, "
            "and start another worker if none is left: docs/how-to/celery.md."
        )
        self._instance.report_run_failed(run, message)
        with suppress(DagsterError):
            _client(json.loads(run.tags[GRPC_INFO_TAG])).cancel_execution(CancelExecutionRequest(run_id=run.run_id))
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, message)

    def _steps_without_worker(self, run_id: str) -> frozenset[str]:
        """Return the steps that a worker has taken and not ended, and of which no worker holds the lock."""
        taken: set[str] = set()
        for entry in self._instance.all_logs(run_id, of_type={DagsterEventType.ENGINE_EVENT, *_ENDS}):
            if entry.step_key is None or entry.dagster_event is None:
                continue
            if entry.dagster_event.event_type in _ENDS:
                taken.discard(entry.step_key)
            elif (entry.dagster_event.message or "").startswith(STEP_TAKEN):
                taken.add(entry.step_key)
        return frozenset(step for step in taken if not self._is_held(lock_of_step(run_id, step)))

    def _is_held(self, lock: str) -> bool:
        """Dagster's storage is in the same database as the lock; with another storage it cannot be checked."""
        url = getattr(self._instance.run_storage, "postgres_url", None)
        if url is None:
            return True
        engine = make_engine(url, application_name="asleep-sync run monitoring", pool_size=1)
        try:
            return is_held(engine, lock)
        finally:
            engine.dispose()


def _client(server: dict[str, Any]) -> DagsterGrpcClient:
    return DagsterGrpcClient(**{"host": "localhost", **server})


def _is_here(server: dict[str, Any]) -> bool:
    return bool(server.get("socket")) or server.get("host") in LOCAL


def _is_alive(pid: int) -> bool:
    """False also for a process that has ended and of which its parent has taken no notice."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _health_at(server: dict[str, Any], run_id: str) -> CheckRunHealthResult:
    """A server on this machine gets a new address with every start: unknown there means only that code was reloaded.

    One on another machine keeps its address, so there it means that the server was started again, and the run died.
    """
    try:
        answer = deserialize_value(
            _client(server).can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=RESPONSE_SECONDS),
            CanCancelExecutionResult,
        )
    except DagsterError:
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that ran it has stopped")
    if answer.can_cancel or _is_here(server):
        return _RUNNING
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that ran it was started again")
