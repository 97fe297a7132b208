"""Webhook events from the inbox into the tables: stored, fetched, refused, never lost."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text

from assets.ops.failures import stopped
from assets.sync.session_rows import session_row
from assets.webhooks.events import Chunk
from assets.webhooks.inbox_loop import handle_inbox
from pipelines.runtime.runs import range_tags
from pipelines.sensors import HANDOVER, webhook_inbox
from resources.asleep.parsing import parse_session_result
from resources.asleep.resource import AsleepApi
from resources.asleep.transport import RetryPolicy
from resources.database.resource import Database
from resources.database.service.inbox import MAX_ATTEMPTS, Inbox, IncomingEvent, TakenEvent
from resources.database.sync.upsert import upsert_sessions
from resources.database.users.erase import Erasures
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym
from tests.conftest import Simulator
from tests.integration.pipelines.runtime.conftest import KEY, definitions_for, failure_messages

Runner = Callable[..., dg.ExecuteInProcessResult]
JOB = "process_webhook_events"


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> None:
    """Every test begins with empty tables."""
    tables = (
        "users, sleep_sessions, session_payloads, monthly_averages, stale_months, sync_failures, webhook_events, "
        "sync_ledger, erasures, event_only_sessions"
    )
    with engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {', '.join(f'asleep.{t}' for t in tables.split(', '))}"))


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
    raw = [body if isinstance(body, bytes) else json.dumps(body).encode() for body in bodies]
    events = [IncomingEvent(body, {"content-type": "application/json"}) for body in raw]
    with engine.begin() as connection:
        Inbox(connection).put(events)


def complete(user_id: str, result: dict[str, Any]) -> dict[str, Any]:
    """A SESSION_COMPLETE event, version 3."""
    return {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user_id, **result}}


def rows(engine: Engine, query: str) -> list[Any]:
    with engine.connect() as connection:
        return list(connection.execute(text(query)))


def test_a_complete_event_is_stored_without_a_request(run: Runner, engine: Engine, api: Simulator):
    """A night is on the analyst's screen seconds after it ended, and costs no request."""
    [(user_id, result)] = recent(api, engine)
    session_id = result["session"]["id"]
    put(engine, complete(user_id, result))
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


def test_an_event_without_a_user_is_given_up_and_shown(run: Runner, engine: Engine):
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
    hasty = RetryPolicy(total_seconds=2, broken_attempts=2, garbled_attempts=2, first_pause_seconds=0.01)
    away = AsleepApi(
        base_url="http://127.0.0.1:9", key="k", requests_per_second=1000, max_connections=2, timeout_seconds=1,
        retry_policy=hasty,
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
        Registry(connection).add([(user_id, "Asia/Seoul")])
    put(engine, complete(user_id, result_of(api, engine, user_id, made["session_id"])))

    assert run(JOB).success

    assert [str(row.local_date) for row in rows(engine, "SELECT local_date FROM asleep.sleep_sessions")] == [
        "2026-10-02"
    ]


def numbers(taken: Sequence[TakenEvent]) -> list[int]:
    return [json.loads(event.body)["number"] for event in taken]


def test_what_comes_while_events_are_handled_is_handled_by_the_same_run(engine: Engine):
    """Nights end together: a run for each would start a process every few seconds."""
    put(engine, {"number": 1})
    seen: list[int] = []

    def store(taken: Sequence[TakenEvent]) -> Counter[str]:
        seen.extend(numbers(taken))
        if seen == [1]:
            put(engine, {"number": 2})
        return Counter(stored=len(taken))

    counts = handle_inbox(engine, store, None, idle_seconds=0)

    assert seen == [1, 2], "with nothing more to come the run ends"
    assert counts == {"events": 2, "stored": 2}


def test_a_run_that_stays_takes_an_event_as_soon_as_it_comes(engine: Engine):
    """Within seconds of the night's end its row is there."""
    later = threading.Timer(0.2, put, (engine, {"number": 1}))
    later.start()

    class Stored(Exception):
        """Ends the run, which would stay for a minute."""

    def store(taken: Sequence[TakenEvent]) -> Counter[str]:
        assert numbers(taken) == [1]
        raise Stored

    with pytest.raises(Stored):
        handle_inbox(engine, store, None, idle_seconds=60)
    later.join()


def test_the_sensor_launches_a_run_that_stays(
    engine: Engine, definitions: dg.Definitions, instance: dg.DagsterInstance
):
    """Only while something is due, and never for two at once."""
    database = Database(lambda: engine.url.render_as_string(hide_password=False))

    def look(later: timedelta = timedelta(0)) -> Any:
        sensor = webhook_inbox(enabled=True, clock=lambda: datetime.now(UTC) + later)
        return sensor(dg.build_sensor_context(instance=instance), database=database)

    assert isinstance(look(), dg.SkipReason)
    put(engine, {"number": 1})
    request = look()
    job = definitions.resolve_job_def(JOB)
    assert request.run_config["ops"]["handle_events"]["config"]["idle_seconds"] > 0
    assert dg.validate_run_config(job, request.run_config)
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(look(), dg.SkipReason)
    assert isinstance(look(later=HANDOVER), dg.RunRequest), "the first one is about to end"
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.STARTED)
    assert isinstance(look(later=HANDOVER), dg.SkipReason)


