"""Steps on Celery's workers: a worker that is gone is noticed, and a message that came too late does nothing."""

import importlib
import json
import os
import sys
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import dagster as dg
import grpc
import pytest
from dagster import DagsterEventType, DagsterRunStatus
from dagster._core.execution.retries import RetryMode
from dagster._core.launcher.base import WorkerStatus
from dagster._grpc.__generated__ import dagster_api_pb2, dagster_api_pb2_grpc
from dagster._grpc.types import CanCancelExecutionResult, CancelExecutionResult, ExecuteStepArgs
from dagster._serdes import deserialize_value, pack_value, serialize_value
from pydantic import SecretStr
from sqlalchemy import Engine

from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.runtime.run_launcher import STEP_TAKEN, STEPS_TAG, lock_of_step
from pipelines.settings import Settings
from resources.database.advisory_lock import advisory_lock, is_held

STEP = "users"


@pytest.fixture
def instance(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dg.DagsterInstance]:
    """The project's instance, in an environment that steps on workers find as well."""
    url = engine.url.render_as_string(hide_password=False)
    settings = Settings(_env_file=None, database_url=SecretStr(url), data_directory=tmp_path)  # type: ignore[call-arg]
    monkeypatch.delenv("DAGSTER_HOME", raising=False)
    celery = {"DAGSTER_EXECUTOR": "celery", "CELERY_BROKER_URL": "redis://127.0.0.1:9/0"}
    variables = {**dagster_environment(settings), **celery}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with dg.DagsterInstance.get() as instance:
        yield instance


class CodeServer(dagster_api_pb2_grpc.DagsterApiServicer):
    """A code server that executes a run, and notes when the run is interrupted."""

    def __init__(self) -> None:
        self.interrupted = 0

    def CanCancelExecution(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 gRPC's names
        answer = serialize_value(CanCancelExecutionResult(can_cancel=True))
        return dagster_api_pb2.CanCancelExecutionReply(serialized_can_cancel_execution_result=answer)

    def CancelExecution(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 gRPC's names
        self.interrupted += 1
        answer = serialize_value(CancelExecutionResult(success=True, message=None, serializable_error_info=None))
        return dagster_api_pb2.CancelExecutionReply(serialized_cancel_execution_result=answer)


@pytest.fixture
def code_server() -> Iterator[tuple[CodeServer, int]]:
    """The code server and its port."""
    server, servicer = grpc.server(futures.ThreadPoolExecutor(1)), CodeServer()
    dagster_api_pb2_grpc.add_DagsterApiServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield servicer, port
    server.stop(None).wait()


def started_run(instance: dg.DagsterInstance, port: int = 9) -> dg.DagsterRun:
    """A run under way, of which a worker has taken a step."""
    server = json.dumps({"host": "localhost", "port": port})
    run = dg.DagsterRun(
        job_name="any", status=DagsterRunStatus.STARTED, tags={".dagster/grpc_info": server, STEPS_TAG: "true"}
    )
    instance.add_run(run)
    instance.report_engine_event(f"{STEP_TAKEN} w0@here.", run, step_key=STEP)
    return run


def test_a_run_whose_worker_is_gone_fails_at_the_second_check(
    instance: dg.DagsterInstance, engine: Engine, code_server: tuple[CodeServer, int]
):
    """Redis hands the step to another worker after an hour only: the run would look alive until then."""
    server, port = code_server
    run = started_run(instance, port)

    with advisory_lock(engine, lock_of_step(run.run_id, STEP)):
        held = [instance.run_launcher.check_run_worker_health(run).status for _ in range(2)]
    first = instance.run_launcher.check_run_worker_health(run).status
    assert (server.interrupted, instance.get_run_by_id(run.run_id).status) == (0, DagsterRunStatus.STARTED)
    second = instance.run_launcher.check_run_worker_health(run)

    assert (held, first, second.status) == ([WorkerStatus.RUNNING] * 2, WorkerStatus.RUNNING, WorkerStatus.NOT_FOUND)
    [failure] = instance.all_logs(run.run_id, of_type=DagsterEventType.RUN_FAILURE)
    assert "The Celery worker of users was lost" in failure.message
    assert "start another worker" in failure.message
    assert server.interrupted == 1, "the run's process waits for the worker's answer"


def test_a_step_that_has_ended_needs_no_worker(instance: dg.DagsterInstance, code_server: tuple[CodeServer, int]):
    """A step that failed, or is about to be tried again, holds no lock either."""
    run = started_run(instance, code_server[1])
    event = dg.DagsterEvent(DagsterEventType.STEP_UP_FOR_RETRY.value, "any", step_key=STEP)
    instance.report_dagster_event(event, run_id=run.run_id)

    checks = [instance.run_launcher.check_run_worker_health(run).status for _ in range(3)]

    assert checks == [WorkerStatus.RUNNING] * 3


@dg.op
def users() -> None:
    """Leaves a line each time that it is executed."""
    with Path(os.environ["LINES"]).open("a") as file:
        file.write("executed\n")


@dg.job
def a_job() -> None:
    """One step."""
    users()


@pytest.fixture
def lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which the step leaves lines."""
    monkeypatch.setenv("LINES", str(tmp_path / "lines"))
    (tmp_path / "lines").touch()
    return tmp_path / "lines"


def received(run_id: str, instance: dg.DagsterInstance) -> list[str]:
    """What a worker answers to the message of the step."""
    sys.modules.pop("pipelines.runtime.celery_worker", None)
    worker = importlib.import_module("pipelines.runtime.celery_worker")
    job = dg.reconstructable(a_job)
    arguments = ExecuteStepArgs(
        job_origin=job.get_python_origin(),
        run_id=run_id,
        step_keys_to_execute=[STEP],
        instance_ref=instance.get_ref(),
        retry_mode=RetryMode.DISABLED,
        known_state=None,
        should_verify_step=False,
        print_serialized_events=False,
    )
    answer: list[str] = worker.execute_plan.apply(args=(pack_value(arguments), job.to_dict())).get()
    return answer


@pytest.mark.parametrize("status", [DagsterRunStatus.CANCELED, DagsterRunStatus.CANCELING, DagsterRunStatus.FAILURE])
def test_a_message_of_a_run_that_ended_does_nothing(
    instance: dg.DagsterInstance, lines: Path, status: DagsterRunStatus
):
    """A cancelled backfill went on as soon as a worker was free."""
    run = instance.create_run_for_job(a_job, status=status)

    assert received(run.run_id, instance) == []
    assert lines.read_text() == ""


def test_a_step_is_executed_once_however_often_its_message_comes(
    instance: dg.DagsterInstance, engine: Engine, lines: Path
):
    """A broker hands a message out again when its worker died before it could answer: the answer must be the same."""
    run = instance.create_run_for_job(a_job, status=DagsterRunStatus.STARTED)

    first, second = received(run.run_id, instance), received(run.run_id, instance)

    assert lines.read_text() == "executed\n"
    of_step = {event for event in first if deserialize_value(event, dg.DagsterEvent).step_key == STEP}
    assert of_step <= set(second), "the run's process needs the step's output and success"
    assert STEPS_TAG in instance.get_run_by_id(run.run_id).tags
    assert not is_held(engine, lock_of_step(run.run_id, STEP))
