"""`last_received_seq_num` stands in lists only: whichever way a session comes, its day is listed."""

from sqlalchemy import text

from assets.sync.sync_batch import Mode


def without_number(world):
    return world.rows("SELECT session_id FROM asleep.sleep_sessions WHERE last_received_seq_num IS NULL")


def test_a_session_that_comes_by_reconciliation_has_its_last_chunk(world):
    """Average-stats does not give it."""
    world.add_user(nights=5)
    world.sync(mode=Mode.RECONCILE)

    assert len(world.rows("SELECT FROM asleep.sleep_sessions")) == 5
    assert without_number(world) == []
    assert world.wrong() == []


def test_a_session_retried_outside_the_window_has_its_last_chunk(world):
    """It is read by its id, and the list of the window does not name it."""
    user = world.add_user(nights=2)
    [old] = world.add_nights(user, world.ago(20))
    world.faults({"kind": "not_json", "endpoint": "read_session", "session": old})
    world.sync()
    world.faults()
    world.sync(days=3, failed_only=True)

    assert len(world.rows("SELECT FROM asleep.sleep_sessions")) == 3
    assert without_number(world) == []


def test_a_session_whose_stages_are_filled_in_has_its_last_chunk(world):
    """Few lists serve many sessions: those of a month share one."""
    world.add_user(nights=12)
    world.sync(mode=Mode.STATISTICS)
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sleep_sessions SET last_received_seq_num = NULL"))
    world.api.reset()
    world.sync(mode=Mode.FILL)

    assert without_number(world) == []
    assert world.api.requests()["list_sessions"] == 1
