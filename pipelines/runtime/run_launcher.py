"""Dagster's default run launcher, which can also tell that the process of a run is gone, and starts it anew as a whole.

Without it a run whose machine lost power stays "started" for ever, and whatever waits for its turn waits as long.

Lives here: the health of a run's process, how it is done again.  Not here: what follows from its health
(`run_monitoring` in `dagster.yaml`).
"""

import json
from typing import Any

from dagster import DagsterInstance, DagsterRun
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.launcher.base import CheckRunHealthResult, LaunchRunContext, WorkerStatus
from dagster._core.launcher.default_run_launcher import DefaultRunLauncher
from dagster._core.storage.tags import GRPC_INFO_TAG, RETRY_STRATEGY_TAG
from dagster._grpc.client import DagsterGrpcClient
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value
from dagster_shared.error import DagsterError

from resources.database.advisory_lock import is_held
from resources.database.engine import make_engine

HELD_TAG = "asleep-sync/held-by-its-process"
"""On runs of the command: their process holds the lock `lock_of(run_id)` as long as it lives."""

LOCAL = {"localhost", "127.0.0.1", "::1"}
ASK_SECONDS = 10


def lock_of(run_id: str) -> str:
    """The lock that the process of a command's run holds."""
    return f"asleep-sync run {run_id}"


class WatchedRunLauncher(DefaultRunLauncher):
    """The default launcher with an answer to: is the process of this run still there?"""

    def launch_run(self, context: LaunchRunContext) -> None:
        """Launch; should the run die, all its steps are done again: nothing stored is fetched twice anyway.

        Continued "from failure", Dagster leaves out the mapped steps that had not begun.
        """
        run = context.dagster_run
        if RETRY_STRATEGY_TAG not in run.tags:
            self._instance.add_run_tags(run.run_id, {RETRY_STRATEGY_TAG: ReexecutionStrategy.ALL_STEPS.value})
        super().launch_run(context)

    @property
    def supports_check_run_worker_health(self) -> bool:
        """True: run monitoring asks."""
        return True

    def check_run_worker_health(self, run: DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started the run, or look at the lock that a command holds.

        Runs started in another way are taken to be running: only their time runs out.
        """
        if (server := run.tags.get(GRPC_INFO_TAG)) is not None:
            return _health_at(json.loads(server), run.run_id)
        if HELD_TAG in run.tags and not _is_held(self._instance, run.run_id):
            return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the command that started the run was killed")
        return CheckRunHealthResult(WorkerStatus.RUNNING)


def _health_at(server: dict[str, Any], run_id: str) -> CheckRunHealthResult:
    """A server on this machine gets a new address with every start: unknown there means only that code was reloaded.

    One on another machine keeps its address, so there it means that the server was started again, and the run died.
    """
    client = DagsterGrpcClient(
        host=server.get("host", "localhost"),
        port=server.get("port"),
        socket=server.get("socket"),
        use_ssl=bool(server.get("use_ssl", False)),
    )
    try:
        answer = deserialize_value(
            client.can_cancel_execution(CanCancelExecutionRequest(run_id=run_id), timeout=ASK_SECONDS),
            CanCancelExecutionResult,
        )
    except DagsterError:
        return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that ran it is gone")
    if answer.can_cancel or server.get("socket") or server.get("host") in LOCAL:
        return CheckRunHealthResult(WorkerStatus.RUNNING)
    return CheckRunHealthResult(WorkerStatus.NOT_FOUND, "the code server that ran it was started again")


def _is_held(instance: DagsterInstance, run_id: str) -> bool:
    """Dagster's storage is in the same database as the lock; with another storage it cannot be checked."""
    url = getattr(instance.run_storage, "postgres_url", None)
    if url is None:
        return True
    engine = make_engine(url, application_name="asleep-sync run monitoring", pool_size=1)
    try:
        return is_held(engine, lock_of(run_id))
    finally:
        engine.dispose()
