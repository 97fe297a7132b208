"""What happens to sessions and users between two syncs, and during one: the tables follow."""

from datetime import timedelta
from typing import Any

import pytest

from assets.sync.sync_batch import Mode
from resources.asleep.errors import KeyRejected
from resources.database.users.erase import Erasures
from tests.integration.assets.sync.conftest import CONFIRMING_LIST


def _deleted(world: Any) -> list[str]:
    return [
        row.session_id
        for row in world.rows("SELECT session_id FROM asleep.sleep_sessions WHERE deleted_at IS NOT NULL")
    ]


def test_a_session_that_ends_long_after_the_window_is_read_to_its_end(world):
    """A phone that died is found weeks later: a window of days alone would keep half a night for ever."""
    user = world.add_user(nights=3)
    [running] = world.add_nights(user, world.ago(25), state="OPEN", epochs=300)
    world.sync()
    assert world.wrong() == []

    world.api.ask(
        f"sessions/{running}/close", {"end": (world.ago(25) + timedelta(hours=7)).isoformat(), "unexpected": True}
    )
    world.sync(days=2)
    assert world.wrong() == []
    world.api.ask(f"sessions/{running}/complete", {})
    world.sync(days=2)

    assert world.wrong() == []
    [(state,)] = world.rows("SELECT state FROM asleep.sleep_sessions WHERE session_id = :i", i=running)
    assert state == "COMPLETE"


def test_a_session_whose_analysis_ends_later_is_read_again(world):
    """CLOSED has no statistics yet; the next sync must notice that they have come."""
    user = world.add_user()
    [closed] = world.add_nights(user, world.ago(1), state="CLOSED")
    world.sync()
    assert world.wrong() == []

    world.api.ask(f"sessions/{closed}/complete", {})
    assert world.sync()["sessions_updated"] == 1
    assert world.wrong() == []


def test_a_finished_session_without_statistics_is_not_read_again(world):
    """Too short to analyse is final: asking for ever would cost a request a night and session."""
    user = world.add_user()
    world.add_nights(user, world.ago(1), finding="TOO_SHORT_FOR_ANALYSIS", epochs=5)
    world.sync()
    world.api.reset()
    world.sync()

    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}
    assert world.wrong() == []


def test_a_running_session_is_read_again_only_when_more_of_it_arrived(world):
    user = world.add_user()
    world.add_nights(user, world.ago(0, hour=3), state="OPEN")
    world.sync()
    world.api.reset()
    world.sync()
    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}


def test_a_deleted_session_is_marked_after_a_second_look_and_leaves_the_averages(world):
    """Deleted at the source: gone from what analysts see, but only when the API says so twice."""
    user = world.add_user(nights=6)
    world.sync()
    before = world.averages()
    victim = world.rows("SELECT session_id FROM asleep.sleep_sessions ORDER BY session_start_time")[2].session_id
    world.api.ask(f"sessions/{victim}", method="DELETE")
    world.api.reset()
    counts = world.sync()

    assert counts["sessions_deleted"] == 1
    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST, "read_session": 1}
    assert _deleted(world) == [victim]
    assert world.wrong() == []
    assert world.averages() != before
    assert world.averages() == world.averages_from_nothing()
    assert user


def test_a_session_missing_from_a_list_that_broke_off_is_not_called_deleted(world):
    """A list cut short by the service must neither delete what is stored nor hide what is new."""
    user = world.add_user(nights=6)
    world.sync()
    world.add_nights(user, world.ago(0, hour=2))
    world.faults(
        {"kind": "wrong_types", "endpoint": "list_sessions", "count": 1, "changes": {"sleep_session_list": []}}
    )
    world.sync()

    assert _deleted(world) == []
    assert world.wrong() == []


def test_a_list_that_stays_incomplete_is_missing_data(world):
    """The API knows sessions that it does not list: then others may be missing, too."""
    world.add_user(nights=3)
    world.sync()
    world.faults({"kind": "wrong_types", "endpoint": "list_sessions", "changes": {"sleep_session_list": []}})
    counts = world.sync()

    assert counts["users_failed"] == 1
    assert [(hole.session_id, hole.kind) for hole in world.missing_data()] == [(None, "malformed")]
    world.faults()
    assert world.sync()["failures"] == 0
    assert world.missing_data() == []


