"""The zone of a session's local times does not depend on the order in which sessions arrive."""

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text

from assets.sync.session_rows import session_row, statistics_row
from resources.asleep.records import NeverSleptSession, SleepSession
from resources.database.sync.deletions import Deletion, mark_deleted
from resources.database.sync.upsert import upsert_sessions
from resources.database.users.registry import Registry

USER = "G-1"
FIRST = datetime(2026, 11, 1, 16, 30, tzinfo=UTC)
LATER = datetime(2027, 1, 1, tzinfo=UTC)


def night(number: int, zone: str | None, user_id: str = USER) -> SleepSession:
    """A session on the day of this number. It starts at 16:30 UTC: the next day in Seoul, the same one in New York."""
    start = FIRST + timedelta(days=number)
    return SleepSession(
        session_id=f"{start:%Y%m%d%H%M%S}_{number:05}", user_id=user_id, state="COMPLETE", session_start_time=start,
        session_end_time=start + timedelta(hours=7), unexpected_end_time=None, created_timezone=zone,
        peculiarities=(), missing_data_ratio=0.0, stat=None, sleep_stages=None, breath_stages=None, snoring_stages=None,
        raw=b"{}", payload_hash=f"{number:016}".encode(), contract_violations=(), asked_at=LATER,
    )  # fmt: skip


def put(connection: Connection, *sessions: SleepSession) -> tuple[int, int, int]:
    """Store sessions; as if in a transaction of their own, of which each test has one only."""
    written = upsert_sessions(connection, [session_row(each) for each in sessions])
    connection.execute(text("DELETE FROM incoming_sessions"))
    return written["sessions_inserted"], written["sessions_updated"], written["sessions_unchanged"]


def zones(connection: Connection, user_id: str = USER) -> list[tuple[str, str]]:
    """Zone and its source of each session that exists, by start."""
    found = connection.execute(
        text(
            "SELECT local_zone, zone_source FROM asleep.sleep_sessions "
            "WHERE deleted_at IS NULL AND user_id = :user_id ORDER BY session_start_time"
        ),
        {"user_id": user_id},
    )
    return [tuple(row) for row in found]


@pytest.mark.parametrize(
    ("zone", "day", "source"),
    [
        ("Asia/Seoul", "2026-11-21", "own"),
        ("GMT+09:00", "2026-11-21", "offset"),
        ("asia/seoul", "2026-11-21", "own"),
        ("America/New_York", "2026-11-20", "own"),
        ("Asia/Beijing", "2026-11-20", "utc"),
    ],
)
def test_the_local_date_follows_what_the_phone_sent(world: Any, zone: str, day: str, source: str):
    """Phones spell zones in many ways. A name that nobody knows is on record and never read as UTC in silence."""
    user = world.add_user()
    world.add_nights(user, datetime(2026, 11, 20, 16, 30, tzinfo=UTC), zone=zone)
    world.sync()

    assert world.wrong() == []
    [row] = world.rows("SELECT * FROM asleep.sleep_sessions")
    assert (str(row.local_date), row.zone_source) == (day, source)
    known = zone != "Asia/Beijing"
    assert row.contract_violations == ([] if known else ["session.created_timezone: unknown time zone"])


def test_two_mirrors_of_one_source_agree_whatever_came_first(new_world: Any):
    """One read the days forwards, one backwards, one at random: every local date and time is the same."""
    columns = "session_id, local_zone, zone_source, local_date, session_start_local, wake_time_local"
    mirrors = []
    names = ("Asia/Seoul", "Not/AZone", "UTC+9", "", "America/New_York", "Asia/Beijing")
    for order in ("forwards", "backwards", "random"):
        world = new_world()
        dice = Random("zones of the nights")  # noqa: S311 reproducible, not secret
        for user in [world.add_user() for _ in range(4)]:
            for number in range(1, 13):
                world.add_nights(user, world.ago(number), zone=dice.choice(names), epochs=60)
        days = list(range(1, 13))
        if order == "random":
            Random(3).shuffle(days)  # noqa: S311
        for ago in days if order != "forwards" else reversed(days):
            world.sync_days(world.ago(ago).date(), world.ago(ago).date())
        assert world.wrong() == []
        mirrors.append(world.rows(f"SELECT {columns} FROM asleep.sleep_sessions ORDER BY session_id"))

    assert mirrors[0] == mirrors[1] == mirrors[2]
    assert {row.zone_source for row in mirrors[0]} == {"own", "offset", "earlier", "later"}


def test_the_nearest_earlier_zone_counts_then_the_nearest_later_then_the_registered(connection: Connection):
    Registry(connection).add([(USER, "Europe/Berlin")])
    put(connection, night(5, None))
    assert zones(connection) == [("Europe/Berlin", "registered")]

    put(connection, night(9, "America/New_York"))
    assert zones(connection)[0] == ("America/New_York", "later")
    put(connection, night(7, "GMT+09:00"))
    assert zones(connection)[0] == ("+09:00", "later")
    put(connection, night(1, "Asia/Tokyo"))
    assert zones(connection)[1] == ("Asia/Tokyo", "earlier")
    put(connection, night(3, "asia/seoul"))
    assert zones(connection)[2] == ("Asia/Seoul", "earlier")
    put(connection, night(4, "Not/AZone"))
    assert zones(connection)[2:4] == [("Asia/Seoul", "earlier")] * 2


