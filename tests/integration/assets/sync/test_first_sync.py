"""The first sync of an organisation, and the ones after it: exact, and with no request too many."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.conftest import Simulator
from tests.integration.assets.sync.conftest import CONFIRMING_LIST
from tests.truth import differences

NOW = "2026-11-22T09:00:00Z"
FIRST, LAST = date(2026, 9, 24), date(2026, 11, 22)


@pytest.fixture(scope="module")
def api(simulate: Callable[..., Any]) -> Iterator[Simulator]:
    with simulate("--users", "24", "--days", "60", "--seed", "7", "--now", NOW) as simulator:
        yield simulator


def _stored(engine: Engine) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT xmin, * FROM asleep.sleep_sessions ORDER BY session_id")))


def test_after_the_first_sync_every_field_is_what_the_api_answers(api, syncing, engine):
    """The promise of the whole project: no session missing, none extra, each field right."""
    sync = syncing(api.url)
    sync.register(api.ask("users"))
    counts = sync(FIRST, LAST)

    assert counts["failures"] == 0
    truth = api.ask("truth")
    assert differences(engine, truth, FIRST, LAST) == []
    assert sum(len(user["sessions"]) for user in truth["users"]) > 500


def test_the_first_sync_makes_the_fewest_requests_possible(api, engine):
    """Requests are the scarce good: one list for each hundred sessions of a user, one reading for each session."""
    least = api.ask("least_requests?from=2026-09-23&to=2026-11-23")
    assert api.requests() == {
        "list_sessions": least["list_sessions"] + CONFIRMING_LIST,
        "read_session": least["read_session"],
    }
    assert engine  # the sync of the test before is what is counted


def test_a_second_sync_with_nothing_new_lists_only_and_writes_nothing(api, syncing, engine):
    """A daily run over unchanged weeks must not cost a request per session, nor rewrite a row."""
    before = _stored(engine)
    api.reset()
    counts = syncing(api.url)(FIRST, LAST)

    least = api.ask("least_requests?from=2026-09-23&to=2026-11-23")
    assert api.requests() == {"list_sessions": least["list_sessions"] + CONFIRMING_LIST}
    assert counts["sessions_inserted"] == counts["sessions_updated"] == 0
    assert _stored(engine) == before


def test_inside_the_cache_time_no_request_is_made(api, syncing):
    """Somebody starts the run twice: the ledger answers."""
    api.reset()
    counts = syncing(api.url)(FIRST, LAST, cache_ttl_seconds=300.0)

    assert api.requests() == {}
    assert counts["users_fresh"] == counts["users"]


def test_one_new_session_costs_one_list_and_one_reading(api, syncing, engine):
    """What is known is not read again because something else is new."""
    user = api.ask("users")[0]["user_id"]
    api.ask("sessions", {"user_id": user, "start": "2026-11-21T22:10:00Z"})
    api.reset()
    counts = syncing(api.url)(date(2026, 11, 16), LAST)

    assert counts["sessions_inserted"] == 1
    assert api.requests() == {"list_sessions": 24 + CONFIRMING_LIST, "read_session": 1}
    assert differences(engine, api.ask("truth"), FIRST, LAST) == []
