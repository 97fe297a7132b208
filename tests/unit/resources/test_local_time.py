"""Zones by the names that phones send. A name that is misread moves nights to another date without a trace."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.local_time import local_zone, on_the_clock


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Asia/Seoul", "Asia/Seoul"),
        ("asia/seoul", "Asia/Seoul"),
        (" ASIA/SEOUL\n", "Asia/Seoul"),
        ("America/New York", "America/New_York"),
        ("america/new_york", "America/New_York"),
        ("gmt", "GMT"),
        ("UTC", "UTC"),
        ("Etc/GMT+9", "Etc/GMT+9"),
    ],
)
def test_a_name_counts_whatever_its_case_and_blanks(text: str, name: str):
    found = local_zone(text)

    assert found is not None
    assert (found.name, found.source) == (name, "own")


@pytest.mark.parametrize(
    ("text", "name", "minutes"),
    [
        ("GMT+09:00", "+09:00", 540),
        ("UTC+9", "+09:00", 540),
        ("+0900", "+09:00", 540),
        ("+09:00:00", "+09:00", 540),
        ("utc + 5:30", "+05:30", 330),
        ("GMT-3", "-03:00", -180),
        ("GMT\u221203:30", "-03:30", -210),
        ("+930", "+09:30", 570),
        ("-00:00", "+00:00", 0),
        ("Z", "+00:00", 0),
        ("GMT+\u0660\u0669:\u0660\u0660", "+09:00", 540),
        ("+14:00", "+14:00", 840),
    ],
)
def test_a_fixed_offset_counts_in_every_form_that_phones_send(text: str, name: str, minutes: int):
    found = local_zone(text)

    assert found == (name, "offset", timezone(timedelta(minutes=minutes)))
    assert local_zone(name) == found


@pytest.mark.parametrize(
    "text",
    ["Asia/Beijing", "", None, "+14:01", "+15", "+09:60", "09:00", "+", "../../etc/passwd", "localtime", "Factory"],
)
def test_what_names_no_zone_is_none(text: str | None):
    """`localtime` would be the zone of whichever machine runs the sync."""
    assert local_zone(text) is None


@given(text=st.text(max_size=40) | st.sampled_from(sorted(available_timezones())))
def test_no_text_breaks_anything_and_a_name_found_stays(text: str):
    found = local_zone(text)
    if found is not None:
        again = local_zone(found.name)
        assert again is not None
        assert (again.name, again.tzinfo) == (found.name, found.tzinfo)


@given(moment=st.datetimes(timezones=st.just(UTC)), name=st.sampled_from(["Asia/Seoul", "+14:00", "Pacific/Pago_Pago"]))
def test_a_clock_is_read_at_every_moment(moment: datetime, name: str):
    """The first and last hours of the calendar have no local time everywhere."""
    zone = local_zone(name)
    assert zone is not None
    shown = on_the_clock(moment, zone.tzinfo)
    assert shown is not None
    assert abs(shown - moment.replace(tzinfo=None)) <= timedelta(hours=14)
    assert on_the_clock(None, ZoneInfo("UTC")) is None
