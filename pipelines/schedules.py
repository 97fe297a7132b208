"""Schedules: when jobs run, and over which days; all times are UTC.

After downtime the daemon runs the newest missed tick of each schedule; the daily sync then starts from the last synced
day, so no day is skipped.
"""

from collections.abc import Collection, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg

from assets.partitions import daily, day_key
from pipelines.jobs import (
    delete_old_records,
    erase_deleted_users,
    reconcile,
    report_month,
    retry_config,
    retry_failures,
    sync_sleep_sessions,
)
from pipelines.runtime.runs import count_under_way, range_tags, why_paused
from resources.database.first_day import EARLIEST_DAY
from resources.database.resource import Database
from resources.database.sync.sync_state import SyncState

_ALWAYS: Mapping[str, Any] = {
    "owners": ["team:data"],
    "execution_timezone": "UTC",
    "default_status": dg.DefaultScheduleStatus.RUNNING,
}

SESSIONS = dg.AssetKey("sleep_sessions")

GAP_DAYS = 35
"""The daily sync fills days left out within this; older gaps are left to an operator."""


def _days_to_sync(today: date, recent_days: int, synced: Collection[date]) -> tuple[date, date]:
    """Return the first and the last day to sync: the last `recent_days` days at least, `today` included.

    More when the newest day synced lies further back, or when days of the last weeks were left out after others had
    been synced.
    """
    recent = today - timedelta(days=recent_days - 1)
    lately = [day for day in synced if day >= today - timedelta(days=GAP_DAYS)]
    expected = (min(lately) + timedelta(days=n) for n in range((today - min(lately)).days + 1)) if lately else ()
    gap = next((day for day in expected if day not in synced), recent)
    return min(recent, gap, max(synced, default=recent)), today


def _previous_month(today: date) -> tuple[date, date]:
    """Return the first and the last day of the month before."""
    last = today.replace(day=1) - timedelta(days=1)
    return last.replace(day=1), last


def _today(context: dg.ScheduleEvaluationContext) -> date:
    """Return the day of the tick; a missed tick runs for the day on which it is caught up."""
    return max(context.scheduled_execution_time.astimezone(UTC), datetime.now(UTC)).date()


def _synced(instance: dg.DagsterInstance) -> set[date]:
    keys = instance.get_materialized_partitions(SESSIONS)
    return {date.fromisoformat(key) for key in keys if daily.has_partition_key(key)}


def daily_sync(recent_days: int, first_day: date = EARLIEST_DAY) -> dg.ScheduleDefinition:
    """Every day at 06:17: nights in Asia, Europe and Africa are over by then, and other jobs start on full hours.

    Args:
        recent_days: how many days back, today included, one run covers at least.
        first_day: of the partitions.
    """

    @dg.schedule(
        **_ALWAYS,
        name="daily_sync",
        job=sync_sleep_sessions,
        cron_schedule="17 6 * * *",
        description=f"Syncs the last {recent_days} days of all registered users, once a day; after a pause, all days "
        "since the last sync.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        if count_under_way(context.instance, sync_sleep_sessions.name):
            return dg.SkipReason("A sync is already queued or running; tomorrow's covers the missing days.")
        first, last = _days_to_sync(_today(context), recent_days, _synced(context.instance))
        return dg.RunRequest(tags=range_tags(day_key(max(first, first_day)), day_key(last)))

    return schedule


@dg.schedule(
    **_ALWAYS,
    job=retry_failures,
    cron_schedule="47 * * * *",
    description="Every hour at :47, when something could not be synced and a retry may help. Requests that the API "
    "rejects as invalid are retried once a day.",
)
def hourly_retry(
    context: dg.ScheduleEvaluationContext, database: dg.ResourceParam[Database]
) -> dg.RunRequest | dg.SkipReason:
    """Start half an hour after the daily sync has begun, and never queue a second run."""
    if count_under_way(context.instance, retry_failures.name):
        return dg.SkipReason("A retry is already queued or running.")
    with database.engine.connect() as connection:
        due = SyncState(connection).has_due_failures()
    if not due:
        return dg.SkipReason("No failure is due for a retry.")
    if reason := why_paused(context.instance, retry_failures.name, calls_api=True):
        return dg.SkipReason(reason)
    return dg.RunRequest(run_config=retry_config())


weekly_reconcile = dg.ScheduleDefinition(
    **_ALWAYS,
    name="weekly_reconcile",
    job=reconcile,
    cron_schedule="23 9 * * 0",
    description="Sundays at 09:23, hours after the daily sync: reconciles the last 98 days, one request per user.",
)


def weekly_erasure(grace_days: int) -> dg.ScheduleDefinition:
    """Saturdays at 09:23, a day before the reconciliation, so that it requests no deleted user."""
    return dg.ScheduleDefinition(
        **_ALWAYS,
        name="weekly_erasure",
        job=erase_deleted_users,
        cron_schedule="23 9 * * 6",
        description="Saturdays at 09:23: finds users deleted or to be deleted at the source, and erases those whose "
        f"grace period of {grace_days} days is over. One request per user.",
    )


def monthly_close(first_day: date = EARLIEST_DAY) -> dg.ScheduleDefinition:
    """On the 3rd: a session may stay open for a day, and an app may upload late; by then the month is quiet."""

    @dg.schedule(
        **_ALWAYS,
        name="monthly_close",
        job=sync_sleep_sessions,
        cron_schedule="41 8 3 * *",
        description="On the 3rd at 08:41: lists the whole previous month once more for sessions that arrived late; its "
        "averages are updated automatically.",
    )
    def schedule(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        first, last = _previous_month(_today(context))
        if last < first_day:
            return dg.SkipReason(f"No day of the previous month has a partition: the first day is {first_day}.")
        return dg.RunRequest(tags=range_tags(day_key(max(first, first_day)), day_key(last)))

    return schedule


nightly_clearing = dg.ScheduleDefinition(
    **_ALWAYS,
    name="nightly_clearing",
    job=delete_old_records,
    cron_schedule="29 3 * * *",
    description="Every night at 03:29: removes successful runs of the frequent jobs after 7 days, failed ones and "
    "handled events after 30.",
)

daily_report = dg.ScheduleDefinition(
    **_ALWAYS,
    name="daily_report",
    job=report_month,
    cron_schedule="11 8 * * *",
    description="Every day at 08:11: draws the month's report, when the night's sessions and averages are stored.",
)