def test_an_event_that_a_run_leaves_lying_starts_another_run(
    engine: Engine, definitions: dg.Definitions, instance: dg.DagsterInstance
):
    """The process of a run can die in a way that Dagster does not notice; the run looks started for ever."""
    database = Database(lambda: engine.url.render_as_string(hide_password=False))
    put(engine, {"number": 1})
    instance.create_run_for_job(definitions.resolve_job_def(JOB), status=dg.DagsterRunStatus.STARTED)

    def look() -> Any:
        return webhook_inbox(enabled=True)(dg.build_sensor_context(instance=instance), database=database)

    assert isinstance(look(), dg.SkipReason)
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.webhook_events SET next_attempt_at = now() - interval '1 minute'"))
    assert isinstance(look(), dg.RunRequest)


def test_while_the_account_is_rejected_only_complete_events_are_handled(
    engine: Engine, definitions: dg.Definitions, instance: dg.DagsterInstance, run: Runner, api: Simulator
):
    """Nights that need no request must not wait until a plan is renewed."""
    [(user_id, result)] = recent(api, engine)
    put(engine, {"event": "SESSION_COMPLETE", "data": {"user_id": "U", "session_id": "20260101000000_aaaaa"}})
    put(engine, complete(user_id, result))
    refused = stopped("00000000-0000-0000-0000-000000000001", "plan_expired")
    job = definitions.resolve_job_def("sync_sleep_sessions")
    instance.create_run_for_job(job, status=dg.DagsterRunStatus.FAILURE, tags=refused)
    database = Database(lambda: engine.url.render_as_string(hide_password=False))

    def look() -> Any:
        return webhook_inbox(enabled=True)(dg.build_sensor_context(instance=instance), database=database)

    config = look().run_config["ops"]["handle_events"]["config"]
    api.reset()
    assert run(JOB, run_config={"ops": {"handle_events": {"config": {**config, "idle_seconds": 0}}}}).success

    assert api.requests() == {}
    assert rows(engine, "SELECT count(*) FROM asleep.sleep_sessions") == [(1,)]
    assert rows(engine, "SELECT attempts FROM asleep.webhook_events WHERE processed_at IS NULL") == [(0,)]
    assert isinstance(look(), dg.SkipReason), "what is left must ask"


def recent(api: Simulator, engine: Engine, nights: int = 1, days_ago: int = 2) -> list[tuple[str, dict[str, Any]]]:
    """A new user's finished nights, as the API answers them."""
    user_id = str(api.ask("users", {"timezone": "Asia/Seoul"})["user_id"])
    first = datetime.now(UTC).replace(hour=14, minute=0, second=0, microsecond=0) - timedelta(days=days_ago + nights)
    orders = [{"user_id": user_id, "start": (first + timedelta(days=n)).isoformat()} for n in range(nights)]
    made = api.ask("sessions", orders)
    return [(user_id, result_of(api, engine, user_id, each["session_id"])) for each in made]


def sync_of_last_days(run: Runner) -> dg.ExecuteInProcessResult:
    today = datetime.now(UTC).date()
    return run("sync_sleep_sessions", tags=range_tags((today - timedelta(days=8)).isoformat(), today.isoformat()))


def test_what_an_event_brought_is_read_once_by_the_next_sync(run: Runner, engine: Engine, api: Simulator):
    """Whoever has the key of an app can tell us anything; the API has the last word."""
    [(user_id, result)] = recent(api, engine)
    truth = result["stat"]["sleep_index"]
    put(engine, complete(user_id, {**result, "stat": {**result["stat"], "sleep_index": truth - 1}}))
    assert run(JOB).success
    assert rows(engine, "SELECT sleep_index FROM asleep.sleep_sessions") == [(truth - 1,)]
    api.reset()

    assert sync_of_last_days(run).success
    assert rows(engine, "SELECT sleep_index FROM asleep.sleep_sessions") == [(truth,)]
    assert api.requests()["read_session"] == 1
    api.reset()
    assert sync_of_last_days(run).success
    assert "read_session" not in api.requests(), "once is enough"


