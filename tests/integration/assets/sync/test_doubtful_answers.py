"""Answers that could be taken in two ways: the careful one must be taken, and no more asked than it needs."""

from datetime import date

import pytest
from sqlalchemy import text

from assets.sync.sync_batch import Mode
from resources.asleep.errors import KeyRejected
from resources.database.sync.sync_state import Failure, SyncState
from resources.database.users.registry import Registry
from tests.integration.assets.sync.conftest import CONFIRMING_LIST, HASTY, Syncing


def gone(world):
    return {row.user_id for row in world.rows("SELECT user_id FROM asleep.users WHERE gone_at IS NOT NULL")}


def finished(world):
    return {row.user_id for row in world.rows("SELECT user_id FROM asleep.sync_ledger")}


def fail(world, user, session):
    values = {"user": user, "session": session}
    with world.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.sync_failures (user_id, session_id, kind, message) "
                "VALUES (:user, :session, 'webhook_event', 'x')"
            ),
            values,
        )


@pytest.mark.parametrize("bad", ["2026-11-17T14:00:00", None, 7])
def test_a_row_of_the_list_with_an_odd_start_is_read_like_any_other(world, bad):
    """The session itself tells when it started; its neighbours in the list have nothing to do with it."""
    world.add_user(nights=5)
    world.faults(
        {
            "kind": "wrong_types",
            "endpoint": "list_sessions",
            "changes": {"sleep_session_list.0.session_start_time": bad},
        }
    )
    counts = world.sync()

    assert counts["failures"] == 0
    assert len(world.rows("SELECT FROM asleep.sleep_sessions WHERE session_start_time IS NOT NULL")) == 5


def test_a_list_row_without_an_id_is_missing_data_and_hides_no_other(world):
    """One unreadable row of five: four sessions land, the run says that one is missing, and which answer it was."""
    world.add_user(nights=5)
    world.faults(
        {"kind": "wrong_types", "endpoint": "list_sessions", "changes": {"sleep_session_list.2.session_id": 7}}
    )
    counts = world.sync()

    assert counts["users_failed"] == 1
    assert len(world.rows("SELECT FROM asleep.sleep_sessions")) == 4
    [hole] = world.missing_data()
    assert (hole.kind, hole.session_id) == ("malformed", None)
    assert b"session_start_time" in bytes(hole.raw_body)
    assert finished(world) == set()
    world.faults()
    world.sync()
    assert world.missing_data() == []
    assert world.wrong() == []


def test_what_the_list_leaves_out_is_no_reason_to_read_again(world):
    """An odd field of a finished session would cost a request in every run for ever."""
    world.add_user(nights=3)
    changes = {"sleep_session_list.0.session_end_time": "2026-11-17T22", "sleep_session_list.1.created_timezone": None}
    world.faults({"kind": "wrong_types", "endpoint": "list_sessions", "changes": changes})
    world.sync()
    world.api.reset()
    world.sync()

    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}


@pytest.mark.parametrize("unknown", ["404", "empty"])
def test_deleted_users_are_distinguished_from_a_key_that_finds_no_user(new_world, unknown):
    """Three left, five have no session in these days: one of the five, asked for, settles it."""
    world = new_world("--unknown-user-list", unknown)
    leaving = {world.add_user(nights=1) for _ in range(3)}
    staying = {world.add_user() for _ in range(5)}
    world.sync()
    for user in leaving:
        world.api.ask(f"users/{user}/delete", {})
    assert world.sync()["users_not_found"] == 3
    assert gone(world) == set()
    world.later(hours=21)
    counts = world.sync()

    assert counts["users_gone"] == 3
    assert gone(world) == leaving
    assert finished(world) == staying


def test_a_key_that_finds_no_user_is_noticed_before_anything_is_stored(new_world):
    """A first sync with the wrong key, where the list of an unknown user is empty, would look like a quiet week."""
    world = new_world("--test-key", "the-other-key", "--unknown-user-list", "empty")
    for _ in range(2):
        world.add_user(nights=2)
    with pytest.raises(KeyRejected, match="environment"):
        world.sync(key="the-other-key")

    assert finished(world) == set(), "the right key would find them just synced"
    world.sync()
    assert world.wrong() == []


