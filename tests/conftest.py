"""Fixtures for tests of every tier: a database, the simulated API, a Dagster instance; and the socket guard."""

import json
import os
import secrets
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Connection, Engine, create_engine, text

from resources.database.engine import make_engine
from resources.database.first_day import EARLIEST_DAY
from resources.database.migrate import migrate
from resources.database.users.pseudonym_key import load_pseudonym_key
from resources.embedded_postgres import server as embedded
from tests.databases import drop_database, url_of

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = ("127.", "localhost", "::1")


TIERS = ("unit", "architecture", "integration", "end_to_end")
SERVERS = {
    *("postgres", "template", "new_database", "database_url", "engine", "connection"),
    *("simulate", "world", "new_world", "serve_app", "start_service", "browser", "page"),
}
"""Fixtures that start a server, or need one."""
_current: list[str] = []


def tier_of(path: Path) -> str:
    """The tier of a test file: the first folder below `tests/`."""
    return path.relative_to(ROOT / "tests").parts[0]


def misplaced(path: Path, fixtures: Iterable[str], marks: Iterable[str]) -> str | None:
    """Why a test is in the wrong tier; None when it is in the right one."""
    tier = tier_of(path)
    if tier not in TIERS:
        return f"lies in none of {', '.join(TIERS)}"
    if tier == "unit" and (servers := SERVERS.intersection(fixtures)):
        return f"is a unit test and uses {', '.join(sorted(servers))}: move it to tests/integration"
    if tier in {"unit", "architecture"} and "long" in set(marks):
        return f"is marked long: a test of {tier} takes milliseconds"
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Reject a test that lies in the wrong tier, before anything runs."""
    reasons = {
        item.nodeid: misplaced(
            item.path, getattr(item, "fixturenames", ()), (mark.name for mark in item.iter_markers())
        )
        for item in items
    }
    if found := [f"{name} {reason}" for name, reason in reasons.items() if reason]:
        raise pytest.UsageError("\n".join(found))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Note the tier of the test that runs, for the guard."""
    _current[:] = [tier_of(item.path)]
    try:
        return (yield)
    finally:
        _current.clear()


def _guard(event: str, arguments: tuple[Any, ...]) -> None:
    """Tests talk to this machine only, and unit tests start no server: anything else is an error in the test."""
    if event == "socket.bind" and _current == ["unit"]:
        raise AssertionError("a unit test started a server: move it to tests/integration")
    if event == "socket.connect" and isinstance(arguments[1], tuple):
        host = str(arguments[1][0])
        if not host.startswith(LOOPBACK):
            raise AssertionError(f"a test tried to reach {host}: only loopback is allowed")


sys.addaudithook(_guard)


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[embedded.EmbeddedPostgres]:
    """A Postgres server of this test session's own; or the one at TEST_SERVER_URL, to try other versions.

    The role in that URL must be allowed to make databases and roles.
    """
    if url := os.environ.get("TEST_SERVER_URL"):
        yield embedded.EmbeddedPostgres(url.replace("postgresql://", "postgresql+psycopg2://", 1), Path(), "", url)
        return
    directory = tmp_path_factory.mktemp("postgres")
    try:
        yield embedded.start(directory)
    finally:
        embedded.destroy(directory)


@pytest.fixture(scope="session")
def template(postgres: embedded.EmbeddedPostgres) -> str:
    """Name of a migrated, empty database to copy."""
    name = "template_migrated"
    drop_database(postgres, name)
    with _administration(postgres) as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine = make_engine(url_of(postgres, name), application_name="tests")
    migrate(engine, other_schemas=("dagster",), first_day=EARLIEST_DAY)
    with engine.connect() as connection:
        load_pseudonym_key(connection)
    engine.dispose()
    return name


@contextmanager
def _administration(postgres: embedded.EmbeddedPostgres) -> Iterator[Connection]:
    engine = create_engine(postgres.url, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@pytest.fixture(scope="session")
def new_database(postgres: embedded.EmbeddedPostgres, template: str) -> Callable[[], AbstractContextManager[str]]:
    """Make fresh, migrated databases: `with new_database() as url`."""

    @contextmanager
    def make() -> Iterator[str]:
        name = f"test_{secrets.token_hex(6)}"
        with _administration(postgres) as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
        try:
            yield url_of(postgres, name)
        finally:
            drop_database(postgres, name)  # as superuser: an autovacuum worker may be at work in it

    return make


@pytest.fixture(scope="module")
def database_url(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[str]:
    """A fresh, migrated database of the test module's own."""
    with new_database() as url:
        yield url


@pytest.fixture(scope="module")
def engine(database_url: str) -> Iterator[Engine]:
    """An engine on the module's database."""
    engine = make_engine(database_url, application_name="tests")
    yield engine
    engine.dispose()


@pytest.fixture
def connection(engine: Engine) -> Iterator[Connection]:
    """A connection whose work is rolled back after the test."""
    with engine.connect() as connection:
        transaction = connection.begin()
        yield connection
        transaction.rollback()


@dataclass(frozen=True)
class Simulator:
    """The simulated API, running."""

    url: str

    def ask(self, path: str, body: Any = None, method: str | None = None) -> Any:
        """Call its control plane: GET without a body, else POST."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310 loopback
            f"{self.url}/_simulator/{path}", data, method=method or ("POST" if data is not None else "GET")
        )
        with urllib.request.urlopen(request, timeout=60) as answer:  # noqa: S310 loopback
            return json.load(answer)

    def requests(self) -> dict[str, int]:
        """Requests served since the last reset, by endpoint."""
        return {name: count for name, count in self.ask("stats")["requests"].items() if count}

    def reset(self) -> None:
        """Forget the requests so far."""
        self.ask("stats/reset", {})


@contextmanager
def running_simulator(*options: str) -> Iterator[Simulator]:
    """The simulated API with these options, until the block ends."""
    command = [sys.executable, "-m", "simulator", "--port", "0", "--stop-with-parent", "--max-seconds", "900", *options]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line, "the simulated API did not start"
            yield Simulator(json.loads(line)["url"])
        finally:
            process.terminate()
            process.wait(timeout=30)


@pytest.fixture(scope="session")
def simulate() -> Callable[..., AbstractContextManager[Simulator]]:
    """Start a simulated API: `with simulate("--users", "3") as api`."""
    return running_simulator


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory."""
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance
