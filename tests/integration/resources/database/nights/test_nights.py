"""Which night a session belongs to: the cases, an independent computation, and writers at the same time."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
import pytest
from expected_nights import Assigned, Recorded, expected_nights
from hypothesis import HealthCheck, given, settings
from sqlalchemy import Connection, Engine, text

from assets.metrics.monthly_summary import summarise
from resources.asleep.records import SleepSession
from resources.database.sync.deletions import Deletion, mark_deleted
from resources.database.users.registry import Registry
from tests.warehouse_sessions import session, slept, store

CASES = sorted((Path(__file__).parent / "cases").glob("*.json"))
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)
WINDOW = (NOON - timedelta(days=10), NOON + timedelta(days=10))


def stored(connection: Connection) -> dict[str, Assigned]:
    """The night of each stored session."""
    rows = connection.execute(
        text(
            "SELECT session_id, night_date, episode_id, night_role FROM asleep.sleep_sessions WHERE deleted_at IS NULL"
        )
    )
    return {row.session_id: Assigned(row.night_date, row.episode_id, row.night_role) for row in rows}


def recorded(each: SleepSession) -> Recorded:
    """What the rules look at."""
    stat, zone = each.stat, ZoneInfo(each.created_timezone or "UTC")
    return Recorded(
        session_id=each.session_id,
        user_id=each.user_id,
        start=each.session_start_time,
        end=each.session_end_time,
        slept=bool(stat and stat.time_in_sleep)
        and each.state == "COMPLETE"
        and "NEVER_SLEPT" not in each.peculiarities,
        time_in_sleep=stat.time_in_sleep if stat else None,
        sleep_time=stat.sleep_time if stat else None,
        wake_time=stat.wake_time if stat else None,
        peculiarities=each.peculiarities,
        to_local=lambda moment: moment.astimezone(zone),
    )


def sleep(start: datetime, hours: float, user_id: str = "one", **given: Any) -> SleepSession:
    """A session that is asleep all the time."""
    seconds = round(hours * 3600)
    stat = slept(
        time_in_sleep=given.pop("time_in_sleep", seconds), time_in_bed=seconds, sleep_latency=0, time_in_wake=0
    )
    return session(
        user_id, start, stat, given.pop("zone", "UTC"), session_end_time=start + timedelta(seconds=seconds), **given
    )


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_case(connection: Connection, path: Path):
    """Nights around midnight, a restarted app, a forgotten recording, shift work: wrong by the start's date."""
    case = json.loads(path.read_text("utf-8"))
    for each in case["sessions"]:
        start, end = (datetime.fromisoformat(each[name]) for name in ("start_time", "end_time"))
        store(connection, [
            session("one", start, slept(time_in_sleep=each["time_in_sleep"]), each["created_timezone"],
                    session_id=each["session_id"], session_end_time=end,
                    peculiarities=tuple(each.get("peculiarities", ()))),
        ])  # fmt: skip
    rows = connection.execute(text("SELECT * FROM asleep.nights ORDER BY night_date")).all()
    found = [
        {
            "night_date": str(row.night_date),
            "hours": round(row.time_in_sleep / 3600, 2),
            "naps": row.naps,
            "doubtful": row.doubtful_sessions,
            "onset": f"{row.sleep_time_local:%H:%M}",
            "wake": f"{row.wake_time_local:%H:%M}",
            "hours_of_date": round(row.time_in_sleep_of_date / 3600, 2),
        }
        for row in rows
    ]

    assert len(found) == len(case["expected"])
    for ours, expected in zip(found, case["expected"], strict=True):
        assert {name: ours[name] for name in expected} == expected


def test_thirty_nights_around_midnight_are_thirty_nights(connection: Connection):
    """Seven hours from 23:45 and from 00:15 in turn: no night of fourteen hours, and no nap."""
    starts = [datetime(2026, 9, day, 23, 45, tzinfo=UTC) + timedelta(minutes=30 * (day % 2)) for day in range(1, 31)]
    store(connection, [sleep(start, 7) for start in starts])
    summarise(connection)
    nights = connection.execute(text("SELECT night_date, time_in_sleep_of_date, naps FROM asleep.nights")).all()

    assert len({night.night_date for night in nights}) == len(nights) == 30
    assert {(night.time_in_sleep_of_date, night.naps) for night in nights} == {(7 * 3600, 0)}
    months = connection.execute(text("SELECT nights, avg_time_in_sleep_of_date / 3600 FROM asleep.monthly_averages"))
    assert {tuple(row) for row in months} == {(29, 7.0), (1, 7.0)}


def test_a_session_in_between_joins_two_nights_and_its_deletion_parts_them(connection: Connection):
    """The neighbours of a changed session are assigned again, on both sides of midnight."""
    evening, morning = sleep(NOON + timedelta(hours=7), 4), sleep(NOON + timedelta(hours=13), 3)
    between = sleep(NOON + timedelta(hours=11.5), 1)
    store(connection, [evening, morning])
    apart = stored(connection)
    store(connection, [between])
    joined = stored(connection)
    mark_deleted(
        connection, [Deletion("one", between.session_id, datetime(2028, 1, 1, tzinfo=UTC))], window=WINDOW, accept=True
    )

    assert [apart[s.session_id].night_date.day for s in (evening, morning)] == [1, 2]
    assert {joined[s.session_id] for s in (evening, between, morning)} == {
        Assigned(date(2026, 9, 2), evening.session_id, "main")
    }
    assert stored(connection) == apart


