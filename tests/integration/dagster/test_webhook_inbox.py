"""Webhook events from the inbox into the tables: stored, fetched, refused, never lost."""

import json
import threading
from collections.abc import Callable
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from assets.webhook_inbox import chunks_due
from pipelines.run_tags import range_tags
from pipelines.sensors import waiting_events
from resources.asleep.events import pseudonym
from resources.asleep.resource import AsleepApi
from resources.asleep.transport import Patience
from resources.database.inbox import IncomingEvent, put_events
from resources.database.registry import import_users
from resources.database.resource import Database
from tests.conftest import Simulator
from tests.integration.dagster.conftest import KEY, definitions_for, failure_messages

Runner = Callable[..., dg.ExecuteInProcessResult]
JOB = "process_webhook_events"


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    """Every test begins with empty tables."""
    tables = "users, sleep_sessions, session_payloads, monthly_averages, touched_months, sync_failures, webhook_events"
    with engine.begin() as connection:
        connection.execute(
            text(
                f"TRUNCATE {', '.join(f'asleep.{t}' for t in tables.split(', '))}, asleep.sync_ledger, asleep.erasures"
            )
        )


@pytest.fixture(scope="module")
def finished(api: Simulator) -> list[tuple[str, str]]:
    """Users and their finished sessions."""
    truth = api.ask("truth")["users"]
    return [
        (user["user_id"], session["row"]["session_id"])
        for user in truth
        for session in user["sessions"]
        if session["result"]["session"]["state"] == "COMPLETE"
    ]


def result_of(api: Simulator, engine: Engine, user_id: str, session_id: str) -> dict[str, Any]:
    """The session as the API answers."""
    asleep = AsleepApi(base_url=api.url, key=KEY, requests_per_second=1000, max_connections=2, timeout_seconds=10)
    with asleep.client(engine) as client:
        found: dict[str, Any] = json.loads(client.read_session(user_id, session_id).raw)
    return found


def put(engine: Engine, *bodies: Any) -> None:
    """Events arrive."""
    events = [IncomingEvent(json.dumps(body).encode(), {"content-type": "application/json"}) for body in bodies]
    with engine.begin() as connection:
        put_events(connection, events)


def complete(user_id: str, result: dict[str, Any]) -> dict[str, Any]:
    """A SESSION_COMPLETE event, version 3."""
    return {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user_id, **result}}


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)))


def test_a_whole_event_is_stored_without_asking_the_api(
    run: Runner, engine: Engine, api: Simulator, finished: list[tuple[str, str]]
):
    """A night is on the analyst's screen seconds after it ended, and costs no request."""
    user_id, session_id = finished[0]
    put(engine, complete(user_id, result_of(api, engine, user_id, session_id)))
    api.reset()

    assert run(JOB).success

    assert api.requests() == {}
    assert rows(engine, "SELECT user_id, source FROM asleep.users") == [(user_id, "webhook")]
    assert rows(engine, "SELECT session_id, state FROM asleep.sleep_sessions") == [(session_id, "COMPLETE")]
    assert rows(engine, "SELECT count(*), count(processed_at), count(error) FROM asleep.webhook_events") == [(1, 1, 0)]


def test_the_month_of_an_event_is_summarised_at_once(
    run: Runner, engine: Engine, api: Simulator, finished: list[tuple[str, str]], instance: dg.DagsterInstance
):
    """Averages that lag a day behind their sessions would look wrong."""
    user_id, session_id = finished[0]
    put(engine, complete(user_id, result_of(api, engine, user_id, session_id)))

    run(JOB)

    (month,) = rows(engine, "SELECT month, sessions FROM asleep.monthly_averages")
    assert month.sessions == 1
    months = dg.AssetKey("monthly_averages")
    assert instance.get_materialized_partitions(months) == {month.month.isoformat()}
    for run_of_events in instance.get_runs():
        instance.delete_run(run_of_events.run_id)
    assert instance.get_materialized_partitions(months) == {month.month.isoformat()}, "old runs are cleared away"


def test_an_event_without_a_result_makes_us_ask_for_just_that_session(
    run: Runner, engine: Engine, api: Simulator, finished: list[tuple[str, str]]
):
    """Older app versions send the ids only."""
    user_id, session_id = finished[0]
    event = {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user_id, "session_id": session_id}}
    put(engine, event, {**event, "version": "V2"})
    api.reset()

    assert run(JOB).success

    assert api.requests() == {"read_session": 1}, "two events of one session are one question"
    assert rows(engine, "SELECT session_id FROM asleep.sleep_sessions") == [(session_id,)]


def test_an_event_during_the_night_stores_no_session(run: Runner, engine: Engine, finished: list[tuple[str, str]]):
    """Preliminary stages must never look final; the user is known from then on, though."""
    user_id, _ = finished[0]
    data = {"user_id": user_id, "session_id": "20260101000000_aaaaa", "seq_num": 39, "sleep_stages": [0] * 10}
    put(engine, {"event": "INFERENCE_COMPLETE", "version": "V3", "data": data})

    assert run(JOB).success

    assert rows(engine, "SELECT count(*) FROM asleep.sleep_sessions") == [(0,)]
    assert rows(engine, "SELECT user_id FROM asleep.users") == [(user_id,)]


