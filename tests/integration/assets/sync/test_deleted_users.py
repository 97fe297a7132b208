"""Users who leave the source leave here too, on the record, after a grace."""

from datetime import date, timedelta

import dagster as dg
import pytest
from sqlalchemy import text

from assets.export.export import ExportTarget
from assets.ops.deleted_users import Retention, erase_due_users, find_deleted_users
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database

LAST = date(2026, 11, 22)


@dg.job
def erase_deleted_users():
    erase_due_users(find_deleted_users())


@pytest.fixture
def run(instance, database_url):
    def run(url, days):
        resources = {
            "asleep_api": AsleepApi(url, "simulated-key", 1000.0, 4, 10.0),
            "database": Database(lambda: database_url),
            "export_target": ExportTarget(),
            "retention": Retention(erasure_grace=timedelta(days=days)),
        }
        result = erase_deleted_users.execute_in_process(resources=resources, instance=instance)
        assert result.success

    return run


def test_users_gone_or_to_be_deleted_are_erased_when_their_grace_is_over(simulate, syncing, engine, run):
    """A privacy officer must be able to show that, and when, a deletion arrived here."""
    with simulate("--users", "24", "--days", "20", "--seed", "5", "--now", "2026-11-22T09:00:00Z") as api:
        sync = syncing(api.url)
        users = api.ask("users")
        sync.register(users)
        sync(date(2026, 11, 1), LAST)
        leaving = {user["user_id"] for user in users if user["to_be_deleted"]}
        gone = next(user["user_id"] for user in users if user["sessions"] > 5 and user["user_id"] not in leaving)
        api.ask(f"users/{gone}/delete", {})

        run(api.url, 30)
        with engine.begin() as connection:
            connection.execute(text("UPDATE asleep.users SET not_found_since = not_found_since - interval '21 hours'"))
        run(api.url, 30)
        with engine.connect() as connection:
            kept = set(connection.scalars(text("SELECT user_id FROM asleep.sleep_sessions")))
            marked = set(connection.scalars(text("SELECT user_id FROM asleep.users WHERE to_be_deleted")))
        assert gone in kept
        assert marked == leaving

        run(api.url, 0)
        with engine.connect() as connection:
            left = set(connection.scalars(text("SELECT user_id FROM asleep.users")))
            erasures = connection.execute(text("SELECT reason, count(*) FROM asleep.erasures GROUP BY 1")).all()
            sessions = set(connection.scalars(text("SELECT user_id FROM asleep.sleep_sessions")))
        assert left == {user["user_id"] for user in users} - leaving - {gone}
        assert dict(tuple(row) for row in erasures) == {"gone": 1, "to_be_deleted": len(leaving)}
        assert sessions.isdisjoint(leaving | {gone})


def test_one_false_response_marks_no_user_as_gone(simulate, syncing, engine, run):
    """Whoever is called gone here is erased a month later."""
    with simulate("--users", "5", "--days", "5", "--seed", "6") as api:
        sync = syncing(api.url)
        sync.register(api.ask("users"))
        api.ask("faults", [{"kind": "missing_user", "endpoint": "read_user", "count": 1}])
        run(api.url, 30)
        ours = [user["user_id"] for user in api.ask("users")]
        query = text("SELECT count(*) FROM asleep.users WHERE gone_at IS NOT NULL AND user_id = ANY(:ours)")
        with engine.connect() as connection:
            assert connection.scalar(query, {"ours": ours}) == 0


def gone(engine):
    with engine.connect() as connection:
        return set(connection.scalars(text("SELECT user_id FROM asleep.users WHERE gone_at IS NOT NULL")))


def test_a_user_once_marked_as_gone_is_synced_again_when_the_api_returns_the_user(simulate, syncing, engine, run):
    """A mistake must mend itself before the grace is over."""
    with simulate("--users", "5", "--days", "5", "--seed", "6") as api:
        sync = syncing(api.url)
        sync.register(api.ask("users"))
        with engine.begin() as connection:
            connection.execute(text("UPDATE asleep.users SET gone_at = now() - interval '31 days'"))
        run(api.url, 30)

    assert gone(engine) == set()


def test_no_user_is_erased_while_the_api_finds_none(simulate, syncing, engine, run):
    """A key of the other environment sees no user at all, week after week."""
    with simulate("--users", "2", "--days", "5", "--seed", "7") as api:
        sync = syncing(api.url)
        sync.register(api.ask("users"))
        ours = {user["user_id"] for user in api.ask("users")}
        with engine.begin() as connection:
            connection.execute(text("DELETE FROM asleep.users WHERE user_id <> ALL (:ours)"), {"ours": list(ours)})
            connection.execute(text("UPDATE asleep.users SET gone_at = now() - interval '31 days'"))
        api.ask("faults", [{"kind": "missing_user"}])
        run(api.url, 30)

    assert gone(engine) == ours
