"""Two syncs at once, answers that are late, the cache of lists: the newest answer wins, and nothing is lost."""

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text

from resources.database.sync.sync_state import SyncState
from tests.integration.assets.sync.conftest import CONFIRMING_LIST


def test_two_syncs_at_once_leave_the_truth(new_world):
    """A person starts a run while the schedule's is under way: both write the same rows in any order."""
    world = new_world("--users", "12", "--days", "14", "--seed", "11")
    with ThreadPoolExecutor(3) as pool:
        runs = [pool.submit(world.sync, days=days, workers=4) for days in (16, 16, 3)]
        assert [run.result()["failures"] for run in runs] == [0, 0, 0]

    assert world.wrong(days=16) == []
    assert world.averages() == world.averages_from_nothing()


def test_syncs_and_averages_at_once_lose_no_month(new_world):
    """A month touched while averages are computed stays queued: the last computation sees all."""
    world = new_world("--users", "12", "--days", "14", "--seed", "11")
    with ThreadPoolExecutor(2) as pool:
        syncing = pool.submit(world.sync, days=16, workers=2)
        while not syncing.done():
            world.averages()
    assert syncing.result()["failures"] == 0
    assert world.averages() == world.averages_from_nothing()


def test_an_older_answer_that_arrives_late_does_not_overwrite_a_newer_one(world):
    """Read while it ran, stored after somebody else had stored its end."""
    user = world.add_user()
    [session] = world.add_nights(user, world.ago(1), state="CLOSED")

    def finish_meanwhile(attempt):
        if attempt.endpoint == "read_session" and not finished:
            finished.append(session)
            world.api.ask(f"sessions/{session}/complete", {})
            world.sync()

    finished = []
    world.sync(listeners=(finish_meanwhile,))

    assert world.wrong() == []
    assert world.rows("SELECT state FROM asleep.sleep_sessions")[0].state == "COMPLETE"


def test_inside_the_cache_time_only_users_who_changed_or_failed_are_listed(world):
    """The ledger is no excuse: a webhook or a failure makes the next run ask."""
    calm, changed, failed = (world.add_user(nights=2) for _ in range(3))
    world.faults({"kind": "not_json", "endpoint": "list_sessions", "user": failed})
    world.sync()
    world.faults()
    world.add_nights(changed, world.ago(0, hour=1))
    with world.engine.begin() as connection:
        SyncState(connection).expire_lists([changed])
    world.api.reset()
    counts = world.sync(cache_ttl_seconds=300.0)

    assert counts["users_fresh"] == 1
    assert world.api.requests() == {"list_sessions": 2 + CONFIRMING_LIST, "read_session": 3}
    assert world.wrong() == []
    assert calm


def test_a_wider_window_is_not_covered_by_the_cache_of_a_narrow_one(world):
    world.add_user(nights=20)
    world.sync(days=3)
    counts = world.sync(days=30, cache_ttl_seconds=300.0)
    assert counts["users_fresh"] == 0
    assert world.wrong() == []


def test_only_the_named_user_is_synced_although_inactive(world):
    """`--user` means that user, whatever the registry says about later runs."""
    from resources.pseudonyms import pseudonym

    user, other = world.add_user(nights=2), world.add_user(nights=2)
    with world.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.users SET active = false WHERE user_id = :u"), {"u": user})
    world.sync(pseudonyms=(pseudonym(user),))

    assert {row.user_id for row in world.rows("SELECT user_id FROM asleep.sleep_sessions")} == {user}
    world.sync()
    assert len(world.rows("SELECT FROM asleep.sleep_sessions WHERE user_id = :u", u=other)) == 2


def test_the_number_of_statements_does_not_grow_with_users_and_sessions(new_world):
    """One statement for each user would be thousands of round trips."""
    from sqlalchemy import event

    counted = []
    for users, nights in ((2, 4), (8, 12)):
        world = new_world()
        for _ in range(users):
            world.add_user(nights=nights)
        statements = []
        event.listen(world.engine, "before_cursor_execute", lambda *_, into=statements: into.append(_[2]))
        world.sync()
        counted.append(len(statements))
        assert world.wrong() == []
    assert counted[0] == counted[1]
