"""Dagster as it is deployed: started, operated by GraphQL, awaited with a deadline, stopped by process id."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.runtime.dagster_environment import APPLICATION_NAME

ROOT = Path(__file__).resolve().parents[3]
BIN = Path(sys.executable).parent
LOCATION = "asleep-sync"
ENDED = {"SUCCESS", "FAILURE", "CANCELED"}

_LAUNCH_BACKFILL = """mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  ... on PartitionKeysNotFoundError { message } ... on InvalidSubsetError { message } } }"""
_BACKFILL = """query ($id: String!) { partitionBackfillOrError(backfillId: $id) { __typename
  ... on PartitionBackfill { status error { message } runs(limit: 1000) { runId } } } }"""
_RUNS = """query ($filter: RunsFilter) { runsOrError(filter: $filter, limit: 100) { __typename ... on Runs {
  results { runId jobName status tags { key value } } } } }"""
_LAUNCH = """mutation ($params: ExecutionParams!) { launchRun(executionParams: $params) { __typename
  ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  ... on RunConfigValidationInvalid { errors { message } } ... on InvalidSubsetError { message } } }"""
_EVENTS = """query ($id: ID!, $after: String) { logsForRun(runId: $id, afterCursor: $after, limit: 1000) { __typename
  ... on EventConnection { cursor hasMore events { __typename
    ... on MessageEvent { message stepKey timestamp eventType level }
    ... on ErrorEvent { error { message causes { message } } }
    ... on ExecutionStepFailureEvent { failureMetadata { description } }
    ... on MaterializationEvent { assetKey { path } partition metadataEntries { label
      ... on IntMetadataEntry { intValue } ... on FloatMetadataEntry { floatValue } } } } } } }"""
_REPOSITORIES = "query { repositoriesOrError { ... on RepositoryConnection { nodes { name } } } }"
_TERMINATE = """mutation ($id: String!) { terminateRun(runId: $id) { __typename } }"""


def free_port() -> int:
    """Return a free port."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def until(what: str, look: Callable[[], Any], *, seconds: float = 180, every: float = 0.25) -> Any:
    """Look again and again until something true comes, or fail saying what never came."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(every)
    raise AssertionError(f"{what}: did not happen within {seconds} seconds")


@dataclass
class RunningDagster:
    """Webserver, daemon and code server that share one database."""

    url: str
    environment: Mapping[str, str]
    home: Path
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def ask(self, query: str, **variables: Any) -> Any:
        """One GraphQL request; gives the only field of the answer."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = urllib.request.Request(  # noqa: S310 loopback
            f"{self.url}/graphql", body, {"content-type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 loopback
                answer = json.load(response)
        except urllib.error.HTTPError as error:
            raise AssertionError(f"status {error.code}: {error.read().decode()[:2000]}") from None
        assert "errors" not in answer, answer["errors"]
        (only,) = answer["data"].values()
        return only

    def launch_backfill(self, asset: str, partitions: list[str]) -> Any:
        """What the dialog "Materialize partitions" sends from an asset's page."""
        return self.ask(_LAUNCH_BACKFILL, params={"assetSelection": [{"path": [asset]}], "partitionNames": partitions})

    def backfill(self, backfill_id: str) -> Any:
        """A backfill's status, error and runs."""
        return self.ask(_BACKFILL, id=backfill_id)

    def finished_backfill(self, backfill_id: str, *, seconds: float = 180) -> Any:
        """The backfill once it has ended."""
        ended = {"COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"}
        last: list[Any] = []

        def look() -> Any:
            last[:] = [self.backfill(backfill_id)]
            return last[0] if last[0]["status"] in ended else None

        return until(f"end of backfill {backfill_id}", look, seconds=seconds)

    def launch(self, job: str, *, tags: Mapping[str, str] | None = None, config: Any = None) -> Any:
        """What the launchpad sends."""
        selector = {"repositoryLocationName": LOCATION, "repositoryName": "__repository__", "jobName": job}
        metadata = {"tags": [{"key": key, "value": value} for key, value in (tags or {}).items()]}
        return self.ask(
            _LAUNCH, params={"selector": selector, "runConfigData": config or {}, "executionMetadata": metadata}
        )

    def runs(self, **run_filter: Any) -> list[Any]:
        """Runs, newest first."""
        return list(self.ask(_RUNS, filter=run_filter)["results"])

    def run(self, run_id: str) -> Any:
        """One run."""
        (found,) = self.runs(runIds=[run_id])
        return found

    def finished(self, run_id: str, *, seconds: float = 180) -> Any:
        """The run once it has ended."""

        def look() -> Any:
            run = self.run(run_id)
            return run if run["status"] in ENDED else None

        return until(f"end of run {run_id}", look, seconds=seconds)

    def events(self, run_id: str) -> list[Any]:
        """All events of a run, oldest first."""
        found: list[Any] = []
        cursor = None
        while True:
            page = self.ask(_EVENTS, id=run_id, after=cursor)
            found.extend(page["events"])
            if not page["hasMore"]:
                return found
            cursor = page["cursor"]

    def terminate(self, run_id: str) -> Any:
        """What the button "Terminate" sends."""
        return self.ask(_TERMINATE, id=run_id)

    @contextmanager
    def code_server(self) -> Iterator[subprocess.Popen[bytes]]:
        """A code server at a new address, listening, until the block ends."""
        port = free_port()
        server = f"{{host: 127.0.0.1, port: {port}, location_name: {LOCATION}}}"
        self.workspace.write_text(f"load_from:\n  - grpc_server: {server}\n")
        command = [
            *(str(BIN / "dagster"), "api", "grpc", "-h", "127.0.0.1", "-p", str(port)),
            *("-m", "pipelines.definitions", "--location-name", LOCATION),
        ]
        with process(command, self.environment, self.home / "code.log") as started:
            until("the code server listens", lambda: _listens(port), seconds=60)
            yield started

    @contextmanager
    def daemon(self) -> Iterator[subprocess.Popen[bytes]]:
        """A daemon, until the block ends."""
        command = [str(BIN / "dagster-daemon"), "run", "-w", str(self.workspace)]
        with process(command, self.environment, self.home / "daemon.log") as started:
            yield started

    @property
    def workspace(self) -> Path:
        """Where the code server is."""
        return self.home / "workspace.yaml"


@contextmanager
def process(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process in its own group, ended with the block: asked first, then made to."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, env=dict(environment), cwd=log.parent, stdout=output, stderr=output, start_new_session=True
        )
    try:
        yield started
    finally:
        stop(started)


def stop(started: subprocess.Popen[bytes]) -> None:
    """End a process that `process` started, and its children."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if started.poll() is None:
            started.send_signal(sign)
            try:
                started.wait(timeout=15)
            except subprocess.TimeoutExpired:
                continue
    try:
        os.killpg(started.pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def environment_for(database_url: str, home: Path, **settings: str) -> dict[str, str]:
    """What the processes of a deployment find in their environment."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    local = home / "local"
    local.mkdir(parents=True, exist_ok=True)
    return {
        **kept,
        "PATH": f"{BIN}{os.pathsep}{kept.get('PATH', '')}",
        "PYTHONPATH": str(ROOT),
        "APP_ROOT": str(ROOT),
        "DAGSTER_HOME": str(home),
        "DAGSTER_LOCAL_DIR": str(local),
        "DAGSTER_STORAGE_URL": f"{_with_driver(database_url)}?application_name={APPLICATION_NAME}",
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "DATABASE_URL": database_url,
        "ASLEEP_API_KEY": "simulated-key",
        **settings,
    }


def _with_driver(url: str) -> str:
    return "postgresql+psycopg2://" + url.split("://", 1)[1]


def answers(url: str) -> bool:
    """Whether a request to this address succeeds."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 loopback
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _all_run(running: RunningDagster) -> bool:
    for name, started in running.processes.items():
        log = (running.home / f"{name}.log").read_text()[-2000:]
        assert started.poll() is None, f"{name} ended with {started.returncode}:\n{log}"
    return True


@contextmanager
def running_dagster(database_url: str, home: Path, **settings: str) -> Iterator[RunningDagster]:
    """The repository's own `dagster.yaml`, a code server, a webserver and a daemon, until the block ends."""
    home.mkdir(parents=True, exist_ok=True)
    shutil.copy(ROOT / "dagster.yaml", home / "dagster.yaml")
    port = free_port()
    running = RunningDagster(f"http://127.0.0.1:{port}", environment_for(database_url, home, **settings), home)
    webserver = [
        *(sys.executable, "-m", "pipelines.ui"),
        *("--port", str(port), "--workspace", str(running.workspace)),
    ]
    with ExitStack() as stack:
        running.processes["code"] = stack.enter_context(running.code_server())
        running.processes["daemon"] = stack.enter_context(running.daemon())
        web = process(webserver, running.environment, home / "web.log")
        running.processes["web"] = stack.enter_context(web)
        until("the webserver answers", lambda: _all_run(running) and answers(f"{running.url}/server_info"), seconds=90)
        yield running


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0
