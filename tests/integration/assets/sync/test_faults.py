"""Every fault that the API or the way to it may have: what cannot be had is told, and the next good run has it."""

from collections.abc import Iterator
from typing import Any

import pytest

from resources.asleep.transport import RetryPolicy

LIST, READ = {"endpoint": "list_sessions"}, {"endpoint": "read_session"}
PASSING = {
    "a server error now and then": [{"kind": "status_500", "share": 0.1}],
    "each question fails once": [{"kind": "status_503", "per_target": 1, "every": 3}],
    "a gateway's HTML error": [{"kind": "status_502", "share": 0.1}],
    "connections reset": [{"kind": "reset", "share": 0.1}],
    "bodies cut short": [{"kind": "truncated", "share": 0.1}],
    "bodies that are not JSON": [{"kind": "not_json", "share": 0.15}],
    "a captive portal with status 200": [{"kind": "html_200", "share": 0.15}],
    "answers that never come": [{"kind": "timeout", "every": 23, "count": 4}],
    "answers that drip": [{"kind": "slow_drip", "every": 23, "count": 4, "drip_seconds": 30}],
    "answers far too large": [{"kind": "oversized", "every": 37, "count": 2, "mebibytes": 20}],
    "throttling now and then": [{"kind": "throttle_storm", "every": 40, "count": 3}],
    "429 with Retry-After": [{"kind": "throttle_storm", "status": 429, "retry_after": "1", "after": 20, "count": 2}],
    "a gateway's own 429": [{"kind": "gateway_message", "status": 429, "after": 20, "count": 1}],
}
LASTING = {
    "server errors": [{"kind": "status_500", **READ, "share": 0.35}],
    "lists that fail": [{"kind": "not_json", **LIST, "every": 3}, {"kind": "html_200", **LIST}],
    "bodies that are not JSON": [{"kind": "not_json", **READ, "share": 0.6}],
    "portals": [{"kind": "html_200", **READ, "share": 0.6}],
    "answers about another session": [
        {"kind": "wrong_types", **READ, "share": 0.2, "changes": {"session.id": "20200101000000_aaaaa"}}
    ],
    "sessions without a start": [
        {"kind": "wrong_types", **READ, "share": 0.2, "changes": {"session.start_time": None}}
    ],
    "lists whose rows lack an id": [
        {"kind": "wrong_types", **LIST, "share": 0.5, "changes": {"sleep_session_list.0.session_id": 7}}
    ],
    "refused as invalid": [{"kind": "status_422", "share": 0.2, "message": "validation error"}],
    "a proxy's 404": [{"kind": "status_404", "share": 0.2, "message": "Not Found"}],
    "identifiers refused": [{"kind": "status_400", **READ, "share": 0.2, "message": "The format of sleep session id"}],
}


@pytest.fixture
def population(new_world: Any) -> Iterator[Any]:
    """A few ordinary users with all their contract_violations."""
    return new_world("--users", "8", "--days", "8", "--seed", "11")


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_fault_is_waited_out_and_leaves_nothing(population, name):
    """What another attempt mends must not trouble anybody: one run, and all is right."""
    population.faults(*PASSING[name])
    stubborn = RetryPolicy(total_seconds=30, broken_attempts=8, garbled_attempts=8, first_pause_seconds=0.01)
    counts = population.sync(days=10, timeout_seconds=1.5, retry_policy=stubborn)
    hits = population.api.ask("stats")["faults"]

    assert sum(hits.values()) > 0, "the fault hit nothing"
    assert counts["failures"] == 0
    assert population.missing_data() == []
    assert population.wrong(days=10) == []
    assert population.averages() == population.averages_from_nothing()


@pytest.mark.parametrize("name", LASTING)
def test_a_lasting_fault_is_recorded_as_missing_data_and_mended_first(population, name):
    """What no attempt mends: every session that is missing is a row, and the next good run has it."""
    population.faults(*LASTING[name])
    counts = population.sync(days=10)
    missing = population.missing_data()

    assert counts["failures"] == len(missing) > 0
    assert counts["users_failed"] == len({hole.user_id for hole in missing})
    told = {hole.session_id for hole in missing} | {None}
    users_without_list = {hole.user_id for hole in missing if hole.session_id is None}
    for wrong in population.wrong(days=10):
        assert wrong.startswith("missing: ")
        session_id = wrong.split()[1]
        assert session_id in told or _owner(population, session_id) in users_without_list
    population.faults()
    assert population.sync(days=10)["failures"] == 0
    assert population.missing_data() == []
    assert population.wrong(days=10) == []
    assert population.averages() == population.averages_from_nothing()


def _owner(population: Any, session_id: str) -> str:
    for user in population.api.ask("truth")["users"]:
        if any(session["row"]["session_id"] == session_id for session in user["sessions"]):
            return str(user["user_id"])
    raise AssertionError(session_id)


def test_the_response_is_kept_with_the_failure_and_out_of_its_message(population):
    """People must be able to look at the answer; nobody should meet health data in a message."""
    population.faults({"kind": "html_200", "endpoint": "read_session", "user": _busiest(population)})
    population.sync(days=10)

    assert population.missing_data()
    for hole in population.missing_data():
        assert bytes(hole.raw_body).startswith(b"<!DOCTYPE html>")
        assert "Welcome" not in hole.message
        assert hole.user_id not in hole.message


def _busiest(population: Any) -> str:
    return str(max(population.api.ask("users"), key=lambda user: user["sessions"])["user_id"])


def test_one_users_failure_stops_no_other_user(population):
    """All others are whole, and the ledger knows it."""
    victim = _busiest(population)
    population.faults({"kind": "not_json", "user": victim})
    population.sync(days=10)

    assert {hole.user_id for hole in population.missing_data()} == {victim}
    whole = {row.user_id for row in population.rows("SELECT user_id FROM asleep.sync_ledger")}
    assert whole == set(population.users) - {victim}


def test_users_that_failed_are_tried_first_next_time(population):
    """A hole is older than anything new: it must not wait behind thousands of others."""
    victim = max(population.users)
    population.faults({"kind": "not_json", "user": victim, "endpoint": "list_sessions"})
    population.sync(days=10)
    population.faults()
    before = population.api.ask("log?since=0")[-1]["number"]
    population.sync(days=10, workers=1)

    assert population.api.ask(f"log?since={before}")[0]["user"] == victim


def test_missing_data_outside_todays_window_are_repaired(population):
    """A list failed in a backfill of last month: the daily run of two days asks for that month again."""
    victim = _busiest(population)
    population.faults({"kind": "not_json", "user": victim, "endpoint": "list_sessions"})
    population.sync(days=10)
    population.faults()
    population.sync(days=2)

    assert population.missing_data() == []
    assert population.wrong(days=10) == []
