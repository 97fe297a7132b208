"""Dagster's UI and daemon side by side, for development: both end when one does."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from pipelines.cli.common import Refusal
from pipelines.settings import APP_ROOT

_LOOK_SECONDS = 0.5
_END_SECONDS = 30


def ui_command(host: str, port: int) -> list[str]:
    """The command that serves the UI.

    Args:
        host: address to listen on.
        port: port to listen on.
    """
    return [
        *(sys.executable, "-m", "pipelines.ui.webserver", "--host", host),
        *("--port", str(port), "--workspace", str(APP_ROOT / "workspace.yaml")),
    ]


def run_dev(host: str, port: int, environment: Mapping[str, str]) -> int:
    """Run UI and daemon until Ctrl-C, SIGTERM, or the end of either; then end both.

    Args:
        host: address of the UI.
        port: port of the UI.
        environment: of both.

    Returns:
        0 after Ctrl-C or SIGTERM, else the exit code of the program that ended first.

    Raises:
        Refusal: the port is taken.
    """
    try:
        socket.create_server((host, port)).close()
    except OSError:
        raise Refusal(f"port {port} is taken, perhaps by another `dev`: name another one.") from None
    daemon = [str(Path(sys.executable).parent / "dagster-daemon"), "run", "-w", str(APP_ROOT / "workspace.yaml")]
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    programs = [  # each in a session of its own: Ctrl-C reaches us only, and each program once
        subprocess.Popen(command, env=environment, start_new_session=True)  # noqa: S603 ours
        for command in (ui_command(host, port), daemon)
    ]
    try:
        while all(program.poll() is None for program in programs):
            time.sleep(_LOOK_SECONDS)
        return next(program.returncode for program in programs if program.returncode is not None)
    except KeyboardInterrupt:
        return 0
    finally:
        _end(programs)


def _end(programs: list[subprocess.Popen[bytes]]) -> None:
    for program in programs:
        if program.poll() is None:
            os.kill(program.pid, signal.SIGINT)
    for program in programs:
        try:
            program.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            program.kill()
