"""Changes that no list shows and no statistic: found by `completed_time`, and by stages that contradict statistics."""

from datetime import UTC, datetime, timedelta

import pytest

from assets.sync import sync_batch
from assets.sync.sync_batch import Mode
from tests.kills import Killed


def analyse_again(world, changes, *, ago=timedelta()):
    """Analyse a session again, that long before now by the real clock, which the database goes by, too."""
    world.api.ask("clock", {"real": True})
    completed = (datetime.now(UTC) - ago).isoformat(timespec="seconds")
    session_id = world.rows("SELECT session_id FROM asleep.sleep_sessions ORDER BY session_start_time")[1].session_id
    world.api.ask(f"sessions/{session_id}/reanalyse", {"changes": changes, "completed": completed})
    return session_id


@pytest.mark.parametrize("changes", ["tracks", "shares"])
def test_a_silent_analysis_is_found_by_the_first_reconciliation(world, changes):
    """Never compared before, so no `completed_time` is stored: one after the reading may not belong to the stages."""
    world.add_user(nights=4)
    world.sync()
    analyse_again(world, changes)
    assert world.wrong() != []
    counts = world.sync(mode=Mode.RECONCILE)

    assert (counts["sessions_updated"], counts["failures"]) == (1, 0)
    assert world.wrong() == []


def test_an_analysis_long_before_the_session_was_read_costs_no_second_reading(world):
    """A first reconciliation must not cost a request for each session stored."""
    world.add_user(nights=4)
    world.sync()
    world.api.reset()
    world.sync(mode=Mode.RECONCILE)

    assert "read_session" not in world.api.requests()
    assert all(row.completed_time for row in world.rows("SELECT completed_time FROM asleep.sleep_sessions"))


def test_clocks_that_differ_by_minutes_hide_no_analysis(world):
    """Ours may run ahead of the API's."""
    world.add_user(nights=4)
    world.sync()
    analyse_again(world, "tracks", ago=timedelta(minutes=14))
    world.sync(mode=Mode.RECONCILE)

    assert world.wrong() == []


def test_stages_keep_the_time_that_belongs_to_them(world):
    """Read again by a list that moved: the old `completed_time` would stand for stages that it never knew."""
    user = world.add_user(nights=4)
    [closed] = world.add_nights(user, world.ago(0, hour=1), state="CLOSED")
    world.sync()
    world.sync(mode=Mode.RECONCILE)
    world.api.ask(f"sessions/{closed}/complete", {})
    world.sync()
    world.sync(mode=Mode.RECONCILE)
    analyse_again(world, "tracks")
    world.sync(mode=Mode.RECONCILE)
    assert world.wrong() == []
    world.api.reset()
    world.sync(mode=Mode.RECONCILE)

    assert "read_session" not in world.api.requests()


def test_a_share_that_moved_by_a_hundredth_is_a_difference(world):
    """Even where average-stats leaves out when the session was analysed."""
    world.add_user(nights=3)
    world.sync()
    analyse_again(world, "shares")
    changes = {f"slept_sessions.{number}.completed_time": None for number in range(3)}
    world.faults({"kind": "wrong_types", "endpoint": "average_stats", "changes": changes})
    world.sync(mode=Mode.RECONCILE)

    assert world.wrong() == []


def damaged(world):
    return [(row.session_id, row.kind) for row in world.missing_data()]


def test_damaged_stages_are_recorded_and_read_once_more(world):
    """The response itself says so: light, deep, REM and wake epochs do not add up to its statistics."""
    world.add_user(nights=3)
    world.faults({"kind": "damaged_stages", "damage": "wake", "count": 1})
    counts = world.sync(workers=1)
    assert counts["failures"] == 1
    assert [kind for _, kind in damaged(world)] == ["damaged_stages"]
    world.faults()
    world.api.reset()
    world.sync()

    assert world.api.requests()["read_session"] == 1
    assert damaged(world) == []
    assert world.wrong() == []


def test_stages_that_stay_damaged_are_read_once_more_and_then_left_alone(world):
    """What the API returns twice is what it has: a run that fails for ever helps nobody."""
    world.add_user(nights=3)
    world.faults({"kind": "damaged_stages", "damage": "wake"})
    world.sync()
    assert {kind for _, kind in damaged(world)} == {"damaged_stages"}
    world.sync()
    assert damaged(world) == []
    world.api.reset()
    world.sync()

    assert "read_session" not in world.api.requests()
    assert world.rows("SELECT FROM asleep.sleep_sessions WHERE contract_violations <> '{}'")


def test_damaged_stages_are_on_record_although_the_process_died_after_storing_them(world, monkeypatch):
    """The session is final, so no later sync would look at it."""
    world.add_user(nights=6)
    monkeypatch.setattr(sync_batch, "ROWS_PER_WRITE", 1)
    world.faults({"kind": "damaged_stages", "damage": "wake"})
    with pytest.raises(Killed):
        world.sync(workers=1, die_at_write=4)

    query = "SELECT session_id FROM asleep.sleep_sessions WHERE contract_violations::text LIKE '%differ from stat%'"
    stored = {row.session_id for row in world.rows(query)}
    assert stored
    assert {row.session_id for row in world.missing_data()} == stored