def test_a_stored_session_deleted_while_its_user_is_synced_is_marked_in_the_same_run(world):
    """Listed a moment ago, gone when it is read: the run that saw it must not leave it standing."""
    user = world.add_user()
    [closed] = world.add_nights(user, world.ago(1), state="CLOSED")
    world.sync()
    world.api.ask(f"sessions/{closed}/complete", {})
    row = world.api.ask("truth")["users"][-1]["sessions"][0]["row"]
    world.api.ask(f"sessions/{closed}", method="DELETE")
    world.faults(
        {"kind": "wrong_types", "endpoint": "list_sessions", "count": 1, "changes": {"sleep_session_list": [row]}}
    )
    counts = world.sync()

    assert counts["sessions_deleted"] == 1
    assert counts["failures"] == 0
    assert _deleted(world) == [closed]
    assert world.wrong() == []


def test_a_listed_session_that_is_not_found_is_missing_data_and_not_a_deletion(world):
    """List and reading contradict each other, twice: nobody may guess which one is right."""
    user = world.add_user(nights=2)
    world.sync()
    [new] = world.add_nights(user, world.ago(0, hour=2))
    world.faults(
        {"kind": "status_404", "endpoint": "read_session", "session": new, "message": "session does not exist"}
    )
    world.sync()

    assert [(hole.session_id, hole.kind) for hole in world.missing_data()] == [(new, "session_gone")]
    world.faults()
    world.sync()
    assert world.missing_data() == []
    assert world.wrong() == []


def test_a_session_that_comes_back_is_whole_again(world):
    """A deletion that the service took back."""
    user = world.add_user(nights=2)
    [session] = world.add_nights(user, world.ago(5))
    world.sync()
    world.faults(
        {"kind": "wrong_types", "endpoint": "list_sessions", "changes": {"sleep_session_list": []}},
        {"kind": "status_404", "endpoint": "read_session", "message": "session does not exist"},
    )
    world.sync()
    assert session in _deleted(world)

    world.faults()
    world.sync()
    assert _deleted(world) == []
    assert world.wrong() == []
    assert world.averages() == world.averages_from_nothing()


def test_a_session_whose_start_moved_is_stored_where_it_is_now(world):
    """Corrected over midnight and into another month: both months are computed again."""
    user = world.add_user(nights=3)
    [moved] = world.add_nights(user, world.ago(20))
    world.sync()
    world.averages()
    world.api.ask(f"sessions/{moved}", method="DELETE")
    world.add_nights(user, world.ago(26), session_id=moved)
    world.sync()

    assert world.wrong() == []
    assert world.averages() == world.averages_from_nothing()


@pytest.mark.parametrize("first", ["old owner first", "new owner first"])
def test_a_session_that_moved_to_another_user_stays_with_the_new_one(world, first):
    """Two accounts merged: the old owner's missing session is not a deletion of the new owner's."""
    one, other = sorted([world.add_user(nights=2), world.add_user(nights=3)])
    old, new = (one, other) if first == "old owner first" else (other, one)
    running = world.add_nights(old, *(world.ago(29 - day) for day in range(6)), state="CLOSED")
    [moved] = world.add_nights(old, world.ago(20))
    world.sync()
    world.averages()
    for session in running:  # to be read before the session that moved
        world.api.ask(f"sessions/{session}/complete", {})
    world.api.ask(f"sessions/{moved}", method="DELETE")
    world.add_nights(new, world.ago(20), session_id=moved)
    for _ in range(2):
        world.sync(workers=1)
        assert _deleted(world) == []
        assert world.wrong() == []
    assert world.averages() == world.averages_from_nothing()


def test_a_user_who_is_gone_is_marked_and_no_longer_requested(world):
    """Deleted at the source: list and user endpoint agree, twice, a day apart; then no more requests."""
    stays, goes = world.add_user(nights=2), world.add_user(nights=2)
    world.sync()
    world.api.ask(f"users/{goes}/delete", {})
    first = world.sync()
    world.later(hours=21)
    second = world.sync()

    assert (first["users_gone"], first["users_not_found"]) == (0, 1)
    assert (second["users_gone"], second["users_not_found"]) == (1, 0)
    assert [row.user_id for row in world.rows("SELECT user_id FROM asleep.users WHERE gone_at IS NOT NULL")] == [goes]
    assert world.missing_data() == []
    world.api.reset()
    world.sync()
    assert {entry["user"] for entry in world.api.ask("log?since=0")[-1:]} == {stays}
    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}


def test_a_user_who_is_gone_is_found_also_where_the_list_is_merely_empty(new_world):
    """What the list answers for an unknown user is undocumented: an empty one must not look like a quiet life."""
    world = new_world("--unknown-user-list", "empty")
    world.add_user(nights=2)
    goes = world.add_user(nights=1)
    world.sync()
    world.api.ask(f"users/{goes}/delete", {})

    assert world.sync()["users_not_found"] == 1
    world.later(hours=21)
    assert world.sync()["users_gone"] == 1


