"""The monthly averages against an independent computation with pandas and numpy.

The expectation starts from the API's records and the definitions alone; it uses neither our SQL nor our rows.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, example, given, settings
from sqlalchemy import Connection, Engine, text

from assets.metrics.monthly_summary import summarise
from resources.asleep.records import SleepSession, Stat
from resources.database.users.registry import Registry
from tests.expected_averages import DAY, MEANS, Spans, expected, same
from tests.warehouse_sessions import session, slept, store

UNKNOWN_TO_POSTGRES = "Mars/Olympus_Mons"
ZONES = (
    "Asia/Seoul", "Europe/Berlin", "America/New_York", "Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu",
    "Australia/Lord_Howe", "America/Coyhaique", "UTC", UNKNOWN_TO_POSTGRES, "", None,
)  # fmt: skip
TURNS = (
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York jumps to summer time
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # Berlin jumps to summer time
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # Berlin repeats an hour
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe repeats half an hour
    datetime(2026, 2, 28, 15, tzinfo=UTC),  # midnight in Seoul between two months
    datetime(2026, 3, 31, 22, tzinfo=UTC),  # midnight in Berlin between two months
    datetime(2025, 12, 31, 10, tzinfo=UTC),  # new year in Kiritimati
)

COVERED: tuple[Spans, ...] = (
    (),
    ((datetime(2025, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)),),
    (
        (datetime(2026, 3, 7, tzinfo=UTC), datetime(2026, 3, 20, 5, tzinfo=UTC)),
        (datetime(2026, 3, 25, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)),
    ),
)

seconds = st.one_of(st.none(), st.integers(0, 2 * DAY))
statistics = st.builds(
    Stat()._replace,  # the class itself would have all other fields made up, too
    **{name: seconds for name in MEANS if name not in {"time_in_sleep", "breathing_index", "sleep_cycle"}},
    time_in_sleep=st.one_of(st.none(), st.just(0), st.integers(0, 30 * 3600)),
    breathing_index=st.one_of(st.none(), st.floats(0, 120, allow_nan=False)),
    sleep_cycle=st.one_of(st.none(), st.integers(0, 20000)),
)
ordinary = st.builds(slept, sleep_latency=seconds, time_in_bed=seconds)
starts = st.one_of(
    st.builds(lambda turn, around: turn + timedelta(seconds=around), st.sampled_from(TURNS), st.integers(-DAY, DAY)),
    st.datetimes(datetime(2026, 1, 1), datetime(2026, 12, 31), timezones=st.just(UTC)).map(  # noqa: DTZ001 aware
        lambda moment: moment.replace(microsecond=0)
    ),
)
PECULIARITIES = ((), ("NO_BREATHING_STABILITY",), ("NEVER_SLEPT",), ("TOO_LONG_FOR_ANALYSIS", "NO_BREATHING_STABILITY"))


@st.composite
def night(draw: st.DrawFn, number: int) -> SleepSession:
    """A session with every violation: naps, half-hour nights, nights over a day, open ends, null statistics."""
    start = draw(starts)
    length = draw(st.one_of(st.integers(20 * 60, 32 * 60), st.integers(4 * 3600, 10 * 3600), st.integers(DAY, 2 * DAY)))
    end = draw(st.sampled_from([start + timedelta(seconds=length), None]))
    stat = draw(st.one_of(st.none(), ordinary, statistics))
    if stat is not None:
        stat = stat._replace(
            sleep_time=draw(st.sampled_from([start + timedelta(minutes=9), None])),
            wake_time=draw(st.sampled_from([start + timedelta(seconds=length - 60), None])),
        )
    return session(
        draw(st.sampled_from(["one", "two"])),
        start,
        stat,
        draw(st.sampled_from(ZONES)),
        session_id=f"{start:%Y%m%d%H%M%S}_{number:05}",
        session_end_time=end,
        state=draw(st.sampled_from(["COMPLETE", "COMPLETE", "COMPLETE", "CLOSED", "OPEN", "REOPENED"])),
        peculiarities=draw(st.sampled_from(PECULIARITIES)),
        missing_data_ratio=draw(st.sampled_from([None, 0.0, 0.2, 0.25])),
    )


some_nights = st.integers(1, 8).flatmap(lambda count: st.tuples(*(night(number) for number in range(count))))


def stored(connection: Connection) -> dict[tuple[str, date], dict[str, Any]]:
    """The table's rows by user and month."""
    rows = connection.execute(text("SELECT * FROM asleep.monthly_averages")).mappings()
    return {(row["user_id"], row["month"]): dict(row) for row in rows}


