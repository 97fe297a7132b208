"""Keys of partitions, read back as they were written, and shares of users."""

from datetime import date
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.partitions import daily, day_key, month_key, month_keys, month_of_key, monthly, months_from, months_of
from resources.database.sync.sync_state import hashes_of_batch


@given(day=st.dates(date(2021, 1, 1), date(2026, 10, 1)))
def test_days_and_months_are_partitions(day):
    assert daily.has_partition_key(day_key(day))
    assert monthly.has_partition_key(month_key(day))
    assert month_of_key(month_key(day)) == day.replace(day=1)


@pytest.mark.parametrize("partitions", [daily, monthly])
def test_the_partition_of_today_exists_before_it_is_over(partitions):
    """Last night belongs to the running day and month."""
    assert partitions.get_last_partition_key()[:7] >= date.today().isoformat()[:7]  # noqa: DTZ011 the month is enough


@pytest.mark.parametrize("batches", [1, 7, 2000])
def test_batches_cover_all_hashes_without_an_overlap(batches: int):
    """A gap would leave its users out of every sync without a word."""
    ranges = [hashes_of_batch(number, batches) for number in range(batches)]

    assert (ranges[0][0], ranges[-1][1]) == (-(2**63), 2**63 - 1)
    assert all(before[1] + 1 == after[0] for before, after in pairwise(ranges))


def test_months_without_a_partition_are_recomputed_with_the_nearest_one():
    """Sessions from before the first day, or of a phone whose clock is years ahead, have averages too."""
    today = date.today()  # noqa: DTZ011 the month is enough
    partitions = months_from(date(2026, 3, 15))
    stale = [date(1999, 1, 1), date(2026, 4, 1), date(2200, 1, 1)]

    first, last = month_keys(stale, partitions)

    assert (first, last[:7]) == ("2026-03-01", today.isoformat()[:7])
    assert months_of([first], partitions, today, stale) == [date(2026, 3, 1), date(1999, 1, 1), date(2200, 1, 1)]
