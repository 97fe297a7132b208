"""The real command `asleep-sync` in processes of its own, over a simulated API and a database of the test's own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine, text

from assets.metrics.monthly_summary import summarise
from resources.database.engine import make_engine
from resources.database.users.registry import Registry
from tests.conftest import ROOT, Simulator
from tests.end_to_end.dagster.running import until
from tests.truth import differences

DAYS = 14


@dataclass(frozen=True)
class Deployment:
    """Everything that the command needs, and what it leaves."""

    api: Simulator
    url: str
    engine: Engine
    settings: dict[str, str] = field(default_factory=dict)

    def start(self, *arguments: str, stderr: int = subprocess.PIPE, **settings: str) -> subprocess.Popen[str]:
        """`asleep-sync …` as a process."""
        variables = {
            "DATABASE_URL": self.url,
            "ASLEEP_BASE_URL": self.api.url,
            "ASLEEP_API_KEY": "simulated-key",
            "ASLEEP_REQUESTS_PER_SECOND": "2000",
            "MAX_CONNECTIONS": "4",
            "REQUEST_TIMEOUT": "3",
            "USER_BATCH_SIZE": "4",
            "CACHE_TTL_SECONDS": "0",
            "LOG_FORMAT": "json",
            **self.settings,
            **settings,
        }
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("ASLEEP_", "DAGSTER_"))
        }
        command = [sys.executable, "-m", "pipelines.cli.main", *arguments]
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, **variables},
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
        )

    def sync(self, **settings: str) -> subprocess.Popen[str]:
        """`asleep-sync sync` over the last two weeks, as a process."""
        today = datetime.now(UTC).date()
        return self.start("sync", "--from", str(today - timedelta(days=DAYS - 1)), "--to", str(today), **settings)

    def reach(self, requests: int, process: subprocess.Popen[str]) -> None:
        """Return when the API has served so many requests, or the process has ended."""
        until(
            f"{requests} requests", lambda: self.api.ask("stats")["total"] >= requests or process.poll() is not None,
            every=0.005,
        )  # fmt: skip

    def run(self, *arguments: str, **settings: str) -> tuple[int, str]:
        """Run to the end; exit code and everything said."""
        process = self.start(*arguments, **settings) if arguments else self.sync(**settings)
        said, complained = process.communicate(timeout=240)
        return process.returncode, said + complained

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql), parameters))

    def wrong(self) -> list[str]:
        """Everything in which the tables differ from the truth."""
        today = datetime.now(UTC).date()
        return differences(self.engine, self.api.ask("truth"), today - timedelta(days=DAYS - 1), today)

    def missing_data(self) -> list[Any]:
        return self.rows("SELECT * FROM asleep.sync_failures WHERE resolved_at IS NULL")

    def queued_averages(self) -> list[Any]:
        """Monthly averages once the queue of touched months is worked off."""
        with self.engine.begin() as connection:
            summarise(connection)
        return [
            r[0] for r in self.rows("SELECT to_jsonb(a) - 'computed_at' FROM asleep.monthly_averages AS a ORDER BY 1")
        ]

    def averages_from_nothing(self) -> list[Any]:
        """Monthly averages computed anew from every stored session."""
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM asleep.monthly_averages"))
            connection.execute(
                text(
                    "INSERT INTO asleep.stale_months (user_id, month) "
                    "SELECT DISTINCT user_id, night_month FROM asleep.sleep_sessions ON CONFLICT DO NOTHING"
                )
            )
        return self.queued_averages()


@pytest.fixture
def deploy(simulate: Callable[..., AbstractContextManager[Simulator]]) -> Iterator[Callable[..., Deployment]]:
    """`deploy(url)`: the command's surroundings over the database at that URL, a dozen users registered."""
    with ExitStack() as stack:

        def make(url: str, seed: int = 5) -> Deployment:
            api = stack.enter_context(simulate("--users", "12", "--days", str(DAYS), "--seed", str(seed)))
            engine = make_engine(url, application_name="tests")
            stack.callback(engine.dispose)
            with engine.begin() as connection:
                Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
            return Deployment(api, url, engine)

        yield make


@pytest.fixture
def deployment(
    deploy: Callable[..., Deployment], new_database: Callable[[], AbstractContextManager[str]]
) -> Iterator[Deployment]:
    """The command's surroundings, in a fresh database."""
    with new_database() as url:
        deployed = deploy(url)
        yield deployed
        deployed.engine.dispose()
