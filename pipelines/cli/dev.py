"""Dagster's webserver, daemon and code server for one developer, with the simulated API when no key is configured."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import click

from pipelines.cli.common import Refusal, find_database_url, require_free_port
from pipelines.cli.development.demo_users import has_other_users, refuse_demo_users, register_demo_users
from pipelines.cli.development.simulated_api import SimulatedApiFailed, last_size, simulated_api
from pipelines.observability import set_up_logs
from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA, dagster_environment
from pipelines.runtime.run_tags import LOCATION
from pipelines.settings import APP_ROOT, Settings, load_settings
from resources.database.migrate import migrate
from resources.database.resource import Database

MODULE = "pipelines.definitions"
START_SECONDS = 120
STOP_SECONDS = 4
ANSWER_SECONDS = 5
START_LOOK_SECONDS = 0.2
LOOK_SECONDS = 1
"""Time for the processes to end by themselves; the rest of the 10 seconds is for those that are killed."""


def ui_command(host: str, port: int, workspace: Path = APP_ROOT / "workspace.yaml") -> list[str]:
    """Return the command that serves the UI; no other place starts a webserver.

    Args:
        host: address to listen on.
        port: port to listen on.
        workspace: file that names the code locations.
    """
    options = ["--host", host, "--port", str(port), "--workspace", str(workspace)]
    return [sys.executable, "-m", "pipelines.ui.webserver", *options]


def run_dev(settings: Settings, host: str, port: int) -> int:
    """Start everything, print the address, and wait for Ctrl-C; returns the exit code.

    Args:
        settings: as configured.
        host: address of the webserver.
        port: port of the webserver.

    Raises:
        Refusal: the port is taken, or a process did not start or ended by itself.
    """
    require_free_port(host, port, "make dev PORT=3001, or asleep-sync dev --port 3001")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        with ExitStack() as stack:
            stack.callback(_ignore_further_signals)
            url = find_database_url(settings)
            database = Database(lambda: url, application_name="asleep-sync dev")
            migrate(database.engine, other_schemas=(DAGSTER_SCHEMA,), first_day=_first_day(settings))
            simulated = _simulated_environment(settings, database, stack)
            database.engine.dispose()
            os.environ.update(simulated, DATABASE_URL=url)
            _run_dagster(load_settings(), host, port)
    except KeyboardInterrupt:
        return 0
    except SimulatedApiFailed as error:
        raise Refusal(str(error)) from None
    return 0


def _first_day(settings: Settings) -> date | None:
    """Return FIRST_DAY; with the simulated API the first day of the demo's sync, so that few days are missing."""
    is_simulated = settings.calling_key is None and settings.database_url is None
    return settings.first_day or (last_size(settings.data_directory).first_day if is_simulated else None)


def _ignore_further_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def _simulated_environment(settings: Settings, database: Database, stack: ExitStack) -> Mapping[str, str]:
    """Start the simulated API when no key is configured; returns the variables that lead to it.

    It is never used on data of a real account: it knows none of those users, so they would count as deleted.
    """
    if settings.calling_key is not None:
        with database.engine.connect() as connection:
            refuse_demo_users(connection, settings)
        click.echo(f"Asleep API: {settings.asleep_base_url}, with the first key of ASLEEP_API_KEY")
        return {}
    if settings.database_url is not None:
        click.echo("Asleep API: none. ASLEEP_API_KEY is not set, and DATABASE_URL names a database of your own.")
        return {}
    api = stack.enter_context(simulated_api(settings.data_directory, last_size(settings.data_directory)))
    user_ids = api.user_ids()
    with database.engine.begin() as connection:
        if has_other_users(connection):
            click.echo("Asleep API: none. ASLEEP_API_KEY is not set, and users who are not simulated are registered.")
            return {}
        register_demo_users(connection, user_ids)
    click.echo(f"Asleep API: simulated, with {len(user_ids)} users, on {api.url} (ASLEEP_API_KEY is not set)")
    set_up_logs(settings)
    return api.environment


def _run_dagster(settings: Settings, host: str, port: int) -> None:
    log = settings.data_directory / "dev.log"
    environment = {**os.environ, **dagster_environment(settings)}
    click.echo(f"Starting Dagster; its log is {log}")
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="asleep-sync-dev-")))
        output = stack.enter_context(os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb"))
        code_server, workspace = folder / "code.sock", folder / "workspace.yaml"
        workspace.write_text(  # JSON is YAML
            json.dumps({"load_from": [{"grpc_server": {"socket": str(code_server), "location_name": LOCATION}}]})
        )
        processes = stack.enter_context(_processes(environment, output))
        code = ["-m", "dagster", "code-server", "start", "--socket", str(code_server), "--location-name", LOCATION]
        processes.start("code server", [sys.executable, *code, "-m", MODULE, "-d", environment["APP_ROOT"]])
        processes.wait_for(code_server.exists, log)
        daemon = ["-m", "dagster._daemon", "run", "-w", str(workspace)]
        processes.start("daemon", [sys.executable, *daemon])
        processes.start("webserver", ui_command(host, port, workspace))
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        processes.wait_for(lambda: _answers(f"{address}/server_info"), log)
        click.echo(f"Dagster's UI (Ctrl-C ends it): {address}")
        while True:
            processes.require_alive(log)
            time.sleep(LOOK_SECONDS)


@dataclass(frozen=True)
class _Processes:
    """Dagster's processes, each in a process group with its children."""

    environment: Mapping[str, str]
    output: IO[bytes]
    started: dict[str, subprocess.Popen[bytes]]

    def start(self, name: str, command: Sequence[str]) -> None:
        """Start one that Ctrl-C in the terminal does not reach: only `dev` ends it."""
        self.started[name] = subprocess.Popen(  # noqa: S603 our own interpreter
            command,
            env=dict(self.environment),
            stdin=subprocess.DEVNULL,
            stdout=self.output,
            stderr=self.output,
            start_new_session=True,
        )

    def wait_for(self, is_ready: Callable[[], bool], log: Path) -> None:
        """Wait until something is ready while all processes live."""
        deadline = time.monotonic() + START_SECONDS
        while not is_ready():
            self.require_alive(log)
            if time.monotonic() > deadline:
                raise Refusal(f"Dagster did not start within {START_SECONDS} seconds: see {log}.")
            time.sleep(START_LOOK_SECONDS)

    def require_alive(self, log: Path) -> None:
        """Raise `Refusal` when a process has ended."""
        for name, process in self.started.items():
            if process.poll() is not None:
                raise Refusal(f"Dagster's {name} ended with code {process.returncode}: see {log}.")

    def stop(self) -> None:
        """Ask every process to end, and kill what is left of its group afterwards."""
        for process in self.started.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.started.values():
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue
        for process in self.started.values():
            try:
                os.killpg(process.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            process.wait()


@contextmanager
def _processes(environment: Mapping[str, str], output: IO[bytes]) -> Iterator[_Processes]:
    processes = _Processes(environment, output, {})
    try:
        yield processes
    finally:
        _ignore_further_signals()
        processes.stop()


def _answers(url: str) -> bool:
    try:
        with urlopen(url, timeout=ANSWER_SECONDS) as answer:  # noqa: S310 our own webserver
            return bool(answer.status == 200)  # noqa: PLR2004 HTTP's OK
    except (URLError, OSError):
        return False