def test_an_event_that_names_nobody_is_given_up_and_shown(run: Runner, engine: Engine):
    """It must not come back every minute, nor make every night's run red: a person looks at it once."""
    put(engine, {"event": "SESSION_COMPLETE", "data": {}})

    assert run(JOB).success

    assert rows(engine, "SELECT user_id, kind FROM asleep.sync_failures") == [("", "webhook_event")]
    synced = run("sync_sleep_sessions", tags=range_tags("2026-01-01", "2026-01-02"))
    assert synced.success
    checks = {check.check_name: check.passed for check in synced.get_asset_check_evaluations()}
    assert not checks["no_event_given_up"]
    assert checks["no_session_missing"]


def test_events_come_back_later_when_the_api_is_away(run: Runner, engine: Engine):
    """An outage of the API must not use up an event's attempts."""
    put(engine, {"event": "SESSION_COMPLETE", "data": {"user_id": "U", "session_id": "20260101000000_aaaaa"}})
    hasty = Patience(total_seconds=2, broken_attempts=2, garbled_attempts=2, first_pause_seconds=0.01)
    away = AsleepApi(
        base_url="http://127.0.0.1:9", key="k", requests_per_second=1000, max_connections=2, timeout_seconds=1,
        patience=hasty,
    )  # fmt: skip

    assert run(JOB, resources={"asleep_api": away}).success

    assert rows(engine, "SELECT attempts, processed_at, next_attempt_at > now() FROM asleep.webhook_events") == [
        (0, None, True)
    ]


def test_a_refused_key_stops_the_run_and_gives_the_events_back(
    engine: Engine, api: Simulator, instance: dg.DagsterInstance, finished: list[tuple[str, str]]
):
    """Nothing is lost while somebody renews a plan."""
    user_id, session_id = finished[0]
    put(engine, {"event": "SESSION_COMPLETE", "data": {"user_id": user_id, "session_id": session_id}})
    wrong = definitions_for(engine, api.url, asleep_api_key=("wrong-key",))

    result = wrong.resolve_job_def(JOB).execute_in_process(instance=instance, raise_on_error=False)

    assert not result.success
    assert "ASLEEP_API_KEY" in failure_messages(result)[0]
    assert rows(engine, "SELECT attempts, processed_at FROM asleep.webhook_events") == [(0, None)]


def test_an_erased_user_does_not_come_back_by_an_event(
    run: Runner, engine: Engine, api: Simulator, finished: list[tuple[str, str]]
):
    """Erasure is on the record; a late event must not undo it."""
    user_id, session_id = finished[0]
    put(engine, complete(user_id, result_of(api, engine, user_id, session_id)))
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.erasures (user_pseudonym, reason, rows_removed) VALUES (:name, 'requested', '{}')"
            ),
            {"name": pseudonym(user_id)},
        )

    assert run(JOB).success

    for table in ("users", "sleep_sessions", "webhook_events"):
        assert rows(engine, f"SELECT count(*) FROM asleep.{table}") == [(0,)], table


def test_a_night_in_an_unknown_zone_has_the_date_of_the_users_last_known_one(
    run: Runner, engine: Engine, api: Simulator
):
    """Seven in the evening in London is the next morning in Seoul; a list would not correct it later."""
    user_id = api.ask("users", {"timezone": "Asia/Seoul"})["user_id"]
    [made] = api.ask("sessions", [{"user_id": user_id, "start": "2026-10-01T20:00:00+00:00", "zone": "Not/AZone"}])
    with engine.begin() as connection:
        import_users(connection, [(user_id, "Asia/Seoul")])
    put(engine, complete(user_id, result_of(api, engine, user_id, made["session_id"])))

    assert run(JOB).success

    assert [str(row.local_date) for row in rows(engine, "SELECT local_date FROM asleep.sleep_sessions")] == [
        "2026-10-02"
    ]


def test_what_comes_while_events_are_handled_is_handled_by_the_same_run(engine: Engine):
    """Nights end together: a run for each would start a process every few seconds."""
    put(engine, {"number": 1})
    chunks = chunks_due(engine, idle_seconds=0)

    first = next(chunks)
    put(engine, {"number": 2})
    second = next(chunks)

    assert [json.loads(event.body)["number"] for event in (*first, *second)] == [1, 2]
    assert next(chunks, None) is None, "with nothing more to come the run ends"


def test_a_run_that_stays_takes_an_event_as_soon_as_it_comes(engine: Engine):
    """Within seconds of the night's end its row is there."""
    later = threading.Timer(0.2, put, (engine, {"number": 1}))
    later.start()

    (event,) = next(chunks_due(engine, idle_seconds=60))

    later.join()
    assert json.loads(event.body) == {"number": 1}


def test_the_sensor_asks_for_a_run_that_stays(
    engine: Engine, definitions: dg.Definitions, instance: dg.DagsterInstance
):
    """Only while something is due, and never for two at once."""
    database = Database(lambda: engine.url.render_as_string(hide_password=False))
    sensor = waiting_events(enabled=True)

    def look() -> Any:
        return sensor(dg.build_sensor_context(instance=instance), database=database)

    assert isinstance(look(), dg.SkipReason)
    put(engine, {"number": 1})
    request = look()
    job = definitions.resolve_job_def(JOB)
    assert request.run_config["ops"]["handle_events"]["config"]["idle_seconds"] > 0
    assert dg.validate_run_config(job, request.run_config)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(look(), dg.SkipReason)
