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
    is_in_api_pool,
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
    def sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.RunRequest | dg.SkipReason:
        with database.engine.connect() as connection:
            months = months_to_recompute(connection)
        if not months:
            return dg.SkipReason("No month waits for its averages.")
        if count_under_way(context.instance, summarise_months.name):
            return dg.SkipReason("A run is computing averages.")
        if _waits_for_sync(context.instance, clock() - RECOMPUTE_INTERVAL):
            return dg.SkipReason("A sync is writing sessions: waiting for its end.")
        if reason := why_paused(context.instance, summarise_months.name, calls_api=False):
            return dg.SkipReason(reason)
        return dg.RunRequest(tags=range_tags(*month_keys(months, months_known)))

    return sensor


def _waits_for_sync(instance: dg.DagsterInstance, lately: datetime) -> bool:
    """Return whether a run that stores sessions is under way, and either has begun or averages were computed lately.

    Such runs are jobs, backfills and commands; the one that handles events computes its averages itself when it ends.
    """
    started = RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING])
    since = [
        record.create_timestamp
        for record in instance.get_run_records(started)
        if is_in_api_pool(record.dagster_run) or record.dagster_run.job_name == process_webhook_events.name
    ]
    computed = RunsFilter(job_name=summarise_months.name, created_after=lately)
    return bool(since) and (min(since) > lately or instance.get_runs_count(computed) > 0)


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
