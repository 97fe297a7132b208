"""What the benchmarks run against: the simulated API and an embedded Postgres, both of their own."""

import json
import secrets
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.users.registry import Registry
from resources.embedded_postgres import server as embedded
from tests.databases import create_database, drop_database

ROOT = Path(__file__).resolve().parent.parent
KEY = "simulated-key"
NOW = "2026-11-22T09:00:00Z"
MAX_SECONDS = 1800
TEMPLATE = "benchmark_template"


@dataclass(frozen=True)
class Surroundings:
    """A running API with its users, and a Postgres server."""

    api_url: str
    sessions: int
    days: tuple[date, date]
    """All sessions start on these UTC days, both included."""
    server: embedded.EmbeddedPostgres
    directory: Path
    """Of the server."""

    def ask(self, path: str, body: Any = None) -> Any:
        """Call the simulator's control plane."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.api_url}/_simulator/{path}", data)  # noqa: S310 loopback
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 loopback
            return json.load(answer)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The URL of a fresh, migrated database in which the users are registered."""
        name = f"benchmark_{secrets.token_hex(4)}"
        try:
            yield create_database(self.server, name, template=TEMPLATE)
        finally:
            drop_database(self.server, name)


@contextmanager
def postgres() -> Iterator[tuple[embedded.EmbeddedPostgres, Path]]:
    """A Postgres server, and its directory, which is removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="asleep-benchmark-") as directory:
        try:
            yield embedded.start(Path(directory)), Path(directory)
        finally:
            embedded.destroy(Path(directory))


@contextmanager
def surroundings(users: int, sessions_per_user: int, latency_ms: float) -> Iterator[Surroundings]:
    """The simulated API with so many finished sessions, and Postgres; both end with the block."""
    command = [
        *(sys.executable, "-m", "simulator", "--port", "0", "--stop-with-parent"),
        *("--max-seconds", str(MAX_SECONDS), "--now", NOW, "--api-key", KEY, "--latency-ms", str(latency_ms)),
        *("--users", str(users), "--sessions-per-user", str(sessions_per_user), "--days", str(2 * sessions_per_user)),
    ]
    with ExitStack() as stack:
        server, directory = stack.enter_context(postgres())
        process = stack.enter_context(
            subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(process.terminate)
        ready = json.loads(process.stdout.readline() if process.stdout else "")
        today = datetime.fromisoformat(NOW).astimezone(UTC).date()
        days = (today - timedelta(days=2 * sessions_per_user + 5), today)
        found = Surroundings(ready["url"], ready["sessions"], days, server, directory)
        _make_template(found)
        yield found


def _make_template(found: Surroundings) -> None:
    engine = make_engine(create_database(found.server, TEMPLATE), application_name="benchmark")
    migrate(engine, other_schemas=("dagster",))
    with engine.begin() as connection:
        Registry(connection).add([(user["user_id"], None) for user in found.ask("users")])
    engine.dispose()
