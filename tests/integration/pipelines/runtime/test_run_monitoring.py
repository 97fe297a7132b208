"""Runs whose process died are found, so that nothing waits for them for ever."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent import futures
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
import pytest
from dagster import DagsterRunStatus
from dagster._core.events import EngineEventData
from dagster._core.launcher.base import WorkerStatus
from dagster._core.test_utils import freeze_time
from dagster._grpc.__generated__ import dagster_api_pb2, dagster_api_pb2_grpc
from dagster._grpc.types import CanCancelExecutionResult
from dagster._serdes import serialize_value
from sqlalchemy import Engine

from pipelines.cli.status import show_status
from pipelines.runtime.dagster_environment import APPLICATION_NAME
from pipelines.runtime.run_launcher import WatchedRunLauncher
from pipelines.settings import Settings
from resources.database.advisory_lock import advisory_lock, is_held
from resources.database.sync import sync_state
from resources.database.sync.run_health import HELD_TAG, lock_of_batch, lock_of_run, stalled_runs

ROOT = Path(__file__).resolve().parents[4]
RUN_ID = "00000000-0000-0000-0000-000000000001"
HOLDER = """
import sys
from resources.database.engine import make_engine
from resources.database.advisory_lock import advisory_lock
with advisory_lock(make_engine(sys.argv[1], application_name="holder"), sys.argv[2]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def launcher(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[WatchedRunLauncher]:
    """The launcher of an instance as `dagster.yaml` describes it."""
    url = engine.url.update_query_dict({"application_name": APPLICATION_NAME}).render_as_string(hide_password=False)
    monkeypatch.setenv("DAGSTER_STORAGE_URL", url)
    monkeypatch.setenv("DAGSTER_LOCAL_DIR", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert isinstance(instance.run_launcher, WatchedRunLauncher)
        yield instance.run_launcher


def health(launcher: WatchedRunLauncher, **tags: str) -> WorkerStatus:
    return launcher.check_run_worker_health(dg.DagsterRun(job_name="any", run_id=RUN_ID, tags=tags)).status


def test_a_killed_command_is_noticed_wherever_it_ran(launcher: WatchedRunLauncher, engine: Engine):
    """`asleep-sync sync` killed by the kernel would block the daily sync's turn for days."""
    command = [sys.executable, "-c", HOLDER, engine.url.render_as_string(hide_password=False), lock_of_run(RUN_ID)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        assert health(launcher, **{HELD_TAG: "true"}) is WorkerStatus.RUNNING
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait(timeout=10)

    with advisory_lock(engine, lock_of_run(RUN_ID)):
        assert is_held(engine, lock_of_run(RUN_ID))
    assert health(launcher, **{HELD_TAG: "true"}) is WorkerStatus.NOT_FOUND


def test_a_run_of_a_code_server_that_is_gone_is_noticed(launcher: WatchedRunLauncher):
    """A machine that lost power leaves runs that look started for ever."""
    server = json.dumps({"host": "localhost", "port": 9})

    assert health(launcher, **{".dagster/grpc_info": server}) is WorkerStatus.NOT_FOUND


class CodeServer(dagster_api_pb2_grpc.DagsterApiServicer):
    """A code server that takes the run to be under way, as one whose thread for dead processes has ended."""

    def CanCancelExecution(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 gRPC's names
        answer = serialize_value(CanCancelExecutionResult(can_cancel=True))
        return dagster_api_pb2.CanCancelExecutionReply(serialized_can_cancel_execution_result=answer)


@pytest.fixture
def code_server() -> Iterator[str]:
    """Its address, as a run's tag."""
    server = grpc.server(futures.ThreadPoolExecutor(1))
    dagster_api_pb2_grpc.add_DagsterApiServicer_to_server(CodeServer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield json.dumps({"host": "localhost", "port": port})
    server.stop(None).wait()


@pytest.mark.parametrize("is_reaped", [True, False])
def test_a_killed_process_is_noticed_even_if_its_code_server_does_not(
    launcher: WatchedRunLauncher, code_server: str, *, is_reaped: bool
):
    """A full disk ends the code server's thread that notices: the run, and the syncs after it, waited for a person."""
    run = dg.DagsterRun(job_name="any", status=DagsterRunStatus.STARTED, tags={".dagster/grpc_info": code_server})
    launcher._instance.add_run(run)  # noqa: SLF001 the launcher is part of it
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        started = EngineEventData.in_process(process.pid)
        launcher._instance.report_engine_event("Started process for run.", run, started)  # noqa: SLF001
        alive = [launcher.check_run_worker_health(run).status for _ in range(2)]
        process.kill()
        process.wait() if is_reaped else os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        killed = [launcher.check_run_worker_health(run) for _ in range(2)]

    assert alive == [WorkerStatus.RUNNING] * 2
    assert [health.status for health in killed] == [WorkerStatus.RUNNING, WorkerStatus.NOT_FOUND]
    assert killed[1].msg == "its process was killed"


def test_status_shows_runs_that_do_not_move(
    launcher: WatchedRunLauncher, engine: Engine, capsys: pytest.CaptureFixture[str]
):
    """With no daemon and no worker a run waits for ever, and `status` reported that nothing is missing."""
    instance = launcher._instance  # noqa: SLF001 the launcher is part of it
    began = datetime.now(UTC) - timedelta(minutes=16)
    stalled, syncing, lively = (dg.DagsterRun(job_name="any", status=DagsterRunStatus.STARTED) for _ in range(3))
    for run in (stalled, syncing, lively):
        instance.add_run(run)
        with freeze_time(began):
            instance.report_engine_event("Submitted.", run)
    instance.report_engine_event("Taken.", lively)
    with engine.begin() as connection:
        sync_state.BatchRecord(syncing.run_id, 0).begin(connection, (began, began))

    with advisory_lock(engine, lock_of_batch(0, 1)):
        found = [run.run_id for run in stalled_runs(engine)]
        needs_attention = show_status(engine, Settings(_env_file=None))  # type: ignore[call-arg]

    assert found == [stalled.run_id]
    assert needs_attention
    assert f"Run {stalled.run_id} of any is STARTED, without an event since" in capsys.readouterr().out


def test_status_leaves_out_the_run_of_a_killed_command(launcher: WatchedRunLauncher, engine: Engine):
    """Where cron runs `asleep-sync sync`, no daemon ends such a run: `status` failed after complete syncs, too."""
    instance = launcher._instance  # noqa: SLF001 the launcher is part of it
    tags = {HELD_TAG: "true"}
    killed, alive = (dg.DagsterRun(job_name="any", status=DagsterRunStatus.STARTED, tags=tags) for _ in range(2))
    for run in (killed, alive):
        instance.add_run(run)
        with freeze_time(datetime.now(UTC) - timedelta(minutes=16)):
            instance.report_engine_event("Submitted.", run)

    with advisory_lock(engine, lock_of_run(alive.run_id)):
        found = {run.run_id for run in stalled_runs(engine)}

    assert found & {killed.run_id, alive.run_id} == {alive.run_id}


def test_a_run_started_by_hand_is_left_alone(launcher: WatchedRunLauncher):
    """`dagster job execute` by hand: declaring it dead would start a second one beside it."""
    assert health(launcher) is WorkerStatus.RUNNING


def test_only_one_at_a_time_and_the_next_one_waits(engine: Engine):
    """Two syncs of one batch would ask the API everything twice."""
    waits: list[float] = []
    messages: list[str] = []

    with advisory_lock(engine, "batch"):
        pass
    with engine.connect() as holder:
        holder.exec_driver_sql("SELECT pg_advisory_lock(hashtextextended('batch', 0))")

        def wait(seconds: float) -> None:
            waits.append(seconds)
            if len(waits) == 3:
                holder.exec_driver_sql("SELECT pg_advisory_unlock(hashtextextended('batch', 0))")

        with advisory_lock(engine, "batch", on_wait=lambda: messages.append("waiting"), wait=wait):
            assert is_held(engine, "batch")

    assert (len(waits), messages) == (3, ["waiting"])
    assert not is_held(engine, "batch")


def test_the_lock_holds_no_transaction_open(engine: Engine):
    """An hour of an open transaction would bloat every table that is written meanwhile."""
    with advisory_lock(engine, "batch"), engine.connect() as connection:
        states = connection.exec_driver_sql(
            "SELECT state FROM pg_stat_activity AS a JOIN pg_locks AS l USING (pid) WHERE l.locktype = 'advisory' "
            "AND a.pid <> pg_backend_pid() AND a.datname = current_database()"
        )
        assert states.scalars().all() == ["idle"]


def test_a_dead_run_of_sessions_starts_again_with_all_steps_however_it_was_launched(
    definitions: dg.Definitions, instance: dg.DagsterInstance
):
    """Continued "from failure", Dagster leaves out batches that had not begun. Kubernetes has a launcher of its own."""
    selection = {dg.AssetKey("sleep_sessions")}
    of_the_ui = definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection=selection)
    today = datetime.now(UTC).date().isoformat()

    result = of_the_ui.execute_in_process(instance=instance, partition_key=today)

    run = instance.get_run_by_id(result.run_id)
    assert run is not None
    assert run.tags["dagster/retry_strategy"] == "ALL_STEPS"
