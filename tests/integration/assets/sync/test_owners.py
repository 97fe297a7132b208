"""A session never changes its user because one response says so."""

import pytest

from assets.sync.sync_batch import Mode


def owner(world, session_id):
    return [
        row.user_id for row in world.rows("SELECT * FROM asleep.sleep_sessions WHERE session_id = :i", i=session_id)
    ]


def claim(world, user, session_id):
    """From now on average-stats of `user` name another user's session, as when responses are mixed up on the way."""
    start = world.rows("SELECT * FROM asleep.sleep_sessions WHERE session_id = :i", i=session_id)[0].session_start_time
    row = {"id": session_id, "start_time": start.isoformat(), "end_time": None, "completed_time": None}
    changes = {"slept_sessions": [], "never_slept_sessions": [row], "average_stats": None}
    return {"kind": "wrong_types", "endpoint": "average_stats", "user": user, "changes": changes}


@pytest.fixture
def stranger(world):
    """A user, and a session that is another user's."""
    owns, claims = world.add_user(nights=3), world.add_user(nights=2)
    world.sync(mode=Mode.STATISTICS)
    session_id = world.rows("SELECT session_id FROM asleep.sleep_sessions WHERE user_id = :u", u=owns)[0].session_id
    return owns, claims, session_id


def test_a_session_named_for_another_user_stays_with_the_user_for_whom_the_api_returns_it(world, stranger):
    """Behind a proxy that mixes up responses, statistics of one person would be stored as another's."""
    owns, claims, session_id = stranger
    world.faults(claim(world, claims, session_id))
    world.api.reset()
    counts = world.sync(mode=Mode.STATISTICS)

    assert owner(world, session_id) == [owns]
    assert counts["failures"] == 0
    log = [entry for entry in world.api.ask("log?since=0") if session_id in str(entry)]
    assert [entry["user"] for entry in log[-2:]] == sorted([owns, claims]), "it was read once for each of the two"


def test_a_session_that_the_api_returns_for_neither_user_is_missing_data_for_both(world, stranger):
    """Nobody can tell whose it is: nothing is written, and the run fails."""
    owns, claims, session_id = stranger
    gone = {
        "kind": "status_404",
        "endpoint": "read_session",
        "session": session_id,
        "message": "session does not exist",
    }
    world.faults(claim(world, claims, session_id), gone)
    counts = world.sync(mode=Mode.STATISTICS)

    assert owner(world, session_id) == [owns]
    assert counts["failures"] == 2
    recorded = {(row.user_id, row.session_id) for row in world.missing_data()}
    assert recorded == {(owns, session_id), (claims, session_id)}
    world.faults()
    world.sync(mode=Mode.STATISTICS)
    assert world.missing_data() == []


def test_a_new_session_listed_for_two_users_goes_to_the_one_who_has_it(world, stranger):
    """Neither is stored yet: both come in one batch."""
    owns, claims, _ = stranger
    [new] = world.add_nights(owns, world.ago(2, hour=2))
    named = {"id": new, "start_time": world.ago(2, hour=2).isoformat(), "end_time": None, "completed_time": None}
    changes = {"slept_sessions": [], "never_slept_sessions": [named], "average_stats": None}
    world.faults({"kind": "wrong_types", "endpoint": "average_stats", "user": claims, "changes": changes})
    world.sync(mode=Mode.STATISTICS)

    assert owner(world, new) == [owns]
