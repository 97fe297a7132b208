"""Sensors of alerts (failed runs, silent webhooks, an API that is down) and of the heartbeat to an outside monitor."""

from collections.abc import Callable, Sequence
from datetime import datetime

import dagster as dg
from dagster import DagsterRun, DagsterRunStatus
from sqlalchemy import Connection

from assets.checks.sql_checks import rows_of_check
from pipelines.jobs import sync_sleep_sessions
from pipelines.notifications.alerts import OUTAGE_ALERT_AFTER, alert, alert_of_outage
from pipelines.runtime.runs import cursor_of, moment_of, utc_now
from pipelines.settings import Settings
from resources.database.resource import Database
from resources.database.sync.run_health import HELD_TAG
from resources.notifications.deliver import NotDelivered, deliver
from resources.rate_limit.shared_row import key_id_of
from resources.rate_limit.table import read_state

DAILY_SCHEDULE = "daily_sync"
_SCHEDULE_TAG = "dagster/schedule_name"
WILL_RETRY = "dagster/will_retry"
MAX_REASONS = 5
NOT_FROM_INSIDE = "marked as failed from outside the execution context"
"""In Dagster's message of a run whose process did not report the failure itself; a test fails when it changes."""
WITHOUT_PROCESS = "it could not be started, or its process was killed; its page in Dagster's UI shows which"
INTERRUPTED = "its process received a signal to stop, as happens when a machine or the daemon is restarted"


