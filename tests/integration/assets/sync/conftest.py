"""What tests of the sync ask for: one call that syncs a window as a batch step does, and small worlds to sync."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine, text

from assets.metrics.monthly_summary import summarise
from assets.ops.batches import RequestCounts
from assets.sync.sync_batch import Batch, sync_batch
from assets.sync.window import Window
from resources.asleep.resource import AsleepApi
from resources.asleep.transport import RetryPolicy
from resources.database.engine import make_engine
from resources.database.users.registry import Registry
from tests.conftest import Simulator
from tests.kills import dying
from tests.truth import differences

CONFIRMING_LIST = 1
"""Each run requests one more list, to confirm that no rows follow the longest page that was taken for a last one."""
HASTY = RetryPolicy(total_seconds=20, broken_attempts=3, garbled_attempts=3, first_pause_seconds=0.01)
"""The real policy with short pauses."""


@dataclass(frozen=True)
class Syncing:
    """Syncs one simulated API into one database."""

    engine: Engine
    url: str

    def register(self, users: list[dict[str, Any]]) -> None:
        with self.engine.begin() as connection:
            Registry(connection).add([(user["user_id"], None) for user in users])

    def api(self, **options: Any) -> AsleepApi:
        values = {"key": "simulated-key", "requests_per_second": 5000, "max_connections": 8, "timeout_seconds": 10}
        return AsleepApi(base_url=self.url, **{**values, **options})

    def __call__(self, first: date, last: date, **options: Any) -> dict[str, Any]:
        """Sync the days, both included; returns the counts."""
        die_at = options.pop("die_at_write", None)
        renamed = {"rate": "requests_per_second"}
        names = ("rate", "timeout_seconds", "retry_policy", "key", "listeners", "ca_bundle")
        api = self.api(**{renamed.get(name, name): options.pop(name) for name in names if name in options})
        values = {"number": 0, "of": 1, "workers": 8, "cache_ttl_seconds": 0.0, **options}
        batch = Batch(window=Window.of_days(first, last), **{"run_id": str(uuid4()), **values})
        tally = RequestCounts()
        with api.client(self.engine, tally) as client:
            counts = tally.counts if die_at is None else dying(tally.counts, die_at)
            return sync_batch(self.engine, client, batch, counts)


@pytest.fixture
def syncing(engine: Engine) -> Callable[[str], Syncing]:
    """`syncing(url)` gives a callable that syncs windows from that API."""
    return lambda url: Syncing(engine, url)


@dataclass(frozen=True)
class World:
    """One simulated API whose clock stands still, and one database, both of this test's own."""

    api: Simulator
    engine: Engine
    today: date
    users: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.register(*(user["user_id"] for user in self.api.ask("users")))

    def register(self, *user_ids: str) -> None:
        with self.engine.begin() as connection:
            Registry(connection).add([(user_id, None) for user_id in user_ids])
        self.users.extend(user_ids)

    def add_user(self, nights: int = 0, timezone: str = "Asia/Seoul") -> str:
        """A registered user with finished sessions in the last so many nights."""
        user_id = str(self.api.ask("users", {"timezone": timezone})["user_id"])
        self.register(user_id)
        self.add_nights(user_id, *(self.ago(number + 1) for number in range(nights)))
        return user_id

    def add_nights(self, user_id: str, *starts: datetime, **wishes: Any) -> list[str]:
        """Sessions that start at these moments; returns their ids."""
        orders = [{"user_id": user_id, "start": start.isoformat(), **wishes} for start in starts]
        return [made["session_id"] for made in self.api.ask("sessions", orders)] if orders else []

    def ago(self, days: float, hour: int = 14) -> datetime:
        """A moment so many days before today."""
        return datetime(self.today.year, self.today.month, self.today.day, hour, tzinfo=UTC) - timedelta(days=days)

    def sync(self, days: int = 30, **options: Any) -> dict[str, Any]:
        """Sync the last days, today included; quick to give up."""
        return self.sync_days(self.today - timedelta(days=days - 1), self.today, **options)

    def sync_days(self, first: date, last: date, **options: Any) -> dict[str, Any]:
        """Sync these days, both included; quick to give up."""
        return Syncing(self.engine, self.api.url)(first, last, **{"retry_policy": HASTY, **options})

    def wrong(self, days: int = 30) -> list[str]:
        """Everything in which the tables differ from the truth of the last days."""
        truth = self.api.ask("truth")
        truth["users"] = [user for user in truth["users"] if user["user_id"] in self.users]
        return differences(self.engine, truth, self.today - timedelta(days=days - 1), self.today)

    def faults(self, *rules: dict[str, Any]) -> None:
        """From now on these faults, and no others."""
        self.api.ask("faults", method="DELETE")
        if rules:
            self.api.ask("faults", list(rules))

    def rows(self, sql: str, **parameters: Any) -> list[Any]:
        with self.engine.connect() as connection:
            return list(connection.execute(text(sql), parameters))

    def later(self, hours: float) -> None:
        """Let that many hours pass, as far as the database remembers when something was first noticed."""
        with self.engine.begin() as connection:
            for table, *columns in (
                ("users", "not_found_since", "gone_at"),
                ("sync_failures", "first_failed_at", "last_failed_at"),
                ("sleep_sessions", "deleted_at", "fetched_at"),
                ("sync_ledger", "listed_at"),
            ):
                changes = ", ".join(f"{column} = {column} - make_interval(secs => :s)" for column in columns)
                connection.execute(text(f"UPDATE asleep.{table} SET {changes}"), {"s": 3600 * hours})

    def missing_data(self) -> list[Any]:
        """Unresolved failures."""
        return self.rows("SELECT * FROM asleep.sync_failures WHERE resolved_at IS NULL ORDER BY failure_id")

    def averages(self) -> list[Any]:
        """Monthly averages, brought up to date."""
        with self.engine.begin() as connection:
            summarise(connection)
        return self._averages()

    def averages_from_nothing(self) -> list[Any]:
        """What the averages would be, computed anew from every stored session."""
        with self.engine.begin() as connection:
            connection.execute(text("DELETE FROM asleep.monthly_averages"))
            connection.execute(
                text(
                    "INSERT INTO asleep.stale_months (user_id, month) "
                    "SELECT DISTINCT user_id, night_month FROM asleep.sleep_sessions ON CONFLICT DO NOTHING"
                )
            )
        return self.averages()

    def _averages(self) -> list[Any]:
        found = self.rows(
            "SELECT to_jsonb(a) - 'computed_at' FROM asleep.monthly_averages AS a ORDER BY user_id, month"
        )
        return [row[0] for row in found]


NOW = "2026-11-22T09:00:00Z"


@pytest.fixture
def new_world(
    simulate: Callable[..., AbstractContextManager[Simulator]],
    new_database: Callable[[], AbstractContextManager[str]],
) -> Iterator[Callable[..., World]]:
    """`new_world("--users", "12")`: a population of its own, at a moment that stands still."""
    with ExitStack() as stack:

        def make(*options: str) -> World:
            defaults = {"--users": "0", "--days": "30", "--seed": "7", "--now": NOW}
            given = dict(zip(options[::2], options[1::2], strict=True))
            arguments = [part for pair in {**defaults, **given}.items() for part in pair]
            api = stack.enter_context(simulate(*arguments))
            engine = make_engine(stack.enter_context(new_database()), application_name="tests")
            stack.callback(engine.dispose)
            return World(api, engine, date.fromisoformat(given.get("--now", NOW)[:10]))

        yield make


@pytest.fixture
def world(new_world: Callable[..., World]) -> World:
    """An API without users; the test adds its own."""
    return new_world()