def test_bodies_that_contradict_each_other_are_put_to_the_api(run: Runner, engine: Engine, api: Simulator):
    """The later one is not the truer one."""
    [(user_id, result)] = recent(api, engine)
    for wrong in (1, 2):
        put(engine, complete(user_id, {**result, "stat": {**result["stat"], "sleep_index": wrong}}))
    api.reset()

    assert run(JOB).success

    assert api.requests() == {"read_session": 1}
    assert rows(engine, "SELECT sleep_index FROM asleep.sleep_sessions") == [(result["stat"]["sleep_index"],)]


@pytest.mark.parametrize("start", ["2015-03-01T14:00:00+00:00", "2099-03-01T14:00:00+00:00"])
def test_a_night_of_another_time_is_requested(run: Runner, engine: Engine, api: Simulator, start: str):
    """No sync of the last days would ever look at it again."""
    [(user_id, result)] = recent(api, engine)
    made_up = {**result["session"], "id": "20150301140000_aaaaa", "start_time": start}
    put(engine, complete(user_id, {**result, "session": made_up}))

    assert run(JOB).success

    assert rows(engine, "SELECT count(*) FROM asleep.sleep_sessions") == [(0,)]


def become_due(engine: Engine) -> None:
    """Let the pause before the next attempt pass."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.webhook_events SET next_attempt_at = now()"))


def test_a_session_that_is_not_found_for_a_moment_is_stored_later(run: Runner, engine: Engine, api: Simulator):
    """No sync lists the days of an old session again, so one wrong 404 would lose it."""
    [(user_id, result)] = recent(api, engine, days_ago=200)
    session_id = result["session"]["id"]
    put(engine, {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user_id, "session_id": session_id}})
    api.ask("faults", [{"kind": "missing_session", "session": session_id}])
    run(JOB)
    assert rows(engine, "SELECT attempts, processed_at FROM asleep.webhook_events") == [(1, None)]
    api.ask("faults", method="DELETE")
    become_due(engine)
    run(JOB)

    assert rows(engine, "SELECT session_id FROM asleep.sleep_sessions") == [(session_id,)]


def test_a_session_that_is_never_found_counts_as_deleted_after_the_last_attempt(
    run: Runner, engine: Engine, api: Simulator
):
    """It was deleted after the event, or the event invented it: nothing for a person to look at."""
    [(user_id, result)] = recent(api, engine)
    put(engine, complete(user_id, {**result, "session": {"id": "20260101140000_aaaaa"}}))
    for _ in range(MAX_ATTEMPTS):
        become_due(engine)
        run(JOB)

    assert rows(engine, "SELECT attempts FROM asleep.webhook_events WHERE processed_at IS NOT NULL") == [
        (MAX_ATTEMPTS,)
    ]
    assert rows(engine, "SELECT FROM asleep.missing_data") == []


def meanwhile(monkeypatch: pytest.MonkeyPatch, change: Callable[[], None]) -> None:
    """Let something happen after events were read and before what they bring is written."""
    read_chunk = Chunk.read

    def read(engine: Engine, taken: Sequence[TakenEvent]) -> Any:
        chunk = read_chunk(engine, taken)
        change()
        return chunk

    monkeypatch.setattr(Chunk, "read", read)


def test_a_session_that_became_another_users_is_tried_again(
    run: Runner, engine: Engine, api: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """Its row may not be written, so the event may not count as done."""
    [(user_id, result)] = recent(api, engine)
    put(engine, complete(user_id, result))

    def stored_for_another() -> None:
        session = parse_session_result(result, user_id="G-other", asked_at=datetime.now(UTC))
        with engine.begin() as connection:
            Registry(connection).add([("G-other", None)])
            upsert_sessions(connection, [session_row(session)])

    meanwhile(monkeypatch, stored_for_another)
    run(JOB)

    assert rows(engine, "SELECT user_id FROM asleep.sleep_sessions") == [("G-other",)]
    assert rows(engine, "SELECT processed_at FROM asleep.webhook_events") == [(None,)]


def test_a_user_who_is_erased_meanwhile_stays_away(
    run: Runner, engine: Engine, api: Simulator, monkeypatch: pytest.MonkeyPatch
):
    """Requests take time: what they bring must not undo an erasure."""
    [(user_id, result)] = recent(api, engine)
    put(engine, complete(user_id, result))
    with engine.begin() as connection:
        Registry(connection).add([(user_id, None)])

    def erased() -> None:
        with engine.begin() as connection:
            Erasures(connection).erase(user_id, "requested")

    meanwhile(monkeypatch, erased)
    run(JOB)

    assert rows(engine, "SELECT FROM asleep.sleep_sessions") == rows(engine, "SELECT FROM asleep.users") == []


def test_one_event_that_cannot_be_handled_spoils_no_other(run: Runner, engine: Engine, api: Simulator):
    """Two hundred good nights were given up with it, unread."""
    nights = recent(api, engine, nights=4)
    bad = nights[2][1]["session"]["id"]
    put(engine, *(complete(user_id, result) for user_id, result in nights))
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE FUNCTION asleep.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"IF NEW.session_id = '{bad}' THEN RAISE 'no' USING ERRCODE = 'check_violation'; END IF; "
                "RETURN NEW; END $$"
            )
        )
        connection.execute(
            text(
                "CREATE TRIGGER refuse BEFORE INSERT ON asleep.sleep_sessions "
                "FOR EACH ROW EXECUTE FUNCTION asleep.refuse()"
            )
        )
    try:
        assert run(JOB).success
    finally:
        with engine.begin() as connection:
            connection.execute(text("DROP FUNCTION asleep.refuse CASCADE"))

    stored = {row.session_id for row in rows(engine, "SELECT session_id FROM asleep.sleep_sessions")}
    assert stored == {result["session"]["id"] for _, result in nights} - {bad}
    [failed] = rows(engine, "SELECT attempts, error FROM asleep.webhook_events WHERE error IS NOT NULL")
    assert failed.attempts == 1
    assert "IntegrityError" in failed.error


def test_a_body_nested_too_deeply_is_requested(run: Runner, engine: Engine, api: Simulator):
    """What cannot be kept as it came is not stored as it came."""
    [(user_id, result)] = recent(api, engine)
    nested = b'{"deeper":' * 980 + b"{}" + b"}" * 980  # every Python reads it; its copy exceeds 1,000 frames in each
    put(engine, json.dumps(complete(user_id, {**result, "unknown": "here"})).encode().replace(b'"here"', nested))
    api.reset()

    assert run(JOB).success

    assert api.requests() == {"read_session": 1}
    assert rows(engine, "SELECT count(*) FROM asleep.sleep_sessions") == [(1,)]


def test_a_session_that_the_api_cannot_serve_is_given_up_in_the_end_and_its_user_known(
    run: Runner, engine: Engine, api: Simulator
):
    """Asked for every minute for ever, it would open the circuit for everybody."""
    [(user_id, result)] = recent(api, engine)
    api.ask("faults", [{"kind": "status_500", "endpoint": "read_session"}])
    hasty = RetryPolicy(total_seconds=5, broken_attempts=1, garbled_attempts=1, first_pause_seconds=0.01)
    asleep = AsleepApi(
        base_url=api.url, key=KEY, requests_per_second=1000, max_connections=1, timeout_seconds=5, retry_policy=hasty
    )
    put(engine, {"event": "SESSION_COMPLETE", "data": {"user_id": user_id, "session_id": result["session"]["id"]}})
    try:
        for _ in range(5):
            assert run(JOB, resources={"asleep_api": asleep}).success
            with engine.begin() as connection:
                connection.execute(text("UPDATE asleep.webhook_events SET next_attempt_at = now()"))
                connection.execute(text("DELETE FROM asleep.rate_limits"))
    finally:
        api.ask("faults", method="DELETE")

    assert rows(engine, "SELECT attempts, processed_at IS NOT NULL FROM asleep.webhook_events") == [(5, True)]
    assert rows(engine, "SELECT user_id FROM asleep.users") == [(user_id,)]


def test_a_parked_event_of_an_unregistered_user_is_no_missing_data(run: Runner, engine: Engine):
    """No sync could ever mend it; the run would be red for ever, for an id that somebody made up."""
    put(engine, {"event": "SESSION_COMPLETE", "data": {"user_id": "日本", "session_id": "x1"}})

    assert run(JOB).success

    assert rows(engine, "SELECT user_id, kind FROM asleep.sync_failures") == [("", "webhook_event")]