@pytest.mark.parametrize("endpoint", ["list_sessions", "read_session"])
def test_one_spurious_404_makes_no_user_disappear(world, endpoint):
    """A user called gone is not synced any more, and erased later: one odd answer must not do that."""
    user = world.add_user(nights=2)
    world.faults({"kind": "missing_user", "endpoint": endpoint, "count": 1})
    counts = world.sync()

    assert counts.get("users_gone", 0) == 0
    assert counts["users_failed"] == 1
    assert [hole.kind for hole in world.missing_data()] == ["user_gone"]
    world.faults()
    world.sync()
    assert world.missing_data() == []
    assert world.wrong() == []
    assert user


@pytest.mark.parametrize("mode", [Mode.STATISTICS, Mode.RECONCILE])
def test_one_spurious_404_of_average_stats_makes_no_user_disappear(world, mode):
    """The same, where statistics are asked for."""
    world.add_user(nights=2)
    world.sync()
    world.faults({"kind": "missing_user", "endpoint": "average_stats", "count": 1})
    counts = world.sync(mode=mode)

    assert counts.get("users_gone", 0) == 0
    assert [hole.kind for hole in world.missing_data()] == ["user_gone"]
    world.faults()
    world.sync()
    assert world.missing_data() == []


def test_a_gone_user_leaves_no_missing_data(world):
    """What failed for somebody who no longer exists can never be mended, so it must not stand for ever."""
    user = world.add_user(nights=3)
    world.faults({"kind": "not_json", "endpoint": "read_session", "user": user})
    world.sync()
    assert len(world.missing_data()) == 3
    world.faults()
    world.add_user(nights=1)
    world.api.ask(f"users/{user}/delete", {})
    world.sync()
    assert len(world.missing_data()) == 3, "a first report of a missing user closes no failure"
    world.later(hours=21)
    world.sync()

    assert world.missing_data() == []


def test_a_failed_list_does_not_lose_the_sessions_that_were_still_running(world):
    """The list is down for one run: the next one finds the old running session all the same."""
    user = world.add_user(nights=2)
    [running] = world.add_nights(user, world.ago(20), state="OPEN", epochs=300)
    world.sync()
    world.api.ask(f"sessions/{running}/complete", {})
    world.faults({"kind": "status_503", "endpoint": "list_sessions"})
    assert world.sync(days=2)["users_failed"] == 1
    world.faults()
    world.sync(days=2)

    assert world.wrong() == []
    assert world.missing_data() == []


@pytest.mark.parametrize("unknown", ["404", "empty"])
def test_a_key_of_the_other_environment_marks_no_user_as_gone(new_world, unknown):
    """The Test key sees no Live user: believing it would mark everybody as gone, and erase them a month later."""
    world = new_world("--test-key", "the-other-key", "--unknown-user-list", unknown)
    for _ in range(3):
        world.add_user(nights=2)
    world.sync()
    with pytest.raises(KeyRejected, match="environment"):
        world.sync(key="the-other-key")

    assert world.rows("SELECT FROM asleep.users WHERE gone_at IS NOT NULL") == []
    assert _deleted(world) == []
    world.sync()
    assert world.wrong() == []


def test_a_user_erased_in_the_middle_of_a_run_stays_erased(world):
    """Erased while answers about them are on their way: not one row may come back."""
    user, other = world.add_user(nights=4), world.add_user(nights=4)
    erased = []

    def erase_at_once(attempt):
        if attempt.endpoint == "read_session" and not erased:
            erased.append(user)
            with world.engine.begin() as connection:
                Erasures(connection).erase(user, "requested")

    world.sync(listeners=(erase_at_once,))

    assert erased
    for table in ("users", "sleep_sessions", "sync_ledger", "sync_failures", "stale_months"):
        assert {row.user_id for row in world.rows(f"SELECT user_id FROM asleep.{table}")} <= {other}
    assert len(world.rows("SELECT FROM asleep.sleep_sessions")) == 4


def test_one_failure_that_stays_does_not_keep_the_mended_ones_open(world):
    """Ten holes were mended, one was not: whoever looks must see one."""
    user = world.add_user(nights=3)
    sessions = [row["row"]["session_id"] for row in world.api.ask("truth")["users"][0]["sessions"]]
    world.faults({"kind": "not_json", "endpoint": "read_session"})
    world.sync()
    assert sorted(hole.session_id for hole in world.missing_data()) == sorted(sessions)
    world.faults({"kind": "not_json", "endpoint": "read_session", "session": sessions[1]})
    world.sync()

    assert [(hole.session_id, hole.attempts) for hole in world.missing_data()] == [(sessions[1], 2)]
    world.faults()
    world.sync()
    assert world.missing_data() == []
    assert world.wrong() == []
    assert user
