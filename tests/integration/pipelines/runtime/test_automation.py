"""When what runs: the decisions of schedules and sensors, against a real database and instance."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
import pytest
from dagster import DagsterRunStatus
from sqlalchemy import Engine, text

from assets.ops.failures import stopped
from pipelines.runtime.runs import AFTER_FAILURE, RANGE_END, RANGE_START, why_paused
from pipelines.schedules import daily_sync, hourly_retry, monthly_close
from pipelines.sensors import stale_months_sensor, webhook_inbox
from resources.database.first_day import EARLIEST_DAY
from resources.database.resource import Database
from resources.database.service.inbox import Inbox, IncomingEvent

Runner = Callable[..., dg.ExecuteInProcessResult]

TODAY = datetime.now(UTC).date()


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance that schedules can open by its reference, as the daemon's are."""
    with dg.instance_for_test() as instance:
        yield instance


@pytest.fixture
def database(engine: Engine) -> Database:
    """The module's database as the resource, empty where these tests look."""
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE asleep.sync_failures, asleep.stale_months"))
    return Database(lambda: engine.url.render_as_string(hide_password=False))


def tick(instance: dg.DagsterInstance, schedule: dg.ScheduleDefinition, **resources: Any) -> Any:
    """Evaluate the schedule now."""
    context = dg.build_schedule_context(
        instance=instance, scheduled_execution_time=datetime.now(UTC), resources=resources
    )
    return schedule(context)


def span(request: dg.RunRequest) -> tuple[str, str]:
    return request.tags[RANGE_START], request.tags[RANGE_END]


def materialised(instance: dg.DagsterInstance, day: date) -> None:
    instance.report_runless_asset_event(dg.AssetMaterialization("sleep_sessions", partition=day.isoformat()))


def test_the_daily_sync_covers_the_recent_days(instance: dg.DagsterInstance):
    """Today included: an app that uploads at noon should not wait for tomorrow."""
    materialised(instance, TODAY - timedelta(days=1))

    first, last = span(tick(instance, daily_sync(7)))

    assert (first, last) == ((TODAY - timedelta(days=6)).isoformat(), TODAY.isoformat())


def test_after_a_long_pause_the_daily_sync_reaches_back_to_the_last_day_synced(instance: dg.DagsterInstance):
    """Three weeks without a daemon must not leave two weeks without sessions."""
    last_synced = TODAY - timedelta(days=21)
    materialised(instance, last_synced)
    materialised(instance, last_synced - timedelta(days=300))

    assert span(tick(instance, daily_sync(7)))[0] == last_synced.isoformat()


def test_days_that_were_left_out_lately_are_synced_too(instance: dg.DagsterInstance):
    """The daemon was down for three weeks, then somebody ran a sync of the last days by hand."""
    for days_ago in (30, 29, 28, 6, 5, 4, 3, 2, 1, 0):
        materialised(instance, TODAY - timedelta(days=days_ago))

    assert span(tick(instance, daily_sync(7)))[0] == (TODAY - timedelta(days=27)).isoformat()


def test_a_sync_that_takes_days_is_not_followed_by_a_queue_of_them(instance: dg.DagsterInstance):
    """One at a time is enough: the next reaches back as far as it must."""
    _a_run(instance, "sync_sleep_sessions", DagsterRunStatus.STARTED)

    assert isinstance(tick(instance, daily_sync(7)), dg.SkipReason)


def test_a_new_organisation_begins_with_the_recent_days(instance: dg.DagsterInstance):
    """Five years of history are a backfill that somebody decides on."""
    assert span(tick(instance, daily_sync(7)))[0] == (TODAY - timedelta(days=6)).isoformat()


def test_the_monthly_close_lists_the_whole_month_before(instance: dg.DagsterInstance):
    """Sessions that came late belong into the month that accounting closes."""
    first, last = (date.fromisoformat(key) for key in span(tick(instance, monthly_close())))

    assert last + timedelta(days=1) == TODAY.replace(day=1)
    assert first == last.replace(day=1) >= EARLIEST_DAY


