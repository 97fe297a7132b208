"""Windows: half-open, in UTC, and listed a day wider on each side."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.sync.window import Window

DAYS = st.dates(date(2021, 1, 2), date(2030, 12, 30))
MOMENTS = st.datetimes(datetime(2021, 1, 2), datetime(2030, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 bounds


@given(first=DAYS, count=st.integers(0, 400))
def test_days_become_a_half_open_stretch_that_is_listed_a_day_wider(first, count):
    window = Window.of_days(first, first + timedelta(days=count))
    assert window.end - window.start == timedelta(days=count + 1)
    assert window.days_to_list == (first - timedelta(days=1), first + timedelta(days=count + 1))
    assert window.start in window
    assert window.end not in window
    assert window.start - timedelta(days=1) in window.listed
    assert window.end + timedelta(days=1) not in window.listed


@given(start=MOMENTS, length=st.timedeltas(timedelta(seconds=1), timedelta(days=90)), moment=MOMENTS)
def test_whatever_lies_in_a_window_lies_in_what_is_listed(start, length, moment):
    window = Window(start, start + length)
    assert moment not in window or moment in window.listed
    first, last = window.days_to_list
    assert (moment in window.listed) == (first <= moment.date() <= last)


@given(start=MOMENTS, length=st.timedeltas(timedelta(seconds=1), timedelta(days=90)), a=MOMENTS, b=MOMENTS)
def test_the_hull_covers_both_and_no_more(start, length, a, b):
    window = Window(start, start + length)
    hull = window.hull(min(a, b), max(a, b))
    assert (hull.start, hull.end) == (min(start, a, b), max(window.end, a, b))
    assert window.hull(None, None) == window


def test_a_window_without_a_zone_or_without_length_is_refused():
    """A naive moment would be read as somebody's local time."""
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    with pytest.raises(ValueError, match="time zone"):
        Window(noon.replace(tzinfo=None), noon)
    with pytest.raises(ValueError, match="empty"):
        Window(noon, noon)