def test_a_key_that_finds_no_user_deletes_no_old_session(world):
    """Still open a month ago, outside the window: asked for by itself, and unknown to the other environment."""
    world.add_nights(world.add_user(), world.ago(40), state="OPEN", epochs=100)
    world.sync(days=60)
    world.faults(
        {"kind": "wrong_types", "endpoint": "list_sessions", "changes": {"sleep_session_list": []}},
        {"kind": "status_404", "endpoint": "read_session", "message": "session does not exist"},
        {"kind": "missing_user", "endpoint": "read_user"},
    )
    with pytest.raises(KeyRejected):
        world.sync(days=7)

    assert world.rows("SELECT FROM asleep.sleep_sessions WHERE deleted_at IS NULL")


@pytest.mark.parametrize("users", [1, 2])
def test_a_key_that_finds_no_user_marks_no_user_as_gone(world, users):
    """Erased a month later, because of a mistyped key."""
    for _ in range(users):
        world.add_user(nights=2)
    world.sync()
    world.faults({"kind": "missing_user"})
    with pytest.raises(KeyRejected):
        world.sync()

    assert gone(world) == set()


def test_an_outage_marks_no_user_as_gone_and_loses_nothing(world):
    """Three are unknown, one cannot be asked: nobody knows, so all four are holes, tried again by the next run."""
    leaving = [world.add_user(nights=1) for _ in range(3)]
    other = world.add_user(nights=2)
    for user in leaving:
        world.api.ask(f"users/{user}/delete", {})
    world.faults({"kind": "status_503", "user": other})
    counts = world.sync()

    assert counts["users_failed"] == 4
    assert {(hole.user_id, hole.kind) for hole in world.missing_data()} == {
        (u, "unavailable") for u in (*leaving, other)
    }
    assert gone(world) == set()
    world.faults()
    assert world.sync()["users_not_found"] == 3
    world.later(hours=21)
    assert world.sync()["users_gone"] == 3
    assert world.missing_data() == []


def test_importing_a_user_again_takes_back_that_they_are_gone(world):
    """A person says so."""
    user = world.add_user(nights=1)
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.users SET gone_at = now()"))
        imported = Registry(connection).add([(user, None)])

    assert (imported.new, imported.updated) == (0, 1)
    assert gone(world) == set()
    assert world.sync()["sessions_inserted"] == 1


@pytest.mark.parametrize("mode", [Mode.LIST, Mode.STATISTICS])
@pytest.mark.parametrize("session", ["20261101140211_q7x4m", "oops"])
def test_a_session_named_by_an_event_alone_is_not_missing_when_the_api_has_none(world, mode, session):
    """Anybody with the key can name one; every run would be red for ever."""
    user = world.add_user(nights=2)
    fail(world, user, session)
    world.sync(mode=mode)

    assert world.missing_data() == []


def test_a_failed_reading_of_old_stages_does_not_widen_the_next_sync(world):
    """One session of last week would make a user's whole past be listed."""
    user = world.add_user()
    world.add_nights(user, *(world.ago(days) for days in (3, 4, 700, 900)))
    world.sync(days=7, mode=Mode.STATISTICS)
    session = world.rows("SELECT session_id FROM asleep.sleep_sessions")[0].session_id
    world.faults({"kind": "status_503", "endpoint": "read_session", "session": session})
    long_ago = date(2021, 1, 1)
    Syncing(world.engine, world.api.url)(long_ago, long_ago, retry_policy=HASTY, mode=Mode.FILL)
    assert len(world.missing_data()) == 1
    world.faults()
    world.api.reset()
    world.sync(days=7, mode=Mode.STATISTICS)

    lists = 1 + CONFIRMING_LIST
    assert world.api.requests() == {"average_stats": 1, "list_sessions": lists, "read_session": 1}
    assert world.missing_data() == []
    assert len(world.rows("SELECT FROM asleep.sleep_sessions")) == 2


def test_a_contradiction_stands_until_a_reconciliation_finds_it_mended(world):
    """A daily sync compares nothing, so it cannot say that all is well."""
    world.add_user(nights=4)
    world.sync()
    world.faults(
        {"kind": "wrong_types", "endpoint": "average_stats", "changes": {"slept_sessions.0.time_in_sleep": 17}}
    )
    world.sync(mode=Mode.RECONCILE)
    assert [hole.kind for hole in world.missing_data()] == ["disagrees"]
    world.api.reset()
    world.sync()
    assert [hole.kind for hole in world.missing_data()] == ["disagrees"]
    assert world.api.requests() == {"list_sessions": 1 + CONFIRMING_LIST}, "nor does it ask anything about it"
    world.faults()
    world.sync(mode=Mode.RECONCILE)

    assert world.missing_data() == []


