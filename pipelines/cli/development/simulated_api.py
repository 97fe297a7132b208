"""The simulated Asleep API as `demo` and `dev` run it: the same users and nights at every start.

The history of a size is fixed by its state file, which begins with the moment of the first start. Nights of the next
half year are in it too and appear as time passes, so that schedules find something new every day.
"""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

KEY = "simulated-key"
REQUESTS_PER_SECOND = 400
STOP_SECONDS = 30
ANSWER_SECONDS = 60
DAYS_BEFORE = 40
"""History before the days that the demo syncs."""
DAYS_AHEAD = 180
LOOPBACK = "127.0.0.1"


class SimulatedApiFailed(RuntimeError):
    """The simulated API did not start."""


@dataclass(frozen=True, slots=True)
class Size:
    """How many users the simulated API has, and how many days the demo syncs."""

    users: int = 40
    days: int = 60

    @property
    def first_day(self) -> date:
        """The first day that the demo syncs."""
        return datetime.now(UTC).date() - timedelta(days=self.days - 1)


@dataclass(frozen=True, slots=True)
class SimulatedApi:
    """The simulated API, running."""

    url: str

    def ask(self, path: str) -> Any:
        """Return an answer of its control plane."""
        with urlopen(f"{self.url}/_simulator/{path}", timeout=ANSWER_SECONDS) as answer:  # noqa: S310 loopback, our own server
            return json.load(answer)

    def user_ids(self) -> list[str]:
        """Return the ids of its users."""
        return [user["user_id"] for user in self.ask("users")]

    @property
    def environment(self) -> dict[str, str]:
        """The variables with which every command and process uses this API."""
        return {
            "ASLEEP_API_KEY": KEY,
            "ASLEEP_BASE_URL": self.url,
            "ASLEEP_REQUESTS_PER_SECOND": str(REQUESTS_PER_SECOND),
        }


def last_size(data_directory: Path) -> Size:
    """Return the size of the last demo in this data directory, or the default."""
    try:
        remembered = json.loads(_memory(data_directory).read_text("utf-8"))
        return Size(int(remembered["users"]), int(remembered["days"]))
    except (OSError, ValueError, KeyError):
        return Size()


def state_file(data_directory: Path, size: Size) -> Path:
    """Return the file that fixes the history of a size.

    Args:
        data_directory: where the simulated API keeps its state.
        size: users and days.
    """
    return _memory(data_directory).with_name(f"{size.users}-users-{size.days}-days.jsonl")


def options_of(size: Size) -> list[str]:
    """Return the options that make a size's population."""
    return ["--users", str(size.users), "--days", str(size.days + DAYS_BEFORE), "--days-ahead", str(DAYS_AHEAD)]


@contextmanager
def simulated_api(data_directory: Path, size: Size) -> Iterator[SimulatedApi]:
    """Run the simulated API until the block or this process ends.

    It keeps its port from start to start where the port is free.

    Args:
        data_directory: where its state is kept, private to the user.
        size: users and days.

    Raises:
        SimulatedApiFailed: it ended before it listened.
    """
    memory, state = _memory(data_directory), state_file(data_directory, size)
    memory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    command = [
        *(sys.executable, "-m", "simulator", "--host", LOOPBACK, "--port", str(_free_port(memory))),
        *options_of(size),
        *("--rate", str(REQUESTS_PER_SECOND), "--api-key", KEY, "--state-file", str(state), "--stop-with-parent"),
    ]
    process = subprocess.Popen(  # noqa: S603 our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, umask=0o077
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise SimulatedApiFailed("the simulated API did not start: see the lines above.")
        api = SimulatedApi(json.loads(line)["url"])
        _remember(memory, size, int(api.url.rpartition(":")[2]))
        yield api
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def _memory(data_directory: Path) -> Path:
    return data_directory / "simulated-api" / "last.json"


def _remember(memory: Path, size: Size, port: int) -> None:
    new = memory.with_suffix(".new")
    new.write_text(json.dumps({**asdict(size), "port": port}), "utf-8")
    new.chmod(0o600)
    new.replace(memory)


def _free_port(memory: Path) -> int:
    """Return the port of the last start when it is free, else 0: any."""
    try:
        port = int(json.loads(memory.read_text("utf-8"))["port"])
        with socket.socket() as probe:
            if os.name == "posix":
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((LOOPBACK, port))
    except (OSError, ValueError, KeyError, OverflowError):
        return 0
    return port
