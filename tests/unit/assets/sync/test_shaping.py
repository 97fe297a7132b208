"""A session's row: every column where it belongs, and what the sleeper's clock showed."""

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.sync.session_rows import session_row
from resources.asleep.records import STAT_FIELDS, SleepSession, Stat
from resources.database.sync.upsert import SESSION_COLUMNS

NOW = datetime(2026, 3, 20, tzinfo=UTC)
SESSION = SleepSession(
    session_id="20260328220000_aaaaa", user_id="u", state="COMPLETE",
    session_start_time=datetime(2026, 3, 28, 22, tzinfo=UTC), session_end_time=datetime(2026, 3, 29, 5, tzinfo=UTC),
    unexpected_end_time=None, created_timezone="Europe/Berlin", peculiarities=("NO_BREATHING_STABILITY",),
    missing_data_ratio=0.0, stat=None, sleep_stages=[0, 1], breath_stages=None, snoring_stages=[0, 0], raw=b"{}",
    payload_hash=b"h", contract_violations=(), asked_at=NOW,
)  # fmt: skip


def named(row):
    return dict(zip((*SESSION_COLUMNS, "result"), row, strict=True))


def test_each_statistic_lands_in_the_column_of_its_name():
    """38 columns side by side: one place off and every night is wrong."""
    stat = Stat(*range(len(STAT_FIELDS)))._replace(
        sleep_time=datetime(2026, 3, 28, 22, 30, tzinfo=UTC), wake_time=datetime(2026, 3, 29, 4, 30, tzinfo=UTC)
    )
    row = named(session_row(replace(SESSION, stat=stat)))
    assert {name: row[name] for name in STAT_FIELDS} == stat._asdict()


def test_a_night_in_which_the_clocks_go_forward():
    """23:00 to 07:00 on the clock are seven hours."""
    row = named(session_row(SESSION))
    assert row["session_start_local"] == datetime(2026, 3, 28, 23, 0)  # noqa: DTZ001 what the clock showed
    assert row["session_end_local"] == datetime(2026, 3, 29, 7, 0)  # noqa: DTZ001
    assert (row["local_date"], row["local_month"]) == (date(2026, 3, 28), date(2026, 3, 1))


@pytest.mark.parametrize(
    ("own", "expected", "zone", "source"),
    [
        ("Pacific/Kiritimati", date(2026, 3, 29), "Pacific/Kiritimati", "own"),
        ("asia/seoul", date(2026, 3, 29), "Asia/Seoul", "own"),
        ("GMT+09:00", date(2026, 3, 29), "+09:00", "offset"),
        ("Not/AZone", date(2026, 3, 28), "UTC", "utc"),
        (None, date(2026, 3, 28), "UTC", "utc"),
        ("../../etc/passwd", date(2026, 3, 28), "UTC", "utc"),
    ],
)
def test_local_times_follow_the_sessions_own_zone_and_utc_until_its_neighbours_are_known(own, expected, zone, source):
    row = named(session_row(replace(SESSION, created_timezone=own)))
    assert row["local_date"] == expected
    assert (row["created_timezone"], row["local_zone"], row["zone_source"]) == (own, zone, source)


@given(moment=st.datetimes(timezones=st.just(UTC)), zone=st.sampled_from(sorted(available_timezones())))
def test_no_moment_in_any_zone_breaks_anything(moment, zone):
    """The first and last days of the calendar have no neighbours."""
    row = named(session_row(replace(SESSION, session_start_time=moment, created_timezone=zone)))
    assert row["local_month"] == row["local_date"].replace(day=1)