def test_no_cycles_are_no_cycles_however_they_are_written(world):
    """The contract allows null and an empty list."""
    world.add_user(nights=2)
    in_full = {"kind": "wrong_types", "endpoint": "read_session", "changes": {"stat.sleep_cycle_time": None}}
    world.faults(in_full)
    world.sync()
    changes = {"slept_sessions.0.sleep_cycle_time": [], "slept_sessions.1.sleep_cycle_time": []}
    world.faults(in_full, {"kind": "wrong_types", "endpoint": "average_stats", "changes": changes})

    assert world.sync(mode=Mode.RECONCILE)["failures"] == 0


def test_statistics_show_deleted_sessions_without_sleep_too(new_world):
    """They are in a list of their own."""
    world = new_world("--users", "24", "--seed", "3")
    world.sync(mode=Mode.STATISTICS)
    session_id = world.rows(
        "SELECT session_id FROM asleep.sleep_sessions WHERE peculiarities = '{NEVER_SLEPT}' "
        "AND session_start_time > '2026-10-26' ORDER BY 1"
    )[0].session_id
    world.api.ask(f"sessions/{session_id}", method="DELETE")

    assert world.sync(mode=Mode.STATISTICS)["sessions_deleted"] == 1


def test_a_running_session_is_looked_after_where_only_statistics_are_read(world):
    """Stored by an event or before the setting was changed; no list would show that it is gone."""
    user = world.add_user()
    [old] = world.add_nights(user, world.ago(60), state="OPEN", epochs=100)
    [recent] = world.add_nights(user, world.ago(2), state="OPEN", epochs=100)
    world.sync(days=90)
    world.api.ask(f"sessions/{old}/complete", {})
    world.api.ask(f"sessions/{recent}", method="DELETE")
    world.sync(days=7, mode=Mode.STATISTICS)

    states = {
        row.session_id: (row.state, row.deleted_at is not None)
        for row in world.rows("SELECT * FROM asleep.sleep_sessions")
    }
    assert states == {old: ("COMPLETE", False), recent: ("OPEN", True)}


def test_times_and_zones_are_held_against_average_stats_as_well(world):
    """A finished session whose list row is never read again: outside the daily window only this can tell."""
    world.add_user(nights=3)
    world.sync()
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sleep_sessions SET created_timezone = 'UTC'"))
    counts = world.sync(mode=Mode.RECONCILE)

    assert (counts["sessions_updated"], counts["failures"]) == (3, 0)
    assert world.wrong() == []


def test_sleep_in_one_response_and_none_in_the_other_is_a_contradiction(world):
    """The session in full has hours of sleep; average-stats lists it among those without."""
    world.add_user(nights=2)
    world.sync()
    row = {"start_time": None, "end_time": None, "completed_time": None}
    session = world.rows("SELECT session_id, session_start_time FROM asleep.sleep_sessions ORDER BY 2")[0]
    row |= {"id": session.session_id, "start_time": session.session_start_time.isoformat()}
    changes = {"slept_sessions": [], "never_slept_sessions": [row], "average_stats": None}
    world.faults({"kind": "wrong_types", "endpoint": "average_stats", "changes": changes})
    world.sync(mode=Mode.RECONCILE)

    assert [(hole.kind, hole.session_id) for hole in world.missing_data()] == [("disagrees", session.session_id)]


def test_a_session_that_average_stats_name_is_not_deleted_after_one_404(world):
    """Two answers contradict each other: the list decides, with the next sync."""
    world.add_user(nights=2)
    world.sync()
    session = world.rows("SELECT session_id FROM asleep.sleep_sessions ORDER BY 1")[0].session_id
    world.api.ask(f"sessions/{session}/reanalyse", {})
    world.faults({"kind": "status_404", "endpoint": "read_session", "message": "session does not exist"})
    counts = world.sync(mode=Mode.RECONCILE)

    assert counts["sessions_deleted"] == 0
    assert [(hole.kind, hole.session_id) for hole in world.missing_data()] == [("session_gone", session)]
    world.faults()
    world.sync()
    assert world.missing_data() == []
    assert world.wrong() == []


def test_a_contradiction_does_not_hide_missing_data(world):
    """The check of holes would turn green over one that is still there."""
    user = world.add_user(nights=2)
    with world.engine.begin() as connection:
        record = [Failure(user, None, None, None, kind, kind, None) for kind in ("unavailable", "disagrees")]
        for failure in record:
            SyncState(connection).record_failures([failure])

    assert [(hole.kind, hole.attempts) for hole in world.missing_data()] == [("unavailable", 1)]
