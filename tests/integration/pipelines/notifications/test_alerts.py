"""Alerts and heartbeats: when they are sent, and when not."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine, text

from pipelines.notifications.alert_sensors import (
    alert_on_api_outage,
    alert_on_run_failure,
    alert_on_silent_webhooks,
    heartbeat,
)
from pipelines.settings import Settings
from resources.database.resource import Database
from resources.notifications.deliver import ATTEMPTS, NotDelivered
from resources.rate_limit.shared_row import key_id_of
from tests.conftest import Simulator
from tests.integration.pipelines.runtime.conftest import KEY, api, definitions_for
from tests.listener import Listener, listening

__all__ = ["api"]


@pytest.fixture
def listener() -> Iterator[Listener]:
    """A listening chat."""
    with listening() as listener:
        yield listener


@pytest.fixture
def alert_of_failure(engine: Engine, api: Simulator, instance: dg.DagsterInstance) -> Callable[[str], None]:
    """`alert_of_failure(url)`: a run fails because the key is refused, and the sensor sends an alert."""

    def alert_of_failure(url: str) -> None:
        wrong = definitions_for(engine, api.url, asleep_api_key=("wrong-key",))
        result = wrong.resolve_job_def("sync_named_users").execute_in_process(
            instance=instance,
            raise_on_error=False,
            run_config={"ops": {"sync_some_users": {"config": {"first_day": "2026-01-01", "last_day": "2026-01-02"}}}},
        )
        (failure,) = result.filter_events(lambda event: event.event_type_value == "PIPELINE_FAILURE")
        sensor = alert_on_run_failure(Settings(_env_file=None, alert_webhook_url=url))  # type: ignore[call-arg]
        context = dg.build_run_status_sensor_context(
            "alert_on_run_failure", dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=failure
        ).for_run_failure()
        sensor(context)

    return alert_of_failure


@pytest.fixture(autouse=True)
def users(engine: Engine, api: Simulator) -> None:
    """Somebody to sync."""
    from resources.database.users.registry import Registry

    with engine.begin() as connection:
        Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])


def test_the_message_names_the_failure_the_reason_and_the_remedy(
    alert_of_failure: Callable[[str], None], listener: Listener
):
    """At three in the night a stack trace does not help."""
    alert_of_failure(listener.url)

    ((message,),) = [list(body.values()) for body in listener.heard]
    assert message.startswith("asleep-sync: sync_named_users failed (run ")
    assert "check ASLEEP_API_KEY" in message
    assert "wrong-key" not in message


def test_the_message_of_a_killed_run_says_so(listener: Listener, instance: dg.DagsterInstance):
    """Dagster's own message names neither the process nor where to look."""
    run = instance.add_run(dg.DagsterRun(job_name="any", status=dg.DagsterRunStatus.STARTED))
    failure = instance.report_run_failed(run)
    sensor = alert_on_run_failure(Settings(_env_file=None, alert_webhook_url=listener.url))  # type: ignore[call-arg]
    context = dg.build_run_status_sensor_context("any", failure, instance, run).for_run_failure()

    sensor(context)

    assert "its process was killed" in listener.heard[0]["text"]


def test_a_chat_that_is_down_or_moved_is_an_error_of_the_sensor(
    alert_of_failure: Callable[[str], None], listener: Listener
):
    """It shows as a failed tick; a redirect is not followed, for the address itself is a secret."""
    listener.status = 302

    with pytest.raises(NotDelivered, match="status 302"):
        alert_of_failure(listener.url)

    assert len(listener.heard) == ATTEMPTS


def test_a_chat_that_is_busy_for_a_moment_gets_the_message(alert_of_failure: Callable[[str], None], listener: Listener):
    """Dagster's sensor does not come back to a run that it has alerted of."""
    listener.first = [503]

    alert_of_failure(listener.url)

    assert len(listener.heard) == 2


def silence(engine: Engine, listener: Listener, instance: dg.DagsterInstance, cursor: str | None) -> str | None:
    """Run the sensor once; its cursor afterwards."""
    sensor = alert_on_silent_webhooks(Settings(_env_file=None, alert_webhook_url=listener.url))  # type: ignore[call-arg]
    database = Database(lambda: engine.url.render_as_string(hide_password=False))
    with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"database": database}) as context:
        sensor(context)
        return context.cursor