def test_a_session_deleted_at_the_source_lends_no_zone(connection: Connection):
    lender, borrower = night(1, "Asia/Seoul"), night(2, None)
    Registry(connection).add([(USER, None)])
    put(connection, lender, borrower)
    assert zones(connection) == [("Asia/Seoul", "own"), ("Asia/Seoul", "earlier")]

    mark_deleted(connection, [Deletion(USER, lender.session_id, LATER)], window=(lender.session_start_time, LATER))
    assert zones(connection) == [("UTC", "utc")]
    put(connection, replace(lender, asked_at=LATER + timedelta(days=1)))
    assert zones(connection) == [("Asia/Seoul", "own"), ("Asia/Seoul", "earlier")]


def test_a_zone_that_changes_moves_the_sessions_that_borrow_it(connection: Connection):
    """The month that loses a night and the month that gains it are computed again."""
    Registry(connection).add([(USER, None)])
    put(connection, night(28, "Asia/Seoul"), night(29, None))
    connection.execute(text("DELETE FROM asleep.stale_months"))

    put(connection, replace(night(28, "America/New_York"), payload_hash=b"other"))

    assert zones(connection) == [("America/New_York", "own"), ("America/New_York", "earlier")]
    dates = connection.scalars(text("SELECT local_date::text FROM asleep.sleep_sessions ORDER BY 1")).all()
    assert dates == ["2026-11-29", "2026-11-30"]
    stale = connection.scalars(text("SELECT month::text FROM asleep.stale_months ORDER BY 1")).all()
    assert stale == ["2026-11-01", "2026-12-01"]


def test_another_users_zone_is_not_borrowed(connection: Connection):
    Registry(connection).add([(USER, None), ("G-2", None)])
    put(connection, night(1, "Asia/Seoul", "G-2"), replace(night(2, None), session_id="other"))

    assert zones(connection) == [("UTC", "utc")]


def test_a_registered_zone_that_comes_later_counts_for_what_is_stored(connection: Connection):
    """A webhook registers a user without a zone; the import that follows must reach the nights stored meanwhile."""
    Registry(connection).add([(USER, None)])
    put(connection, night(1, "Not/AZone"))
    Registry(connection).add([(USER, "Asia/Seoul")])

    assert zones(connection) == [("Asia/Seoul", "registered")]
    Registry(connection).add([(USER, None)])
    assert zones(connection) == [("Asia/Seoul", "registered")]


def test_what_borrows_a_zone_is_unchanged_when_it_is_read_again(connection: Connection):
    """Else every re-read would rewrite the row, wake those who follow changes, and recompute its month."""
    Registry(connection).add([(USER, None)])
    put(connection, night(1, "Asia/Seoul"), night(2, "Not/AZone"), night(3, None))
    connection.execute(text("DELETE FROM asleep.stale_months"))

    assert put(connection, night(3, None), night(2, "Not/AZone")) == (0, 0, 2)
    assert connection.scalar(text("SELECT count(*) FROM asleep.stale_months")) == 0


def test_a_session_that_loses_its_own_zone_borrows_one(connection: Connection):
    """The stored zone is its neighbour's from then on, not its own former one."""
    Registry(connection).add([(USER, None)])
    put(connection, night(1, "Asia/Seoul"), night(2, "America/New_York"))
    put(connection, replace(night(2, None), payload_hash=b"other"))

    assert zones(connection) == [("Asia/Seoul", "own"), ("Asia/Seoul", "earlier")]


def test_a_night_without_sleep_known_from_statistics_has_its_neighbours_zone(connection: Connection):
    """Average-stats gives no zone for it."""
    Registry(connection).add([(USER, None)])
    start = FIRST + timedelta(days=2)
    session = NeverSleptSession("20261103163000_never", start, start + timedelta(hours=1), LATER)
    put(connection, night(1, "Asia/Seoul"))
    upsert_sessions(connection, [statistics_row(session, user_id=USER, asked_at=LATER)])

    assert zones(connection)[1] == ("Asia/Seoul", "earlier")


def test_two_transactions_at_once_do_not_miss_each_others_sessions(engine: Engine):
    """One stores the lender, one the borrower; neither sees what the other has not committed yet."""
    user_id = "G-both"
    with engine.begin() as connection:
        Registry(connection).add([(user_id, None)])
    holds = threading.Event()

    def store_borrower() -> None:
        with engine.begin() as connection:
            holds.set()
            Registry(connection).hold([user_id])
            put(connection, night(2, None, user_id))

    with engine.begin() as connection:
        Registry(connection).hold([user_id])
        put(connection, night(1, "Asia/Seoul", user_id))
        other = threading.Thread(target=store_borrower)
        other.start()
        assert holds.wait(10)
        waits = text(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%KEY UPDATE%'"
        )
        with engine.connect() as onlooker:
            while other.is_alive() and not onlooker.scalar(waits):
                onlooker.rollback()
    other.join(30)

    with engine.begin() as connection:
        assert zones(connection, user_id) == [("Asia/Seoul", "own"), ("Asia/Seoul", "earlier")]
        connection.execute(text("DELETE FROM asleep.sleep_sessions WHERE user_id = :it"), {"it": user_id})
