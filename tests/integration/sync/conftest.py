"""What tests of the sync ask for: one call that syncs a window, in this process, as a batch step does."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import Engine

from assets.sleep_sessions import Tally
from assets.sync_batch import Batch, sync_batch
from assets.window import Window
from resources.asleep.resource import AsleepApi
from resources.database.registry import import_users


@dataclass(frozen=True)
class Syncing:
    """Syncs one simulated API into one database."""

    engine: Engine
    url: str

    def register(self, users: list[dict[str, Any]]) -> None:
        with self.engine.begin() as connection:
            import_users(connection, [(user["user_id"], None) for user in users])

    def __call__(self, first: date, last: date, **options: Any) -> dict[str, Any]:
        """Sync the days, both included; returns the counts."""
        api = AsleepApi(
            base_url=self.url,
            key="simulated-key",
            requests_per_second=options.pop("rate", 5000),
            max_connections=8,
            timeout_seconds=options.pop("timeout_seconds", 10),
        )
        values = {"number": 0, "of": 1, "workers": 8, "cache_ttl_seconds": 0.0, **options}
        batch = Batch(run_id=str(uuid4()), window=Window.of_days(first, last), **values)
        tally = Tally()
        with api.client(self.engine, tally) as client:
            return sync_batch(self.engine, client, batch, tally.counts)


@pytest.fixture
def syncing(engine: Engine) -> Callable[[str], Syncing]:
    """`syncing(url)` gives a callable that syncs windows from that API."""
    return lambda url: Syncing(engine, url)
