"""Sensors: request runs when data in the database require them."""

from collections.abc import Callable
from datetime import datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.metrics.monthly_summary import months_to_recompute
from assets.partitions import month_keys, monthly
from assets.webhooks.inbox_loop import MAX_SECONDS
from pipelines.jobs import op_config, process_webhook_events, summarise_months
from pipelines.runtime.runs import (
    AFTER_FIRST_FAILURE_OF_INBOX,
    MAX_RUNTIME,
    count_under_way,
    cursor_of,
    is_in_api_pool,
    moment_of,
    range_tags,
    utc_now,
    why_paused,
    why_refused,
)
from resources.database.resource import Database
from resources.database.service.inbox import Inbox

RECOMPUTE_INTERVAL = timedelta(minutes=15)
"""During a sync, averages are recomputed at most this often."""

IDLE_SECONDS = 30.0
"""A run that handles webhook events ends when no event has come for this long."""
OVERDUE_SECONDS = 30.0
"""Whole events wait this long only when the run that should handle them does not move."""
HANDOVER = timedelta(seconds=MAX_SECONDS - 30)
"""A run that handles events is about to end after this long: the next one starts, so that no event waits in between."""
MAX_INBOX_RUNS = 2
MAX_INBOX_RUN_SECONDS = 1800
"""Dagster ends a run that handles webhook events after this long: its process has died."""


def stale_months_sensor(
    months_known: dg.MonthlyPartitionsDefinition = monthly, clock: Callable[[], datetime] = utc_now
) -> dg.SensorDefinition:
    """Return the sensor that recomputes averages.

    Args:
        months_known: partitions of `monthly_averages`.
        clock: returns the current moment in UTC.
    """

    @dg.sensor(
        owners=["team:data"],
        name="recompute_stale_months",
        job=summarise_months,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Recomputes averages and metrics of months whose sessions changed, and of the current month once "
        "a day: when no sync is running, or every 15 minutes during a long one.",
    )
    def sensor(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SensorResult:
        now = clock()
        with database.engine.connect() as connection:
            months = months_to_recompute(connection)
        is_syncing = _writes_sessions(context.instance)
        waiting_since = moment_of(context.cursor) or (now if months else None)
        if not is_syncing and not months:
            waiting_since = None
        reason = why_not_yet(waiting_since if months else None, now, is_syncing=is_syncing)
        if reason is None and count_under_way(context.instance, summarise_months.name):
            reason = "A run is computing averages."
        reason = reason or why_paused(context.instance, summarise_months.name, calls_api=False)
        if reason is not None:
            return dg.SensorResult(skip_reason=reason, cursor=cursor_of(waiting_since))
        request = dg.RunRequest(tags=range_tags(*month_keys(months, months_known)))
        return dg.SensorResult(run_requests=[request], cursor=cursor_of(now if is_syncing else None))

    return sensor


def why_not_yet(waiting_since: datetime | None, now: datetime, *, is_syncing: bool) -> str | None:
    """Return why averages are not recomputed now.

    Args:
        waiting_since: when months began to wait, or when a recomputation was last requested during this sync; None
            when no month waits.
        now: the current moment, aware.
        is_syncing: whether a run that writes sessions is under way.

    Returns:
        The reason, or None when averages are to be recomputed now.
    """
    if waiting_since is None:
        return "No month waits for its averages."
    if is_syncing and now - waiting_since < RECOMPUTE_INTERVAL:
        return "A sync is writing sessions: waiting for its end."
    return None


def _writes_sessions(instance: dg.DagsterInstance) -> bool:
    """Return whether a run that stores sessions is under way, be it a job, a backfill or a command.

    The one that handles events computes its averages itself when it ends.
    """
    runs = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))
    return any(is_in_api_pool(run) or run.job_name == process_webhook_events.name for run in runs)


def webhook_inbox(*, enabled: bool, clock: Callable[[], datetime] = utc_now) -> dg.SensorDefinition:
    """Return the sensor of the webhook inbox.

    Args:
        enabled: whether it runs by default.
        clock: returns the current moment in UTC.
    """

    @dg.sensor(
        owners=["team:data"],
        name="webhook_inbox",
        job=process_webhook_events,
        minimum_interval_seconds=4,  # the daemon looks every 5
        default_status=dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED,
        description="Starts process_webhook_events when events in the inbox are due. A run ends when no event has come "
        f"for {IDLE_SECONDS:.0f} seconds; a second one starts shortly before its end, or when it makes no progress.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.RunRequest | dg.SkipReason:
        refused = why_refused(context.instance)
        with database.engine.connect() as connection:
            is_due = Inbox(connection).has_due(may_call_api=refused is None)
            is_overdue = Inbox(connection).has_due(may_call_api=False, seconds=OVERDUE_SECONDS)
        if not is_due:
            return dg.SkipReason(refused or "No event in the inbox is due.")
        job, recent = process_webhook_events.name, clock() - HANDOVER
        if not is_overdue and count_under_way(context.instance, job, created_after=recent):
            return dg.SkipReason("A run is handling the inbox, including new events.")
        if count_under_way(context.instance, job) >= MAX_INBOX_RUNS:
            return dg.SkipReason(f"{MAX_INBOX_RUNS} runs are queued or running.")
        if reason := why_paused(context.instance, job, calls_api=False, first_pause=AFTER_FIRST_FAILURE_OF_INBOX):
            return dg.SkipReason(reason)
        return dg.RunRequest(
            run_config=op_config("handle_events", idle_seconds=IDLE_SECONDS, may_call_api=refused is None),
            tags={MAX_RUNTIME: str(MAX_INBOX_RUN_SECONDS)},
        )

    return sensor
