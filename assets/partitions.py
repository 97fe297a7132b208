"""Days and months as Dagster partitions.

Lives here: the definitions, and partition ↔ window.  Not here: schedules.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import dagster as dg

from assets.sync.window import Window

FIRST_DAY = "2021-01-01"
"""Asleep's service holds nothing older; the earliest day that can be synced."""

daily = dg.DailyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""UTC days of session starts, today included."""

monthly = dg.MonthlyPartitionsDefinition(start_date=FIRST_DAY, timezone="UTC", end_offset=1)
"""Months of nights, the unfinished one included. A night belongs to the date of waking up, so a month's first night may
have begun on the last UTC day of the month before. Dagster cannot map that (both partitions must be of one time zone):
its lineage shows the month's own days, and what is computed follows `asleep.stale_months`."""


def window_of(context: dg.OpExecutionContext) -> Window:
    """The window of the run's partition, or of its whole range of partitions.

    Raises:
        Failure: it reaches into the future, which Dagster lets through when a run is launched by its tags.
    """
    span = context.partition_time_window
    window = Window(span.start.astimezone(UTC), span.end.astimezone(UTC))
    today = datetime.now(UTC).date()
    last_day = (window.end - timedelta(microseconds=1)).date()
    if last_day > today:
        raise dg.Failure(
            f"{last_day} lies in the future: the last day that can be synced is today, {today} (UTC). "
            "Nothing was asked for.",
            allow_retries=False,
        )
    return window


def months_of(keys: Sequence[str], today: date, waiting: Iterable[date] = ()) -> list[date]:
    """The months of monthly partitions, and those that wait and have no partition: they go along with any other.

    In the east the next month may have begun already; a phone's clock may be years off.

    Raises:
        Failure: one of the partitions lies in the future.
    """
    months = sorted(month_of_key(key) for key in keys)
    if months[-1] > today:
        raise dg.Failure(
            f"{months[-1]:%Y-%m} lies in the future: the last month with sessions is {today:%Y-%m}.",
            allow_retries=False,
        )
    return [*months, *(month for month in waiting if month != _with_partition(month, today))]


def month_keys(months: Sequence[date], today: date) -> tuple[str, str]:
    """Keys of the first and last partition that take along all of these months, in order; see `months_of`."""
    return month_key(_with_partition(months[0], today)), month_key(_with_partition(months[-1], today))


def _with_partition(month: date, today: date) -> date:
    """The month, or the nearest that has a partition."""
    return max(date.fromisoformat(FIRST_DAY), min(month, today.replace(day=1)))


def day_key(day: date) -> str:
    """The daily partition's key."""
    return day.isoformat()


def month_key(month: date) -> str:
    """The monthly partition's key."""
    return month.replace(day=1).isoformat()


def month_of_key(key: str) -> date:
    """The month of a monthly partition's key."""
    return datetime.strptime(key, "%Y-%m-%d").replace(tzinfo=UTC).date()