def alert_on_run_failure(settings: Settings) -> dg.SensorDefinition:
    """The sensor that alerts of every failed run, also of runs whose process died.

    Runs of the command `asleep-sync` whose steps failed are left out: the command calls `alert_of_command`. It cannot
    do so when it was killed.
    """

    @dg.run_failure_sensor(
        name="alert_on_run_failure",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts of every failed run: log line, StatsD event, and a message to ALERT_WEBHOOK_URL.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        if HELD_TAG in context.dagster_run.tags and context.get_step_failure_events():
            return
        reasons = _reasons_of(context)
        try:
            _alert_of_run(settings, context.dagster_run, reasons)
        except NotDelivered as error:
            context.log.error("ALERT_WEBHOOK_URL did not take the message: %s", error)  # noqa: TRY400 no trace
            raise

    return sensor


def alert_on_silent_webhooks(settings: Settings) -> dg.SensorDefinition:
    """The sensor that alerts once when webhook events used to arrive and none came for 24 hours."""

    @dg.sensor(
        owners=["team:data"],
        name="alert_on_silent_webhooks",
        minimum_interval_seconds=600,
        default_status=dg.DefaultSensorStatus.RUNNING if settings.enable_webhooks else dg.DefaultSensorStatus.STOPPED,
        description="Alerts once when webhook events used to arrive and none came for 24 hours.",
    )
    def sensor(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SkipReason:
        with database.engine.connect() as connection:
            silent = rows_of_check(connection, "webhook_events_arrive")
        if not silent:
            return dg.SkipReason("Webhook events arrive, or none ever came.")
        since = silent[0].since.isoformat()
        if context.cursor != since:
            text = (
                f"asleep-sync: no webhook event since {since}\n- Check the callback address in the app, the proxy in "
                "front of the service, and ASLEEP_API_KEY.\nThe daily sync brings the sessions meanwhile."
            )
            alert(settings, text, title="asleep-sync webhooks silent", event="webhooks_silent", since=since)
            context.update_cursor(since)
        return dg.SkipReason(f"No webhook event since {since}: an alert was sent.")

    return sensor


def alert_on_api_outage(settings: Settings, clock: Callable[[], datetime] = utc_now) -> dg.SensorDefinition:
    """The sensor that alerts once when an outage of the API has lasted for 2 minutes, and once when it is over.

    Args:
        settings: where to, and whose API key.
        clock: returns the current moment in UTC.
    """

    @dg.sensor(
        owners=["team:data"],
        name="alert_on_api_outage",
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Alerts once when the Asleep API has not answered for 2 minutes, and once when it answers again.",
    )
    def sensor(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SkipReason:
        with database.engine.connect() as connection:
            since = _api_down_since(connection, settings)
        reported, is_down = moment_of(context.cursor), since is not None
        if is_down != (reported is not None):
            alert_of_outage(settings, "Asleep API", since or reported, ended_at=None if is_down else clock())
            context.update_cursor(cursor_of(since))
        return dg.SkipReason(
            f"The API has not responded since {since}." if since else "The API responds, or receives no requests."
        )

    return sensor


def _api_down_since(connection: Connection, settings: Settings) -> datetime | None:
    """When the outage began whose requests have failed for 2 minutes and more; None when there is none.

    The circuit breaker opens after a few failures and stays open until a request succeeds.
    """
    key_ids = {key_id_of(key.get_secret_value()) for key in settings.asleep_api_key}
    return min(
        (
            state["open_since"]
            for state in read_state(connection)
            if state["key_id"] in key_ids
            and state["open_since"] is not None
            and state["last_failure_at"] - state["open_since"] >= OUTAGE_ALERT_AFTER
        ),
        default=None,
    )


def heartbeat(settings: Settings) -> dg.SensorDefinition:
    """The sensor that requests HEARTBEAT_URL when a run of the daily schedule has ended well."""
    url = settings.heartbeat_url

    @dg.run_status_sensor(
        name="heartbeat",
        run_status=DagsterRunStatus.SUCCESS,
        monitored_jobs=[sync_sleep_sessions],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if url else dg.DefaultSensorStatus.STOPPED,
        description="Requests HEARTBEAT_URL after each complete daily sync.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        if url is None or context.dagster_run.tags.get(_SCHEDULE_TAG) != DAILY_SCHEDULE:
            return dg.SkipReason("Not the daily sync, or HEARTBEAT_URL is not set.")
        deliver(url)
        return None

    return sensor


def alert_of_command(settings: Settings, instance: dg.DagsterInstance, run_id: str, message: str) -> None:
    """Alert of a failed run of the command, as the sensor does of all others.

    Args:
        settings: where to.
        instance: where the run is recorded.
        run_id: which run.
        message: why it failed.

    Raises:
        NotDelivered: ALERT_WEBHOOK_URL did not accept the message.
    """
    run = instance.get_run_by_id(run_id)
    if run is not None:
        _alert_of_run(settings, run, [message or "users or sessions are missing: `asleep-sync status` lists them"])


def _alert_of_run(settings: Settings, run: DagsterRun, reasons: Sequence[str]) -> None:
    alert(
        settings,
        _message_of(run, reasons),
        title="asleep-sync run failed",
        event="run_failed",
        job=_job_of(run),
        run_id=run.run_id,
        reasons=reasons,
    )


def _reasons_of(context: dg.RunFailureSensorContext) -> list[str]:
    """The messages of the failed steps, each once; the run's own message when no step failed."""
    reported: dict[str, None] = {}
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        failure_data = failure.user_failure_data
        reported.setdefault(
            (failure_data.description if failure_data else None) or (failure.error.message if failure.error else "")
        )
    reasons = [_plain(reason.strip()) for reason in reported if reason.strip()]
    return (reasons or [_plain(context.failure_event.message or "no reason given")])[:MAX_REASONS]


def _plain(reason: str) -> str:
    if NOT_FROM_INSIDE in reason:
        return WITHOUT_PROCESS
    return INTERRUPTED if "DagsterExecutionInterruptedError" in reason else reason


def _job_of(run: DagsterRun) -> str:
    """The job's name for people: runs launched from an asset's page have no job of their own."""
    if not run.job_name.startswith("__ASSET_JOB"):
        return run.job_name
    return ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or "assets"


def _message_of(run: DagsterRun, reasons: Sequence[str]) -> str:
    """A few plain lines: what failed, why, and what happens next."""
    will_retry = run.tags.get(WILL_RETRY) == "true"
    lines = [f"asleep-sync: {_job_of(run)} failed (run {run.run_id})", *(f"- {reason}" for reason in reasons)]
    lines.append(
        "It is restarted automatically." if will_retry else "Synced data are stored; the next run continues from there."
    )
    return "\n".join(lines)