def failed(engine: Engine, kind: str, *, hours_ago: float, attempts: int = 1, user_id: str = "U") -> None:
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.sync_failures (user_id, kind, message, attempts, last_failed_at) "
                "VALUES (:user_id, :kind, 'x', :attempts, now() - make_interval(secs => 3600 * :hours))"
            ),
            {"user_id": user_id, "kind": kind, "attempts": attempts, "hours": hours_ago},
        )


@pytest.mark.parametrize(
    ("kind", "hours_ago", "attempts", "is_tried"),
    [
        ("unavailable", 1, 1, True),
        ("unavailable", 0.1, 1, False),
        ("unavailable", 1, 30, False),
        ("unavailable", 24, 30, True),
        ("identifier_refused", 1, 1, False),
        ("identifier_refused", 24, 1, True),
    ],
)
def test_what_time_can_mend_is_tried_every_hour_and_the_rest_once_a_day(  # noqa: PLR0917 a table of cases
    instance: dg.DagsterInstance,
    engine: Engine,
    database: Database,
    kind: str,
    hours_ago: float,
    attempts: int,
    is_tried: bool,
):
    """A mistyped user id must not cost a request every hour for ever."""
    failed(engine, kind, hours_ago=hours_ago, attempts=attempts)

    answer = tick(instance, hourly_retry, database=database)

    assert isinstance(answer, dg.RunRequest if is_tried else dg.SkipReason)
    if is_tried:
        config = answer.run_config["ops"]["sync_some_users"]["config"]
        assert config["failed_only"]
        assert "users" not in config, "run config is stored and shown: it holds no user"


def test_retries_do_not_queue_up(instance: dg.DagsterInstance, engine: Engine, database: Database):
    """While a backfill of ten hours runs, ten retries would wait behind it."""
    failed(engine, "unavailable", hours_ago=2)
    _a_run(instance, "retry_failures", DagsterRunStatus.STARTED)

    assert isinstance(tick(instance, hourly_retry, database=database), dg.SkipReason)


def test_an_event_without_a_user_is_never_retried(instance: dg.DagsterInstance, engine: Engine, database: Database):
    """No user can be read for it; the run would fail every hour."""
    failed(engine, "webhook_event", hours_ago=30, user_id="")

    assert isinstance(tick(instance, hourly_retry, database=database), dg.SkipReason)


def test_after_a_rejected_account_nothing_sends_requests_until_a_run_succeeds(
    instance: dg.DagsterInstance, engine: Engine, database: Database, definitions: dg.Definitions
):
    """A person has to renew the plan; until then every run would be one more alarm, every minute."""
    failed(engine, "unavailable", hours_ago=2)
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE asleep.webhook_events"))
        Inbox(connection).put([IncomingEvent(b"{}", {})])
    events = webhook_inbox(enabled=True)
    refused = stopped("00000000-0000-0000-0000-000000000001", "plan_expired")

    def asked_for() -> list[bool]:
        handling = events(dg.build_sensor_context(instance=instance), database=database)
        retry = tick(instance, hourly_retry, database=database)
        may_call_api = handling.run_config["ops"]["handle_events"]["config"]["may_call_api"]
        return [isinstance(retry, dg.RunRequest), may_call_api]

    assert asked_for() == [True, True]
    _a_run(instance, "sync_sleep_sessions", DagsterRunStatus.FAILURE, tags=refused)
    assert asked_for() == [False, False]
    for job, expected in (("summarise_months", [False, False]), ("sync_sleep_sessions", [True, True])):
        instance.create_run_for_job(definitions.resolve_job_def(job), status=DagsterRunStatus.SUCCESS)
        assert asked_for() == expected, f"{job}: only jobs that call the API can show it"


def test_what_has_just_failed_rests_a_while(instance: dg.DagsterInstance, engine: Engine, database: Database):
    """A run of averages that fails would be started again every half minute."""
    touched(engine, TODAY.replace(day=1))
    _a_run(instance, "summarise_months", DagsterRunStatus.FAILURE)

    assert not look(instance, database)
    later = datetime.now(UTC) + AFTER_FAILURE
    assert why_paused(instance, "summarise_months", calls_api=False, now=later) is None