def test_a_nap_becomes_the_main_sleep_when_the_longer_one_shrinks(connection: Connection):
    """A re-analysis may halve a night; the date's other episode is then the longest."""
    night, nap = sleep(NOON - timedelta(hours=12), 6), sleep(NOON, 2)
    store(connection, [night, nap])
    assert stored(connection)[nap.session_id].night_role == "nap"
    store(
        connection,
        [sleep(NOON - timedelta(hours=12), 6, time_in_sleep=3600, asked_at=datetime(2028, 1, 1, tzinfo=UTC))],
    )

    assert stored(connection)[nap.session_id].night_role == "main"
    assert stored(connection)[night.session_id].night_role == "nap"


def test_months_of_both_dates_are_stale_when_a_night_moves(connection: Connection):
    """A session in the next month's first hours takes the evening before along."""
    evening = sleep(datetime(2026, 9, 30, 20, tzinfo=UTC), 3.5)
    store(connection, [evening])
    connection.execute(text("DELETE FROM asleep.stale_months"))
    store(connection, [sleep(datetime(2026, 10, 1, 0, 10, tzinfo=UTC), 3)])
    months = connection.scalars(text("SELECT month FROM asleep.stale_months ORDER BY month")).all()

    assert months == [date(2026, 9, 1), date(2026, 10, 1)]


QUARTER = timedelta(minutes=15)
lengths = st.sampled_from([1, 2, 3, 4, 5, 8, 12, 20, 30, 34, 60, 95, 96, 97, 120])  # quarters of an hour
moments = st.builds(lambda quarters: NOON + quarters * QUARTER, st.integers(0, 4 * 24 * 6))
zones = st.sampled_from(["UTC", "UTC", "Asia/Seoul", "America/Los_Angeles", "Pacific/Kiritimati"])


@st.composite
def some_session(draw: st.DrawFn, number: int) -> SleepSession:
    """A session of any length and kind among few days, so that most have neighbours."""
    start, quarters = draw(moments), draw(lengths)
    end = draw(st.sampled_from([start + quarters * QUARTER] * 9 + [None]))
    edges = st.sampled_from([None, None, timedelta(0), QUARTER, timedelta(minutes=14), -QUARTER])
    onset, early = draw(edges), draw(edges)
    return session(
        draw(st.sampled_from(["one", "two"])), start,
        slept(
            time_in_sleep=draw(st.sampled_from([0, 600, 3600, 3600, 25200])),
            sleep_time=None if onset is None else start + onset,
            wake_time=None if early is None or end is None else end - early,
        ),
        draw(zones), session_id=f"{start:%Y%m%d%H%M%S}_{number:05}", session_end_time=end,
        state=draw(st.sampled_from(["COMPLETE"] * 5 + ["OPEN"])),
        peculiarities=draw(st.sampled_from([()] * 6 + [("NEVER_SLEPT",), ("TOO_LONG_FOR_ANALYSIS",)])),
    )  # fmt: skip


some_sessions = st.integers(1, 12).flatmap(lambda count: st.tuples(*(some_session(number) for number in range(count))))


@given(sessions=some_sessions, data=st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_nights_equal_an_independent_computation(
    engine: Engine, sessions: tuple[SleepSession, ...], data: st.DataObject
):
    """In whatever pieces the sessions come, are changed and go: what is stored is what all of them give at once."""
    with engine.connect() as connection, connection.begin() as transaction:
        alive: dict[str, SleepSession] = {}
        rest = list(data.draw(st.permutations(sessions)))
        moment = datetime(2027, 1, 1, tzinfo=UTC)
        while rest:
            some = [rest.pop() for _ in range(data.draw(st.integers(1, len(rest))))]
            moment += timedelta(hours=1)
            store(connection, [replace(each, asked_at=moment) for each in some])
            alive |= {each.session_id: each for each in some}
            if data.draw(st.booleans()):
                gone = alive.pop(data.draw(st.sampled_from(sorted(alive))))
                mark_deleted(connection, [Deletion(gone.user_id, gone.session_id, moment)], window=WINDOW, accept=True)
            if alive and data.draw(st.booleans()):
                changed = alive[data.draw(st.sampled_from(sorted(alive)))]
                end = changed.session_start_time + data.draw(lengths) * QUARTER
                moment += timedelta(hours=1)
                changed = replace(changed, session_end_time=end, asked_at=moment)
                store(connection, [changed])
                alive[changed.session_id] = changed
        ours = stored(connection)
        months = {tuple(row) for row in connection.execute(text("SELECT user_id, month FROM asleep.stale_months"))}
        transaction.rollback()

    assert ours == expected_nights(recorded(each) for each in alive.values())
    assert {(alive[name].user_id, night.night_date.replace(day=1)) for name, night in ours.items()} <= months


@pytest.fixture
def _committed(engine: Engine) -> Iterator[None]:
    """Users that exist, and tables left empty."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('one', 'import')"))
    yield
    with engine.begin() as connection:
        for table in ("sleep_sessions", "session_payloads", "stale_months", "users"):
            connection.execute(text(f"DELETE FROM asleep.{table}"))


@pytest.mark.usefixtures("_committed")
def test_writers_at_the_same_time_see_each_others_sessions(engine: Engine):
    """Two transactions that write neighbours at once: the later one has to find the earlier one's session."""
    pieces = [sleep(NOON + timedelta(minutes=50 * n), 0.5) for n in range(40)]

    def write(own: list[SleepSession]) -> None:
        for piece in own:
            with engine.begin() as connection:
                Registry(connection).hold(["one"])
                store(connection, [piece])

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, [pieces[n::4] for n in range(4)]))
    with engine.connect() as connection:
        assert stored(connection) == expected_nights(recorded(piece) for piece in pieces)
