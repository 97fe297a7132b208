"""The clock times of a night where the phone's clock is moved during it."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Connection, text
from warehouse_sessions import session, slept, store

from assets.metrics.monthly_summary import summarise

BERLIN = "Europe/Berlin"


@pytest.mark.parametrize(
    ("start", "hours", "midpoint"),
    [
        (datetime(2026, 10, 24, 21, tzinfo=UTC), 9, "2026-10-25 03:00:00"),  # 23:00 to 07:00, an hour longer
        (datetime(2026, 3, 28, 22, tzinfo=UTC), 7, "2026-03-29 03:00:00"),  # 23:00 to 07:00, an hour shorter
    ],
)
def test_midsleep_stays_in_the_middle_when_the_clocks_change(
    connection: Connection, start: datetime, hours: int, midpoint: str
):
    """Clocks change on Sundays, which are free days: mid-sleep by half the elapsed time would shift social jetlag."""
    end = start + timedelta(hours=hours)
    store(connection, [session("one", start, slept(), BERLIN, session_end_time=end)])
    summarise(connection)

    assert str(connection.scalar(text("SELECT midpoint_local FROM asleep.nights"))) == midpoint
    months = connection.scalars(text("SELECT avg_midpoint_of_night::text FROM asleep.monthly_averages")).all()
    assert months == [midpoint[-8:]]


def test_a_night_across_zones_begins_and_ends_by_the_clock_of_the_phone_at_that_moment(connection: Connection):
    """The second session's clock is hours behind: the earliest clock time is not the first, nor the latest the last."""
    boarding = datetime(2026, 9, 10, 14, tzinfo=UTC)
    landing = boarding + timedelta(hours=4, minutes=30)
    store(
        connection,
        [
            session("one", boarding, slept(), "Asia/Seoul", session_end_time=boarding + timedelta(hours=4)),
            session("one", landing, slept(), BERLIN, session_end_time=landing + timedelta(hours=3)),
        ],
    )
    night = connection.execute(text("SELECT * FROM asleep.nights")).one()

    assert night.sessions == 2
    assert {str(night.session_start_local), str(night.sleep_time_local)} == {"2026-09-10 23:00:00"}
    assert {str(night.session_end_local), str(night.wake_time_local)} == {"2026-09-10 23:30:00"}
    assert night.night_date == night.wake_time_local.date()
