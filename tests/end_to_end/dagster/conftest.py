"""One Dagster deployment for all tests of this folder, with simulated users registered in its database."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from resources.database.engine import make_engine
from resources.database.users.registry import Registry
from tests.conftest import Simulator
from tests.end_to_end.dagster.running import RunningDagster, running_dagster

USERS = 12
DAYS = 400


@pytest.fixture(scope="session")
def api(simulate: Callable[..., AbstractContextManager[Simulator]]) -> Iterator[Simulator]:
    """The simulated API with more than a year of nights."""
    with simulate("--users", str(USERS), "--days", str(DAYS), "--seed", "11", "--rate", "2000") as simulator:
        yield simulator


@pytest.fixture(scope="session")
def engine(new_database: Callable[[], AbstractContextManager[str]], api: Simulator) -> Iterator[Engine]:
    """The deployment's database, its users registered."""
    with new_database() as url:
        engine = make_engine(url, application_name="tests")
        with engine.begin() as connection:
            Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
        yield engine
        engine.dispose()


@pytest.fixture(scope="session")
def dagster(engine: Engine, api: Simulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningDagster]:
    """Webserver, daemon and code server over that database and API."""
    home = tmp_path_factory.mktemp("dagster")
    with running_dagster(engine.url.render_as_string(hide_password=False), home, **settings(api)) as running:
        yield running


@dataclass(frozen=True)
class Early:
    """Backfills launched by GraphQL before everything else: the daemon looks for new ones twice a minute only."""

    days: list[str]
    sessions: str
    averages: str


@pytest.fixture(scope="session")
def early(dagster: RunningDagster) -> Early:
    """Ninety days of sessions before those that the UI's test asks for, and the last twelve months of averages."""
    days = days_back(180)[:90]
    sessions = dagster.launch_backfill("sleep_sessions", days)["backfillId"]
    return Early(days, sessions, dagster.launch_backfill("monthly_averages", months_back(12))["backfillId"])


def settings(api: Simulator, **more: str) -> dict[str, str]:
    """The variables of a deployment that syncs the simulated API."""
    return {
        "ASLEEP_BASE_URL": api.url,
        "ASLEEP_REQUESTS_PER_SECOND": "1500",
        "USER_BATCH_SIZE": "4",
        "CACHE_TTL_SECONDS": "0",
        **more,
    }


def days_back(count: int) -> list[str]:
    """The last days as partition keys, today included."""
    today = datetime.now(UTC).date()
    return [(today - timedelta(days=back)).isoformat() for back in reversed(range(count))]


def months_back(count: int) -> list[str]:
    """The last months as partition keys, the running one included."""
    first = datetime.now(UTC).date().replace(day=1)
    found = [first]
    while len(found) < count:
        found.append((found[-1] - timedelta(days=1)).replace(day=1))
    return [month.isoformat() for month in reversed(found)]


def numbers(events: list[Any], asset: str) -> dict[str, dict[str, float]]:
    """The numeric metadata of an asset's materialisations, by partition."""
    found: dict[str, dict[str, float]] = {}
    for event in events:
        if event["__typename"] == "MaterializationEvent" and event["assetKey"]["path"] == [asset]:
            found[event["partition"]] = {
                entry["label"]: entry.get("intValue", entry.get("floatValue"))
                for entry in event["metadataEntries"]
                if "intValue" in entry or "floatValue" in entry
            }
    return found
