"""Deletions and departures are accepted only when they are plausible, or confirmed a day later."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from assets.sync import sync_batch
from assets.sync.sync_batch import Mode
from tests.integration.assets.sync.conftest import CONFIRMING_LIST

EMPTY_API = (
    {"kind": "wrong_types", "endpoint": "list_sessions", "changes": {"sleep_session_list": []}},
    {"kind": "status_404", "endpoint": "read_session", "message": "session does not exist"},
)
"""What an incident at the source looks like: empty lists and 404s, while the users still exist."""


@pytest.fixture(autouse=True)
def one_write(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run writes once: what its first write deletes does not depend on how fast the machine is."""
    monkeypatch.setattr(sync_batch, "SECONDS_PER_WRITE", 3600)


def deleted(world: Any) -> set[str]:
    rows = world.rows("SELECT session_id FROM asleep.sleep_sessions WHERE deleted_at IS NOT NULL")
    return {row.session_id for row in rows}


def stored(world: Any) -> list[str]:
    rows = world.rows("SELECT session_id FROM asleep.sleep_sessions ORDER BY user_id, session_start_time")
    return [row.session_id for row in rows]


def held(world: Any) -> list[str]:
    return [row.session_id for row in world.missing_data() if row.kind == "deletion_held"]


def test_an_incident_at_the_source_does_not_empty_the_mirror(world: Any):
    """Empty lists and 404s marked every session as deleted, and every command exited with 0."""
    for _ in range(3):
        world.add_user(nights=10)
    world.sync()
    world.faults(*EMPTY_API)

    counts = world.sync()

    assert deleted(world) == set()
    assert counts["deletions_held"] == counts["failures"] == len(held(world)) == 30
    world.faults()
    world.sync()
    assert held(world) == []
    assert world.wrong() == []


def test_all_sessions_of_more_than_three_users_are_held_back(world: Any):
    """Few sessions, but nothing is left of four users."""
    for _ in range(4):
        world.add_user(nights=1)
    world.add_user(nights=30)
    world.sync()
    world.faults(*EMPTY_API)

    world.sync()

    assert deleted(world) == set()
    assert len(held(world)) == 34


def test_twenty_deletions_are_accepted_and_the_rest_of_the_day_is_held_back(world: Any):
    """Deletions are counted over 24 hours in the database, so that many small runs do not pass one by one."""
    for _ in range(3):
        world.add_user(nights=20)
    world.sync()
    gone = [session for user in range(3) for session in stored(world)[20 * user : 20 * user + 8]]
    for session in gone[:20]:
        world.api.ask(f"sessions/{session}", method="DELETE")
    assert world.sync()["sessions_deleted"] == 20
    for session in gone[20:]:
        world.api.ask(f"sessions/{session}", method="DELETE")

    counts = world.sync()

    assert (counts["sessions_deleted"], counts["deletions_held"]) == (0, 4)
    assert deleted(world) == set(gone[:20])


def test_a_run_a_day_later_reads_held_sessions_again_and_applies_the_response(world: Any):
    """Whatever its window; a run before that changes nothing."""
    for _ in range(3):
        world.add_user(nights=10)
    world.sync()
    sessions = set(stored(world))
    for session in sessions:
        world.api.ask(f"sessions/{session}", method="DELETE")
    world.sync()
    world.later(hours=19)
    world.sync(days=1)
    assert deleted(world) == set()
    world.later(hours=2)

    counts = world.sync(days=1)

    assert counts["sessions_deleted"] == 30
    assert deleted(world) == sessions
    assert world.missing_data() == []
    assert world.wrong() == []


def test_a_person_can_accept_deletions_at_once(world: Any):
    """The operator knows that a test account was emptied."""
    for _ in range(3):
        world.add_user(nights=10)
    world.sync()
    for session in stored(world):
        world.api.ask(f"sessions/{session}", method="DELETE")
    world.sync()

    counts = world.sync(accept_deletions=True)

    assert counts["sessions_deleted"] == 30
    assert world.missing_data() == []


@pytest.mark.parametrize("mode", [Mode.LIST, Mode.RECONCILE])
def test_a_session_wrongly_marked_as_deleted_comes_back(world: Any, mode: Mode):
    """A deleted session is requested once more a day later, and by every reconciliation of its days."""
    world.add_user(nights=5)
    world.sync()
    victim = stored(world)[2]
    world.faults(
        {"kind": "wrong_types", "endpoint": "list_sessions", "changes": {"sleep_session_list.2": None}},
        {"kind": "status_404", "endpoint": "read_session", "session": victim, "message": "session does not exist"},
    )
    with world.engine.begin() as connection:
        values = {"id": victim}
        connection.execute(text("UPDATE asleep.sleep_sessions SET deleted_at = now() WHERE session_id = :id"), values)
    world.faults()
    world.later(hours=21)

    world.sync(mode=mode)

    assert deleted(world) == set()
    assert world.wrong() == []


def test_a_deleted_session_is_requested_once_more_and_no_more(world: Any):
    """The second look costs one request for each deletion."""
    world.add_user(nights=5)
    world.sync()
    victim = stored(world)[2]
    world.api.ask(f"sessions/{victim}", method="DELETE")
    world.sync()
    world.later(hours=21)
    world.api.reset()
    world.sync()
    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST, "read_session": 1}
    world.api.reset()

    world.sync()

    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}
    assert deleted(world) == {victim}


def test_a_momentary_404_keeps_the_user_in_the_sync(world: Any):
    """The user vanished until Saturday: no request, no failure, no word in status."""
    user, other = world.add_user(nights=2), world.add_user(nights=2)
    world.sync()
    world.faults({"kind": "missing_user", "user": user})
    counts = world.sync()
    assert counts["users_not_found"] == 1
    assert [row.user_id for row in world.rows("SELECT user_id FROM asleep.users WHERE gone_at IS NOT NULL")] == []
    world.faults()
    world.add_nights(user, world.ago(0, hour=2))

    world.sync()

    assert world.wrong() == []
    assert world.rows("SELECT FROM asleep.users WHERE not_found_since IS NOT NULL") == []
    assert other


def test_users_not_found_count_as_missing_data_when_they_are_many_or_stay_unresolved(world: Any):
    """A few may have left; many at once, or one for three days, is missing data."""
    users = [world.add_user(nights=1) for _ in range(6)]
    world.sync()
    world.faults(*({"kind": "missing_user", "user": user} for user in users[:3]))
    world.sync()
    assert world.rows("SELECT FROM asleep.missing_data") == []
    world.faults(*({"kind": "missing_user", "user": user} for user in users[:4]))
    world.sync()
    kinds = [row.kind for row in world.rows("SELECT kind FROM asleep.missing_data")]
    assert kinds == ["user_not_found"] * 4
    world.faults()
    world.sync()
    assert world.rows("SELECT FROM asleep.missing_data") == []

    with world.engine.begin() as connection:
        values = {"user": users[0], "age": timedelta(days=3, hours=1)}
        connection.execute(text("UPDATE asleep.users SET not_found_since = now() - :age WHERE user_id = :user"), values)
    assert [row.user_id for row in world.rows("SELECT user_id FROM asleep.missing_data")] == [users[0]]
