"""Schedules: cron, time zone, and why that minute.

Lives here: when.  Not here: work.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.partitions import day_key
from pipelines.jobs import sync_sleep_sessions

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def range_tags(first: str, last: str) -> dict[str, str]:
    """The tags that make one run of a range of partitions."""
    return {RANGE_START: first, RANGE_END: last}


def daily_sync(recent_days: int) -> dg.ScheduleDefinition:
    """Every day at 06:17 UTC: nights of Asia, Europe and Africa are over by then, and no hour strikes.

    Args:
        recent_days: how many days back, today included, one run covers.
    """

    def tags(context: dg.ScheduleEvaluationContext) -> dict[str, str]:
        today = (context.scheduled_execution_time or datetime.now(UTC)).astimezone(UTC).date()
        return range_tags(day_key(today - timedelta(days=recent_days - 1)), day_key(today))

    return dg.ScheduleDefinition(
        name="daily_sync",
        job=sync_sleep_sessions,
        cron_schedule="17 6 * * *",
        execution_timezone="UTC",
        tags_fn=tags,
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Syncs the last {recent_days} days of all registered users, once a day.",
    )
