"""A session's row: every column where it belongs, and what the sleeper's clock showed."""

from dataclasses import replace
from datetime import UTC, date, datetime
from zoneinfo import available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.sync.session_rows import session_row, zone_of
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
    row = named(session_row(replace(SESSION, stat=stat), last_known_zone=None))
    assert {name: row[name] for name in STAT_FIELDS} == stat._asdict()


def test_a_night_in_which_the_clocks_go_forward():
    """23:00 to 07:00 on the clock are seven hours."""
    row = named(session_row(SESSION, last_known_zone=None))
    assert row["session_start_local"] == datetime(2026, 3, 28, 23, 0)  # noqa: DTZ001 what the clock showed
    assert row["session_end_local"] == datetime(2026, 3, 29, 7, 0)  # noqa: DTZ001
    assert (row["local_date"], row["local_month"]) == (date(2026, 3, 28), date(2026, 3, 1))


@pytest.mark.parametrize(
    ("own", "known", "expected"),
    [
        ("Pacific/Kiritimati", "UTC", date(2026, 3, 29)),
        ("Not/AZone", "Asia/Seoul", date(2026, 3, 29)),
        (None, "America/New_York", date(2026, 3, 28)),
        ("Not/AZone", "Nor/This", date(2026, 3, 28)),
        ("../../etc/passwd", None, date(2026, 3, 28)),
    ],
)
def test_the_zone_is_the_sessions_own_else_the_last_known_else_utc(own, known, expected):
    row = named(session_row(replace(SESSION, created_timezone=own), last_known_zone=known))
    assert row["local_date"] == expected
    assert row["created_timezone"] == own


@given(name=st.text(max_size=40) | st.sampled_from(sorted(available_timezones())) | st.none())
def test_no_name_of_a_zone_breaks_anything(name):
    zone = zone_of(name)
    assert zone is None or zone.key == name


@given(moment=st.datetimes(timezones=st.just(UTC)), zone=st.sampled_from(sorted(available_timezones())))
def test_no_moment_in_any_zone_breaks_anything(moment, zone):
    """The first and last days of the calendar have no neighbours."""
    row = named(session_row(replace(SESSION, session_start_time=moment, created_timezone=zone), last_known_zone=None))
    assert row["local_month"] == row["local_date"].replace(day=1)
