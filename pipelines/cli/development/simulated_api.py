"""The simulated Asleep API as `demo` and `dev` run it: the same users and nights at every start.

The history of a size is fixed by its state file, which begins with the moment of the first start. Nights of the next
half year are in it too and appear as time passes, so that schedules find something new every day. Its users are marked
in the registry, so that they are never requested from a real account.
"""

import json
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from sqlalchemy import Connection, select

from pipelines.cli.common import Refusal
from pipelines.settings import Settings
from resources.database.schema import tables
from resources.database.users.registry import Registry

SOURCE = "demo"
KEY = "simulated-key"
REQUESTS_PER_SECOND = 400
STOP_SECONDS = 30
RESPONSE_SECONDS = 60
DAYS_BEFORE = 40
"""History before the days that the demo syncs."""
DAYS_AHEAD = 180
LOOPBACK = "127.0.0.1"
_FOLDER = "simulated-api"


@dataclass(frozen=True, slots=True)
class Size:
    """How many users the simulated API has, and how many days the demo syncs."""

    users: int = 40
    days: int = 60

    @property
    def first_day(self) -> date:
        """The first day that the demo syncs."""
        return datetime.now(UTC).date() - timedelta(days=self.days - 1)

    @property
    def options(self) -> list[str]:
        """The options of the simulated API that make its users and nights."""
        return ["--users", str(self.users), "--days", str(self.days + DAYS_BEFORE), "--days-ahead", str(DAYS_AHEAD)]

    def state_file(self, data_directory: Path) -> Path:
        """Return the file that fixes the history of this size."""
        return data_directory / _FOLDER / f"{self.users}-users-{self.days}-days.jsonl"


@dataclass(frozen=True, slots=True)
class SimulatedApi:
    """The simulated API, running."""

    url: str

    def ask(self, path: str) -> Any:
        """Return an answer of its control plane."""
        with urlopen(f"{self.url}/_simulator/{path}", timeout=RESPONSE_SECONDS) as answer:  # noqa: S310 loopback, our own server
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
    states = data_directory.glob(f"{_FOLDER}/*-users-*-days.jsonl")
    latest = max(states, key=lambda state: state.stat().st_mtime, default=None)
    if latest is None:
        return Size()
    users, _, days, _ = latest.stem.split("-")
    return Size(int(users), int(days))


@contextmanager
def simulated_api(data_directory: Path, size: Size) -> Iterator[SimulatedApi]:
    """Run the simulated API until the block or this process ends.

    Args:
        data_directory: where its state is kept, private to the user.
        size: users and days.

    Raises:
        Refusal: it ended before it listened.
    """
    state = size.state_file(data_directory)
    state.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    if state.exists():
        state.touch()  # for `last_size`
    command = [
        *(sys.executable, "-m", "simulator", "--host", LOOPBACK, "--port", str(_port(state))),
        *size.options,
        *("--rate", str(REQUESTS_PER_SECOND), "--api-key", KEY, "--state-file", str(state), "--stop-with-parent"),
    ]
    process = subprocess.Popen(  # noqa: S603 our own module
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True, umask=0o077
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise Refusal("the simulated API did not start: see above. Does a demo or `make dev` run in this folder?")
        yield SimulatedApi(json.loads(line)["url"])
    finally:
        process.terminate()
        process.wait(timeout=STOP_SECONDS)


def _port(state: Path) -> int:
    """Return the port of this data directory and size when it is free, else 0: any."""
    port = 20_000 + zlib.crc32(str(state.resolve()).encode()) % 10_000
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return 0
    return port


def register_demo_users(connection: Connection, user_ids: list[str]) -> None:
    """Register simulated users.

    Args:
        connection: in a transaction.
        user_ids: of the simulated API.

    Raises:
        Refusal: other users are registered. The simulated API would report them as deleted.
    """
    if has_other_users(connection):
        raise Refusal(
            "the embedded database holds users who are not simulated, and the simulated API would report them as "
            "deleted. Run the demo in another clone, or with another DATA_DIRECTORY."
        )
    Registry(connection).register(user_ids, SOURCE)


def has_other_users(connection: Connection) -> bool:
    """Return whether users are registered who do not come from the demo."""
    return connection.scalar(select(tables.users.c.user_id).where(tables.users.c.source != SOURCE).limit(1)) is not None


def refuse_demo_users(connection: Connection, settings: Settings) -> None:
    """Do nothing when the registered users may be requested from the configured account.

    Args:
        connection: open.
        settings: name the account.

    Raises:
        Refusal: the demo's users are registered, and the key is not the simulated API's.
    """
    found = connection.scalar(select(tables.users.c.user_id).where(tables.users.c.source == SOURCE).limit(1))
    if found is not None and settings.calling_key != KEY:
        raise Refusal(
            "the database holds the demo's users, whom no real account has. Remove the demo's data first: "
            "asleep-sync demo --remove"
        )