NEAR_MIDNIGHT = (
    session("one", datetime(2026, 3, 6, 14, 50, tzinfo=UTC), slept()),
    session("one", datetime(2026, 3, 7, 15, 10, tzinfo=UTC), slept()),
)
OPPOSITE = (
    session("one", datetime(2026, 3, 6, 0, tzinfo=UTC), slept()),
    session("one", datetime(2026, 3, 7, 12, tzinfo=UTC), slept()),
)


@given(
    sessions=some_nights,
    registered=st.sampled_from([None, "Asia/Tokyo", UNKNOWN_TO_POSTGRES]),
    covered=st.sampled_from(COVERED),
)
@example(sessions=NEAR_MIDNIGHT, registered=None, covered=COVERED[1])
@example(sessions=NEAR_MIDNIGHT, registered=None, covered=COVERED[2])
@example(sessions=OPPOSITE, registered=None, covered=())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_averages_equal_an_independent_computation(
    engine: Engine, sessions: tuple[SleepSession, ...], registered: str | None, covered: Spans
):
    """Every field of every user-month, over midnight, clock changes, naps, nulls, odd zones and odd lengths."""
    with engine.connect() as connection, connection.begin() as transaction:
        Registry(connection).add([(user_id, registered) for user_id in ("one", "two")])
        spans = "{" + ", ".join(f"[{first.isoformat()}, {last.isoformat()})" for first, last in covered) + "}"
        connection.execute(
            text(
                "INSERT INTO asleep.sync_ledger (user_id, window_start, window_end, listed_at, detail, covered) "
                "SELECT user_id, now(), now(), now(), 'full', CAST(:spans AS tstzmultirange) FROM asleep.users"
            ),
            {"spans": spans},
        )
        store(connection, sessions)
        summarise(connection)
        ours = stored(connection)
        transaction.rollback()
    theirs = expected(sessions, registered, covered, datetime.now(UTC).date())

    assert ours.keys() == theirs.keys()
    assert all({*values, "user_id", "month", "computed_at"} == ours[key].keys() for key, values in theirs.items())
    wrong = [
        (key, name, ours[key][name], value)
        for key, values in theirs.items()
        for name, value in values.items()
        if not same(ours[key][name], value)
    ]
    assert not wrong


def test_bed_times_around_midnight_meet_at_midnight(connection: Connection):
    """A plain mean of 23:50 and 00:10 is noon: the mistake this table must never make."""
    store(connection, NEAR_MIDNIGHT)
    summarise(connection)

    assert stored(connection)["one", date(2026, 3, 1)]["avg_start_time"] == time(0, 0)


def test_opposite_clock_times_have_no_mean(connection: Connection):
    """Midnight and noon cancel out; any answer would be noise of the last digit."""
    store(connection, OPPOSITE)
    summarise(connection)

    assert stored(connection)["one", date(2026, 3, 1)]["avg_start_time"] is None


def test_ratios_weigh_nights_by_their_length(connection: Connection):
    """A half-hour nap must not count as much as a night: ratio of sums, not mean of ratios."""
    nap = slept(time_in_bed=1860, time_in_sleep=930)
    long = slept(time_in_bed=28800, time_in_sleep=27360)
    store(connection, [session("one", datetime(2026, 3, 6, 14, tzinfo=UTC), long)])
    store(connection, [session("one", datetime(2026, 3, 7, 4, tzinfo=UTC), nap)])
    summarise(connection)

    efficiency = stored(connection)["one", date(2026, 3, 1)]["avg_sleep_efficiency"]
    assert efficiency == pytest.approx((930 + 27360) / (1860 + 28800))


@pytest.mark.parametrize("month", range(1, 13))
def test_nights_counts_every_day_of_a_month(connection: Connection, month: int):
    """The first date of a month and the last one count, too."""
    days = calendar.monthrange(2026, month)[1]
    moments = [datetime(2026, month, day, 12, tzinfo=UTC) for day in range(1, days + 1)]
    store(connection, [session("one", moment, slept(), "UTC") for moment in moments])
    summarise(connection)

    assert stored(connection)["one", date(2026, month, 1)]["nights"] == days
