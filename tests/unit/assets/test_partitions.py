"""Days and months as partitions: their keys, their windows, and how a month maps to days."""

from datetime import date, timedelta
from types import SimpleNamespace

import pytest
from dagster import TimeWindow
from hypothesis import given
from hypothesis import strategies as st

from assets.monthly_averages import sessions_of_the_month
from assets.partitions import (
    daily,
    day_key,
    days_from,
    month_key,
    month_keys,
    month_of_key,
    monthly,
    months_from,
    months_of,
    window_of,
)
from assets.sync.window import Window


@given(day=st.dates(date(2021, 1, 1), date(2026, 10, 1)))
def test_days_and_months_are_partitions(day):
    assert daily.has_partition_key(day_key(day))
    assert monthly.has_partition_key(month_key(day))
    assert month_of_key(month_key(day)) == day.replace(day=1)


@pytest.mark.parametrize("partitions", [daily, monthly])
def test_the_partition_of_today_exists_before_it_is_over(partitions):
    """Last night belongs to the running day and month."""
    assert partitions.get_last_partition_key()[:7] >= date.today().isoformat()[:7]  # noqa: DTZ011 the month is enough


def test_the_days_of_a_month_of_nights_begin_one_day_earlier():
    """The night of 1 May begins on 30 April; a session of that day may be a night of either month."""
    days, months = days_from(date(2026, 1, 1)), months_from(date(2026, 1, 1))
    mapping = sessions_of_the_month.partition_mapping
    assert mapping is not None

    def days_of(month: str) -> list[str]:
        subset = months.subset_with_partition_keys([month])
        found = mapping.get_upstream_mapped_partitions_result_for_partitions(subset, months, days)
        return sorted(found.partitions_subset.get_partition_keys())

    def months_of_day(day: str) -> list[str]:
        subset = days.subset_with_partition_keys([day])
        return sorted(mapping.get_downstream_partitions_for_partitions(subset, days, months).get_partition_keys())

    assert days_of("2026-05-01") == ["2026-04-30", *(f"2026-05-{day:02}" for day in range(1, 32))]
    assert days_of("2026-01-01")[0] == "2026-01-01", "no partition lies before the first day"
    assert days_of(month_key(date.today()))[-1] == day_key(date.today()), "nor after today"  # noqa: DTZ011
    assert months_of_day("2026-04-30") == ["2026-04-01", "2026-05-01"]
    assert [months_of_day(day) for day in ("2026-04-29", "2026-05-01")] == [["2026-04-01"], ["2026-05-01"]]


@pytest.mark.parametrize("days", [1, 3])
def test_a_runs_window_is_whole_utc_days(days: int):
    """Dagster's own window of a day begins in the day's last minute."""
    first, partitions = date(2026, 5, 1), days_from(date(2026, 1, 1))
    last = first + timedelta(days=days - 1)
    span = TimeWindow(
        partitions.time_window_for_partition_key(day_key(first)).start,
        partitions.time_window_for_partition_key(day_key(last)).end,
    )

    assert window_of(SimpleNamespace(partition_time_window=span)) == Window.of_days(first, last)


def test_months_without_a_partition_are_recomputed_with_the_nearest_one():
    """Sessions from before the first day, or of a phone whose clock is years ahead, have averages too."""
    today = date.today()  # noqa: DTZ011 the month is enough
    partitions = months_from(date(2026, 3, 15))
    stale = [date(1999, 1, 1), date(2026, 4, 1), date(2200, 1, 1)]

    first, last = month_keys(stale, partitions)

    assert (first, last[:7]) == ("2026-03-01", today.isoformat()[:7])
    assert months_of([first], partitions, today, stale) == [date(2026, 3, 1), date(1999, 1, 1), date(2200, 1, 1)]