def test_webhooks_that_fall_silent_are_alerted_once(engine: Engine, listener: Listener, instance: dg.DagsterInstance):
    """A callback address lost in an app's release stops every event, and no error shows it."""

    def receive(body: str, hours_ago: int) -> None:
        with engine.begin() as connection:
            connection.execute(
                text(
                    "INSERT INTO asleep.webhook_events (body_hash, headers, body, received_at) "
                    "VALUES (CAST(:body AS bytea), '{}', CAST(:body AS bytea), :received_at)"
                ),
                {"body": body, "received_at": datetime.now(UTC) - timedelta(hours=hours_ago)},
            )

    cursor = silence(engine, listener, instance, None)
    assert listener.heard == []
    receive("old", 25)
    cursor = silence(engine, listener, instance, cursor)
    cursor = silence(engine, listener, instance, cursor)
    ((message,),) = [list(body.values()) for body in listener.heard]
    assert message.startswith("asleep-sync: no webhook event since ")
    receive("new", 0)
    silence(engine, listener, instance, cursor)
    assert len(listener.heard) == 1


@pytest.mark.parametrize(("schedule", "expected"), [("daily_sync", ["/beat"]), (None, []), ("monthly_close", [])])
def test_the_daily_sync_sends_a_sign_of_life(
    listener: Listener, instance: dg.DagsterInstance, schedule: str | None, expected: list[str]
):
    """Only an outside monitor notices that the daemon's machine is gone; other runs must not stand in for the sync."""

    @dg.job(name="sync_sleep_sessions", tags={"dagster/schedule_name": schedule} if schedule else {})
    def job() -> None:
        """Stands for the sync."""

    result = job.execute_in_process(instance=instance)
    (success,) = result.filter_events(lambda event: event.event_type_value == "PIPELINE_SUCCESS")
    sensor = heartbeat(Settings(_env_file=None, heartbeat_url=f"{listener.url}/beat"))  # type: ignore[call-arg]
    sensor(
        dg.build_run_status_sensor_context(
            "heartbeat", dagster_instance=instance, dagster_run=result.dagster_run, dagster_event=success
        )
    )
    assert listener.requested == expected


def outage(engine: Engine, *, lasted: timedelta | None) -> None:
    """The circuit breaker as requests that failed for so long leave it; closed without."""
    now = datetime.now(UTC).timestamp()
    began = now - lasted.total_seconds() if lasted else now
    values = {"key": key_id_of(KEY), "circuit": "open" if lasted else "closed", "began": began, "failed": now}
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.rate_limits"))
        connection.execute(
            text(
                "INSERT INTO asleep.rate_limits (key_id, requests_per_second, circuit, circuit_since, failed_at) "
                "VALUES (:key, 50, :circuit, :began, :failed)"
            ),
            values,
        )


def test_an_outage_of_the_api_is_alerted_once_and_its_end_once(
    engine: Engine, listener: Listener, instance: dg.DagsterInstance
):
    """Events that need a request wait meanwhile, and no run fails."""
    settings = Settings(_env_file=None, alert_webhook_url=listener.url, asleep_api_key=(SecretStr(KEY),))  # type: ignore[call-arg]
    end = datetime(2026, 1, 2, 3, 4, tzinfo=UTC)
    sensor = alert_on_api_outage(settings, clock=lambda: end)
    database = Database(lambda: engine.url.render_as_string(hide_password=False))
    cursor: str | None = None

    def heard_after(lasted: timedelta | None) -> list[str]:
        nonlocal cursor
        outage(engine, lasted=lasted)
        listener.heard.clear()
        with dg.build_sensor_context(instance=instance, cursor=cursor, resources={"database": database}) as context:
            sensor(context)
            cursor = context.cursor
        return [body["text"] for body in listener.heard]

    assert heard_after(None) == []
    assert heard_after(timedelta(seconds=110)) == [], "shorter outages are no alert"
    began = f"{datetime.now(UTC) - timedelta(minutes=3):%Y-%m-%d %H:%M} UTC"
    assert [message.splitlines()[0] for message in heard_after(timedelta(minutes=3))] == [
        f"asleep-sync: the Asleep API has not answered since {began}"
    ]
    assert heard_after(timedelta(minutes=4)) == []
    assert heard_after(None) == [
        f"asleep-sync: the Asleep API answers again since 2026-01-02 03:04 UTC; the outage began at {began}"
    ]
    assert heard_after(None) == []
