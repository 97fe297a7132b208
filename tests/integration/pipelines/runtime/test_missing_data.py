"""A run must not be green while it left users out."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from pipelines.runtime.runs import range_tags
from resources.database.users.registry import Registry
from resources.load_sql import load_sql
from resources.pseudonyms import pseudonym
from tests.conftest import Simulator
from tests.end_to_end.dagster.conftest import days_back
from tests.integration.pipelines.runtime.conftest import failure_messages

DAYS = days_back(3)


@pytest.fixture(autouse=True)
def users(engine: Engine, api: Simulator) -> None:
    """Registered long ago."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE asleep.users, asleep.sync_failures, asleep.sync_ledger"))
        Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
        connection.execute(text("UPDATE asleep.users SET registered_at = now() - interval '10 days'"))


def not_synced(engine: Engine, since: datetime) -> int:
    with engine.connect() as connection:
        return connection.scalar(load_sql("assets.ops", "users_not_synced"), {"since": since}) or 0


def test_after_a_whole_run_no_user_is_left_out(run: Callable[..., dg.ExecuteInProcessResult], engine: Engine):
    """Those who failed count as asked: they have a check of their own."""
    began = datetime.now(UTC)

    assert run("sync_sleep_sessions", tags=range_tags(DAYS[0], DAYS[-1])).success

    assert not_synced(engine, began) == 0


def test_users_whose_batch_never_began_are_counted(engine: Engine):
    """Active, not gone, registered before, neither synced nor failed since."""
    now = datetime.now(UTC)
    with engine.begin() as connection:
        ids = connection.scalars(text("SELECT user_id FROM asleep.users ORDER BY 1")).all()
        for user_id, change in zip(
            ids,
            ("active = false", "gone_at = now()", "last_synced_at = now()", "registered_at = now()"),
            strict=False,
        ):
            connection.execute(text(f"UPDATE asleep.users SET {change} WHERE user_id = :id"), {"id": user_id})
        connection.execute(
            text("INSERT INTO asleep.sync_failures (user_id, kind, message) VALUES (:id, 'unavailable', 'x')"),
            {"id": ids[4]},
        )

    assert not_synced(engine, now - timedelta(hours=1)) == len(ids) - 5


def test_a_run_that_left_users_out_fails_and_names_the_remedy(
    run: Callable[..., dg.ExecuteInProcessResult], engine: Engine
):
    """Dagster once continued a dead run without two of three batches, and called it a success."""
    with engine.begin() as connection:
        connection.execute(
            text("CREATE FUNCTION asleep.forget() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"),
        )
        connection.execute(
            text("CREATE TRIGGER forget BEFORE UPDATE ON asleep.users FOR EACH ROW EXECUTE FUNCTION asleep.forget()")
        )
    try:
        result = run("sync_sleep_sessions", tags=range_tags(DAYS[0], DAYS[-1]))
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION asleep.forget CASCADE"))

    assert not result.success
    assert "Re-execute all" in failure_messages(result)[0]


@pytest.fixture
def broken(api: Simulator) -> Iterator[str]:
    """A user whose list cannot be read."""
    victim = str(api.ask("users")[0]["user_id"])
    api.ask("faults", [{"kind": "html_200", "user": victim}])
    yield victim
    api.ask("faults", method="DELETE")


def checked(result: dg.ExecuteInProcessResult) -> bool | None:
    """What `no_session_missing` said."""
    found = [c.passed for c in result.get_asset_check_evaluations() if c.check_name == "no_session_missing"]
    return found[0] if found else None


def named(*user_ids: str) -> dict[str, Any]:
    """Run config of `sync_named_users`."""
    config = {"first_day": DAYS[0], "last_day": DAYS[-1], "users": [pseudonym(user_id) for user_id in user_ids]}
    return {"ops": {"sync_some_users": {"config": config}}}


def test_a_sync_of_one_user_fails_for_missing_data_of_that_user_only(
    run: Callable[..., dg.ExecuteInProcessResult], api: Simulator, broken: str
):
    """The person who repairs one user reads who is missing, why, and what to type."""
    other = str(api.ask("users")[1]["user_id"])
    assert run("sync_named_users", run_config=named(other)).success

    [message] = failure_messages(run("sync_named_users", run_config=named(broken)))
    assert f"First: user {pseudonym(broken)}, malformed, " in message
    assert "`asleep-sync retry`" in message


