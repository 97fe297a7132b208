"""Dagster's webserver, daemon and code server for one developer, with the simulated API when no key is configured."""

import json
import math
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from datetime import date
from pathlib import Path
from urllib.request import urlopen

import click

from pipelines.cli.common import Refusal, embedded_database_url, require_free_port, write_private
from pipelines.cli.development.simulated_api import (
    has_other_users,
    last_size,
    refuse_demo_users,
    register_demo_users,
    simulated_api,
)
from pipelines.observability import set_up_logs
from pipelines.runtime.dagster_environment import DAGSTER_SCHEMA, dagster_environment
from pipelines.runtime.runs import LOCATION
from pipelines.settings import Settings, load_settings
from resources.database.migrate import migrate
from resources.database.resource import Database

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
MODULE = "pipelines.definitions"
START_SECONDS = 120
STOP_SECONDS = 4
"""Time for the processes to end by themselves; the rest of the 10 seconds is for those that are killed."""
RESPONSE_SECONDS = 5
POLL_SECONDS = 0.2


def ui_command(host: str, port: int, workspace: Path) -> list[str]:
    """Return the module that serves the UI, with its options; no other place starts a webserver.

    Args:
        host: address to listen on.
        port: port to listen on.
        workspace: file that names the code locations.
    """
    return ["pipelines.ui", "--host", host, "--port", str(port), "--workspace", str(workspace)]


def run_dev(settings: Settings, host: str, port: int) -> None:
    """Start everything, print the address, and wait for Ctrl-C.

    Args:
        settings: as configured.
        host: address of the webserver.
        port: port of the webserver.

    Raises:
        Refusal: the port is taken, or a process did not start or ended by itself.
    """
    require_free_port(host, port, "make dev PORT=3001, or asleep-sync dev --port 3001")
    for number in _SIGNALS:
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), ExitStack() as stack:
        stack.callback(_ignore_signals)
        url = str(embedded_database_url(settings) if settings.database_url is None else settings.require_database_url())
        database = Database(lambda: url, application_name="asleep-sync dev")
        migrate(database.engine, other_schemas=(DAGSTER_SCHEMA,), first_day=_first_day(settings))
        simulated = _simulated_environment(settings, database, stack)
        database.engine.dispose()
        os.environ.update(simulated, DATABASE_URL=url)
        _run_dagster(load_settings(), host, port)


def _first_day(settings: Settings) -> date | None:
    """Return FIRST_DAY; with the simulated API the first day of the demo's sync, so that few days are missing."""
    is_simulated = settings.calling_key is None and settings.database_url is None
    return settings.first_day or (last_size(settings.data_directory).first_day if is_simulated else None)


def _ignore_signals() -> None:
    for number in _SIGNALS:
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
    log = write_private(settings.data_directory / "dev.log", "")
    environment = {**os.environ, **dagster_environment(settings)}
    click.echo(f"Starting Dagster; its log is {log}")
    with tempfile.TemporaryDirectory(prefix="asleep-sync-dev-") as folder, _ended_together() as processes:
        socket, workspace = Path(folder) / "code.sock", Path(folder) / "workspace.yaml"
        server = {"grpc_server": {"socket": str(socket), "location_name": LOCATION}}
        workspace.write_text(json.dumps({"load_from": [server]}))  # JSON is YAML

        def start(name: str, *command: str) -> None:
            """Start a process that Ctrl-C in the terminal does not reach: only `dev` ends it."""
            with log.open("ab") as output:
                processes[name] = subprocess.Popen(  # noqa: S603 our own interpreter
                    [sys.executable, "-m", *command],
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )

        code = ("code-server", "start", "--socket", str(socket), "--location-name", LOCATION)
        start("code server", "dagster", *code, "-m", MODULE, "-d", environment["APP_ROOT"])
        _wait(processes, log, socket.exists)
        start("daemon", "dagster._daemon", "run", "-w", str(workspace))
        start("webserver", *ui_command(host, port, workspace))
        address = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        _wait(processes, log, lambda: _answers(f"{address}/server_info"))
        click.echo(f"Dagster's UI (Ctrl-C ends it): {address}")
        _wait(processes, log, lambda: False, max_seconds=math.inf)


@contextmanager
def _ended_together() -> Iterator[dict[str, subprocess.Popen[bytes]]]:
    """Processes by name, each in a group with its children. They are asked to end with the block, then killed."""
    processes: dict[str, subprocess.Popen[bytes]] = {}
    try:
        yield processes
    finally:
        _ignore_signals()
        deadline = time.monotonic() + STOP_SECONDS
        for process in processes.values():
            process.terminate()
        for process in processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
        for process in processes.values():
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _wait(
    processes: Mapping[str, subprocess.Popen[bytes]],
    log: Path,
    is_ready: Callable[[], bool],
    max_seconds: float = START_SECONDS,
) -> None:
    """Wait until something is ready while all processes live."""
    deadline = time.monotonic() + max_seconds
    while not is_ready():
        for name, process in processes.items():
            if process.poll() is not None:
                raise Refusal(f"Dagster's {name} ended with code {process.returncode}: see {log}.")
        if time.monotonic() > deadline:
            raise Refusal(f"Dagster did not start within {START_SECONDS} seconds: see {log}.")
        time.sleep(POLL_SECONDS)


def _answers(url: str) -> bool:
    with suppress(OSError), urlopen(url, timeout=RESPONSE_SECONDS):  # noqa: S310 our own webserver
        return True
    return False
