"""The calendar of nights: one row per date, and what became of it."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, text
from warehouse_sessions import session, slept, store

from resources.asleep.records import SleepSession, Stat
from resources.database.sync.sync_state import FinishedUser, SyncState

TODAY = datetime.now(UTC).date()
FIRST = TODAY - timedelta(days=12)


def night(days_after: int, stat: Stat | None, **given: Any) -> SleepSession:
    """A session from 01:00 to 09:00 UTC, so many days after the first night."""
    start = datetime.combine(FIRST, time(1), UTC) + timedelta(days=days_after)
    given.setdefault("session_end_time", start + timedelta(hours=8))
    return session("one", start, stat, "UTC", **given)


@pytest.fixture
def statuses(connection: Connection) -> dict[int, str]:
    """Status of each date, by days after the first: synced from the second day to the day before yesterday."""
    covered = f"{{[{FIRST + timedelta(days=1)}, {TODAY - timedelta(days=1)})}}"
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('one', 'import')"))
    connection.execute(
        text(
            "INSERT INTO asleep.sync_ledger (user_id, window_start, window_end, listed_at, detail, covered) "
            "VALUES ('one', now(), now(), now(), 'full', CAST(:covered AS tstzmultirange))"
        ),
        {"covered": covered},
    )
    store(
        connection,
        [
            night(0, slept()),
            night(2, None, peculiarities=("NEVER_SLEPT",)),
            night(3, None, peculiarities=("TOO_SHORT_FOR_ANALYSIS",)),
            night(4, slept(), peculiarities=("TOO_LONG_FOR_ANALYSIS",)),
            night(5, slept(time_in_bed=7200)),
            night(6, slept(), missing_data_ratio=0.4),
            night(7, None, state="OPEN", session_end_time=None),
        ],
    )
    rows = connection.execute(text("SELECT * FROM asleep.night_calendar ORDER BY night_date")).all()
    assert [row.night_date for row in rows] == [FIRST + timedelta(days=n) for n in range(12)], "every date to yesterday"
    assert [n for n, row in enumerate(rows) if row.is_valid_night] == [0]
    return {n: row.status for n, row in enumerate(rows)}


def test_each_date_has_the_status_of_what_became_of_it(statuses: dict[int, str]):
    """A date without a night is no night of zero hours; why there is none decides whether it counts as missing."""
    assert statuses == {
        0: "recorded", 1: "not_synced", 2: "no_sleep_found", 3: "not_analysable", 4: "doubtful", 5: "recorded",
        6: "recorded", 7: "not_synced", 8: "missing", 9: "missing", 10: "missing", 11: "not_synced",
    }  # fmt: skip


def test_inactive_users_have_no_calendar(connection: Connection, statuses: dict[int, str]):
    """Nobody expects recordings of them."""
    connection.execute(text("UPDATE asleep.users SET active = FALSE"))

    assert statuses
    assert connection.scalar(text("SELECT count(*) FROM asleep.night_calendar")) == 0
    assert connection.scalar(text("SELECT count(*) FROM asleep.all_night_dates")) == 12, "their metrics stay"


def test_the_ledger_remembers_every_span_that_was_synced(connection: Connection):
    """Daily syncs reach back a few days; what an older one covered must not turn into nights not synced."""
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('one', 'import')"))
    for first, last, listed in ((1, 5, 9), (4, 8, 7), (10, 12, 20)):
        moments = (datetime(2026, 3, day, tzinfo=UTC) for day in (first, last, listed))
        SyncState(connection).finish_users([FinishedUser("one", *moments)], detail="full")
    spans = "SELECT extract(day FROM lower(span)), extract(day FROM upper(span)) "
    spans += "FROM asleep.sync_ledger, unnest(covered) AS span"
    covered = connection.execute(text(spans))

    assert [tuple(row) for row in covered] == [(1, 7), (10, 12)], "up to the moment of the list"
