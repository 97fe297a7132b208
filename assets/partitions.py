"""Days and months as Dagster partitions.

Lives here: the definitions, and partition ↔ window.  Not here: schedules.
"""

from datetime import UTC, date, datetime

import dagster as dg

from assets.window import Window

FIRST_DAY = "2021-01-01"
"""Asleep's service holds nothing older; the earliest day that can be synced."""

daily = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""UTC days of session starts, today included."""

monthly = dg.MonthlyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""Local calendar months of session starts, the unfinished one included."""


def window_of(context: dg.OpExecutionContext) -> Window:
    """The window of the run's partition, or of its whole range of partitions."""
    span = context.partition_time_window
    return Window(span.start.astimezone(UTC), span.end.astimezone(UTC))


def day_key(day: date) -> str:
    """The daily partition's key."""
    return day.isoformat()


def month_key(month: date) -> str:
    """The monthly partition's key."""
    return month.replace(day=1).isoformat()


def month_of(key: str) -> date:
    """The month of a monthly partition's key."""
    return datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=UTC).date()