def test_the_pause_of_the_inbox_grows_with_its_failures(instance: dg.DagsterInstance):
    """One failure must not keep events waiting for minutes, and many must not alert every few seconds."""

    def seconds_paused() -> int:
        now = datetime.now(UTC)
        moments = (n for n in range(0, 700, 5) if why_paused(
            instance, "process_webhook_events", calls_api=False, first_pause=timedelta(seconds=5),
            now=now + timedelta(seconds=n),
        ) is None)  # fmt: skip
        return next(moments)

    pauses = []
    for _ in range(5):
        _a_run(instance, "process_webhook_events", DagsterRunStatus.FAILURE)
        pauses.append(seconds_paused())
    _a_run(instance, "process_webhook_events", DagsterRunStatus.SUCCESS)

    assert pauses == [5, 20, 80, 320, AFTER_FAILURE.total_seconds()]
    assert seconds_paused() == 0


def touched(engine: Engine, *months: date) -> None:
    with engine.begin() as connection:
        for month in months:
            connection.execute(
                text("INSERT INTO asleep.stale_months (user_id, month) VALUES ('U', :month)"), {"month": month}
            )


def look(instance: dg.DagsterInstance, database: Database) -> list[dg.RunRequest]:
    """What the sensor requests."""
    found = stale_months_sensor()(dg.build_sensor_context(instance=instance), database=database)
    assert isinstance(found, dg.RunRequest | dg.SkipReason)
    return [found] if isinstance(found, dg.RunRequest) else []


def test_touched_months_are_summarised_the_running_one_included(
    instance: dg.DagsterInstance, engine: Engine, database: Database
):
    """Whoever touched them: a sync, an event, a deletion, a reconciliation."""
    this_month = TODAY.replace(day=1)
    touched(engine, date(2025, 2, 1), this_month)

    (request,) = look(instance, database)

    assert span(request) == ("2025-02-01", this_month.isoformat())


def test_a_month_that_has_begun_only_in_the_east_goes_with_the_running_one(
    instance: dg.DagsterInstance, engine: Engine, database: Database
):
    """On the last day of a month Dagster has no partition for the next one, yet Seoul sleeps in it."""
    this_month = TODAY.replace(day=1)
    touched(engine, (this_month + timedelta(days=31)).replace(day=1))

    (request,) = look(instance, database)

    assert span(request) == (this_month.isoformat(), this_month.isoformat())


@pytest.mark.parametrize("stray", [date(2019, 5, 1), date(2031, 1, 1)])
def test_a_month_that_no_partition_has_goes_along_and_blocks_no_other(
    instance: dg.DagsterInstance, engine: Engine, database: Database, run: Runner, stray: date
):
    """A phone whose clock is years off would stop everybody's averages, or start a run every half minute."""
    this_month = TODAY.replace(day=1)
    touched(engine, stray, this_month)
    (request,) = look(instance, database)

    assert run("summarise_months", tags=request.tags).success

    assert not look(instance, database)


def test_months_are_left_to_a_run_that_handles_events(instance: dg.DagsterInstance, engine: Engine, database: Database):
    """It computes them itself when it ends; a run of averages after each event would be one every half minute."""
    _a_run(instance, "process_webhook_events", DagsterRunStatus.STARTED)
    touched(engine, TODAY.replace(day=1))

    assert not look(instance, database)


def test_months_wait_for_the_end_of_a_sync(
    definitions: dg.Definitions, instance: dg.DagsterInstance, engine: Engine, database: Database
):
    """They would be computed again after it."""
    job = definitions.resolve_job_def("sync_sleep_sessions")
    sync = instance.create_run_for_job(job, status=DagsterRunStatus.STARTED)
    touched(engine, TODAY.replace(day=1))

    assert not look(instance, database)
    instance.report_run_canceled(sync)
    assert look(instance, database)


def _a_run(instance: dg.DagsterInstance, job: str, status: DagsterRunStatus, *, tags: Any = None) -> None:
    run_id = f"00000000-0000-0000-0000-{instance.get_runs_count() + 1:012}"
    instance.add_run(dg.DagsterRun(job_name=job, run_id=run_id, status=status, tags=tags or {}))