def test_missing_data_count_while_their_user_is_active(
    run: Callable[..., dg.ExecuteInProcessResult], engine: Engine, broken: str
):
    """A user who shall not be synced is set inactive by hand; what was missing is not forgotten by that."""
    days = range_tags(DAYS[0], DAYS[-1])
    assert not run("sync_sleep_sessions", tags=days).success

    activate(engine, broken, active=False)
    assert checked(run("sync_sleep_sessions", tags=days)) is True

    activate(engine, broken, active=True)
    assert checked(run("sync_sleep_sessions", tags=days)) is False


def activate(engine: Engine, user_id: str, *, active: bool) -> None:
    with engine.begin() as connection:
        values = {"active": active, "id": user_id}
        connection.execute(text("UPDATE asleep.users SET active = :active WHERE user_id = :id"), values)


def test_a_retry_that_mends_everything_turns_the_check_green(
    run: Callable[..., dg.ExecuteInProcessResult], api: Simulator, instance: dg.DagsterInstance, broken: str
):
    """Whoever looks at the asset's page must not see yesterday's hole."""
    config = {"ops": {"sync_some_users": {"config": {"first_day": DAYS[0], "last_day": DAYS[-1], "failed_only": True}}}}

    def shown() -> Any:
        key = dg.AssetCheckKey(dg.AssetKey("sleep_sessions"), "no_session_missing")
        [record] = instance.event_log_storage.get_asset_check_execution_history(key, limit=1)
        assert record.event is not None
        return record.event.dagster_event.asset_check_evaluation_data.passed

    assert not run("sync_sleep_sessions", tags=range_tags(DAYS[0], DAYS[-1])).success
    assert shown() is False
    api.ask("faults", method="DELETE")
    assert run("retry_failures", run_config=config).success
    assert shown() is True
    assert broken


NAMED, RECONCILE = ("sync_named_users", "sync_some_users"), ("reconcile", "average_stats_reconciliation")


@pytest.mark.parametrize(
    ("job", "config", "message"),
    [
        (NAMED, {"users": ["0123456789abcdef"]}, "1 of 1 users in the run config"),
        (NAMED, {"users": []}, "0 of 0 users in the run config"),
        (NAMED, {"sessions": ["0123456789abcdef"]}, "1 of 1 sessions in the run"),
        (NAMED, {"first_day": DAYS[-1], "last_day": DAYS[0]}, "the earlier one first"),
        (NAMED, {"last_day": "2026-13-01"}, "write two dates as YYYY-MM-DD"),
        (RECONCILE, {"users": ["0123456789abcdef"]}, "1 of 1 users in the run config"),
        (RECONCILE, {"last_day": "yesterday"}, "write a date as YYYY-MM-DD"),
    ],
)
def test_a_run_that_names_what_is_not_there_fails_before_any_request(
    run: Callable[..., dg.ExecuteInProcessResult],
    api: Simulator,
    job: tuple[str, str],
    config: dict[str, Any],
    message: str,
):
    """A mistyped pseudonym in the launchpad once gave a run without any user, and a success."""
    name, op = job
    days = {"first_day": DAYS[0], "last_day": DAYS[-1]} if job is NAMED else {}
    before = api.ask("stats")["total"]

    result = run(name, run_config={"ops": {op: {"config": {**days, **config}}}})

    assert message in failure_messages(result)[0]
    assert api.ask("stats")["total"] == before


def test_a_run_with_a_flag_that_is_neither_true_nor_false_fails_before_any_request(
    run: Callable[..., dg.ExecuteInProcessResult], api: Simulator
):
    """The tag `asleep-sync/refetch` with the value `yes` was ignored, and nothing was read again."""
    before = api.ask("stats")["total"]

    result = run("sync_sleep_sessions", tags={**range_tags(DAYS[0], DAYS[-1]), "asleep-sync/refetch": "yes"})

    assert failure_messages(result)[0].startswith("Tag asleep-sync/refetch: the value must be true or false.")
    assert api.ask("stats")["total"] == before
