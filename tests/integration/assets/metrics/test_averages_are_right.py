"""The monthly averages against an independent computation with pandas and numpy.

The expectation starts from the API's records and the definitions alone; it uses neither our SQL nor our rows.
"""

import calendar
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from expected_nights import Recorded, date_of, episodes_of, expected_nights
from hypothesis import HealthCheck, assume, example, given, settings
from sqlalchemy import Connection, Engine, text

from assets.metrics.monthly_summary import summarise
from resources.asleep.records import SleepSession, Stat
from resources.database.users.registry import Registry
from tests.warehouse_sessions import session, slept, store

MEANS = (
    "sleep_index sleep_latency wakeup_latency light_latency deep_latency rem_latency time_in_bed time_in_sleep_period "
    "time_in_sleep time_in_wake time_in_light time_in_deep time_in_rem time_in_stable_breath time_in_unstable_breath "
    "time_in_snoring time_in_no_snoring unstable_breath_count waso_count longest_waso sleep_cycle_count sleep_cycle "
    "snoring_count breathing_index"
).split()
RATIOS = {
    "sleep_efficiency": ("time_in_sleep", "time_in_bed"),
    "sleep_ratio": ("time_in_sleep", "time_in_sleep_period"),
    "wake_ratio": ("time_in_wake", "time_in_sleep_period"),
    "light_ratio": ("time_in_light", "time_in_sleep_period"),
    "deep_ratio": ("time_in_deep", "time_in_sleep_period"),
    "rem_ratio": ("time_in_rem", "time_in_sleep_period"),
    "stable_breath_ratio": ("time_in_stable_breath", "time_in_sleep_period"),
    "unstable_breath_ratio": ("time_in_unstable_breath", "time_in_sleep_period"),
    "snoring_ratio": ("time_in_snoring", "time_in_sleep_period"),
    "no_snoring_ratio": ("time_in_no_snoring", "time_in_sleep_period"),
}
CLOCKS = ("start_time", "end_time", "sleep_time", "wake_time")
DAY = 86400

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

Spans = tuple[tuple[datetime, datetime], ...]
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


def zone_of(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except ZoneInfoNotFoundError:
        return None


def local_zone(each: SleepSession, sessions: tuple[SleepSession, ...], registered: str | None) -> ZoneInfo:
    """The session's own zone, else that of the nearest earlier one, else the nearest later one, else the registered."""
    place = (each.session_start_time, each.session_id)
    others = sorted(
        ((other.session_start_time, other.session_id), zone)
        for other in sessions
        if other.user_id == each.user_id and (zone := other.created_timezone) and zone_of(zone)
    )
    earlier = [zone for at, zone in others if at < place]
    later = [zone for at, zone in others if at > place]
    for name in (each.created_timezone, *earlier[-1:], *later[:1], registered):
        if found := zone_of(name):
            return found
    return ZoneInfo("UTC")


def recorded(each: SleepSession, sessions: tuple[SleepSession, ...], registered: str | None) -> Recorded:
    """What the rules of nights look at."""
    stat = each.stat or Stat()
    zone = local_zone(each, sessions, registered)
    return Recorded(
        session_id=each.session_id,
        user_id=each.user_id,
        start=each.session_start_time,
        end=each.session_end_time,
        slept=each.state == "COMPLETE" and bool(stat.time_in_sleep) and "NEVER_SLEPT" not in each.peculiarities,
        time_in_sleep=stat.time_in_sleep,
        sleep_time=stat.sleep_time,
        wake_time=stat.wake_time,
        peculiarities=each.peculiarities,
        to_local=lambda moment: moment.astimezone(zone),
    )


def clock(moment: datetime) -> float:
    """Seconds after midnight."""
    return moment.hour * 3600 + moment.minute * 60 + moment.second + moment.microsecond / 1e6


def night_figures(sessions: tuple[SleepSession, ...], registered: str | None) -> pd.DataFrame:
    """One row per date with a main sleep."""
    by_id = {each.session_id: each for each in sessions}
    rows = []
    for user_id in {each.user_id for each in sessions}:
        own = [recorded(each, sessions, registered) for each in sessions if each.user_id == user_id]
        roles = expected_nights(own)
        for episode in episodes_of(own):
            stats = [by_id[piece.session_id].stat or Stat() for piece in episode]
            onset, awake = min(p.asleep_at for p in episode), max(p.awake_at for p in episode)
            between = (awake - onset) - sum((p.awake_at - p.asleep_at for p in episode), timedelta())
            wake = [stat.time_in_wake for stat in stats if stat.time_in_wake is not None]
            ends = [p.end for p in episode if p.end is not None]
            in_bed = stats[0].time_in_bed
            if len(episode) > 1:
                in_bed = int((max(ends) - min(p.start for p in episode)).total_seconds()) if ends else None
            first_local = min(p.to_local(p.asleep_at).replace(tzinfo=None) for p in episode)
            last_local = max(p.to_local(p.awake_at).replace(tzinfo=None) for p in episode)
            rows.append(
                {
                    "user_id": user_id,
                    "night_date": date_of(episode),
                    "role": roles[episode[0].session_id].night_role,
                    "is_valid": (in_bed or 0) >= 3 * 3600
                    and max(by_id[p.session_id].missing_data_ratio or 0 for p in episode) <= 0.2,
                    "asleep": sum(p.time_in_sleep or 0 for p in episode),
                    "in_bed": in_bed,
                    "latency": stats[0].sleep_latency,
                    "waso": sum(wake) + (max(0, int(between.total_seconds())) if len(episode) > 1 else 0)
                    if wake
                    else None,
                    "onset": clock(first_local),
                    "wake": clock(last_local),
                    "midpoint": clock(first_local + (awake - onset) / 2),
                }
            )
    table = pd.DataFrame(rows, columns=["user_id", "night_date", "role", "is_valid", *FIGURES])
    return table.assign(month=[day.replace(day=1) for day in table["night_date"]])


FIGURES = ("asleep", "in_bed", "latency", "waso", "onset", "wake", "midpoint")


def expected_of_nights(nights: pd.DataFrame) -> dict[str, Any]:
    """The per-night columns of one user-month."""
    main = nights[nights["role"] == "main"]
    valid = main[main["is_valid"].astype(bool)]
    asleep = nights[nights["night_date"].isin(valid["night_date"])]["asleep"].sum()
    known = {name: valid[name].astype(float).dropna() for name in ("latency", "waso")}
    return {
        "nights": len(main),
        "valid_nights": len(valid),
        "naps": int((nights["role"] == "nap").sum()),
        "avg_time_in_sleep_of_date": asleep / len(valid) if len(valid) else None,
        "avg_efficiency_of_night": valid["asleep"].sum() / valid["in_bed"].sum() if len(valid) else None,
        **{f"avg_{name}_of_night": values.mean() if len(values) else None for name, values in known.items()},
        **{f"avg_{name}_of_night": circular_mean(valid[name]) for name in ("onset", "wake", "midpoint")},
    }


def expected_statuses(table: pd.DataFrame, month: date, covered: Spans, today: date) -> dict[str, Any]:
    """What became of the dates of one user's month, from all of the user's sessions."""
    end = (month + timedelta(days=31)).replace(day=1)
    counts = dict.fromkeys(("no_sleep_found", "not_analysable", "doubtful", "missing", "not_synced"), 0)
    days = nights = 0
    for number in range((end - month).days):
        day = month + timedelta(days=number)
        own = table[table["date"] == day]
        recorded = (own["role"] == "main").any()
        if day < table["date"].min() or (day >= today and not recorded):
            continue
        days, nights = days + 1, nights + int(recorded)
        if recorded:
            continue
        midnight = datetime.combine(day, time(), UTC)
        if not len(own):
            whole = any(first <= midnight - timedelta(days=1) and midnight + timedelta(days=1) <= last
                        for first, last in covered)  # fmt: skip
            status = "missing" if whole else "not_synced"
        elif (own["role"] == "doubtful").any():
            status = "doubtful"
        elif (own["kind"] == "never_slept").any():
            status = "no_sleep_found"
        else:
            status = "not_analysable" if (own["state"] == "COMPLETE").any() else "not_synced"
        counts[status] += 1
    return {
        **{f"{status}_nights": count for status, count in counts.items()},
        "days": days,
        "coverage": nights / days if days else None,
        "as_of": min(today, end),
        "is_complete": end <= today,
    }


def circular_mean(clock_seconds: pd.Series) -> float | None:
    """The direction of the mean of the hands of the clock; none when they cancel out."""
    known = clock_seconds.dropna().to_numpy(dtype=float)
    if not len(known):
        return None
    hand = np.exp(2j * np.pi * known / DAY).mean()
    assume(not 1e-8 < abs(hand) < 1e-5)
    return float(np.angle(hand) * DAY / (2 * np.pi)) if abs(hand) > 1e-6 else None


def frame(sessions: tuple[SleepSession, ...], registered: str | None) -> pd.DataFrame:
    """The records as a table: one row a session, clock times in seconds after local midnight."""
    rows = []
    nights = expected_nights(recorded(each, sessions, registered) for each in sessions)
    for each in sessions:
        stat = (each.stat or Stat())._asdict()
        moments = (each.session_start_time, each.session_end_time, stat["sleep_time"], stat["wake_time"])
        zone = local_zone(each, sessions, registered)
        clocks = [None if moment is None else moment.astimezone(zone) for moment in moments]
        shown = {
            name: None if clock is None else clock.hour * 3600 + clock.minute * 60 + clock.second
            for name, clock in zip(CLOCKS, clocks, strict=True)
        }
        never = "NEVER_SLEPT" in each.peculiarities
        asleep = stat["time_in_sleep"]
        kind = "unanalysed"
        if each.state == "COMPLETE" and (never or asleep == 0):
            kind = "never_slept"
        elif each.state == "COMPLETE" and asleep is not None:
            kind = "slept"
        night = nights[each.session_id]
        rows.append(
            stat
            | shown
            | {
                "user_id": each.user_id,
                "date": night.night_date,
                "kind": kind,
                "role": night.night_role,
                "state": each.state,
            }
        )
    table = pd.DataFrame(rows)
    table["month"] = [day.replace(day=1) for day in table["date"]]
    return table


def expected(
    sessions: tuple[SleepSession, ...], registered: str | None, covered: Spans, today: date
) -> dict[tuple[str, date], dict[str, Any]]:
    """The averages by the definitions, computed with pandas and numpy."""
    found = {}
    nights, table = night_figures(sessions, registered), frame(sessions, registered)
    for key, month in table.groupby(["user_id", "month"]):
        asleep = month[month["kind"] == "slept"]
        values: dict[str, Any] = {
            "sessions": len(month),
            "slept_sessions": len(asleep),
            "never_slept_sessions": int((month["kind"] == "never_slept").sum()),
            "unanalysed_sessions": int((month["kind"] == "unanalysed").sum()),
            "doubtful_sessions": int((month["role"] == "doubtful").sum()),
            "overlapping_sessions": int((month["role"] == "overlapping").sum()),
        }
        values |= expected_of_nights(nights[(nights["user_id"] == key[0]) & (nights["month"] == key[1])])
        values |= expected_statuses(table[table["user_id"] == key[0]], key[1], covered, today)
        values |= {f"avg_{name}": circular_mean(asleep[name].astype(float)) for name in CLOCKS}
        for name in MEANS:
            known = asleep[name].astype(float).dropna()
            values[f"avg_{name}"] = float(known.mean()) if len(known) else None
        for name, (over, under) in RATIOS.items():
            both = asleep[[over, under]].astype(float).dropna()
            whole = both[under].sum()
            values[f"avg_{name}"] = float(both[over].sum() / whole) if whole else None
        found[key] = values
    return found


def stored(connection: Connection) -> dict[tuple[str, date], dict[str, Any]]:
    """The table's rows by user and month."""
    rows = connection.execute(text("SELECT * FROM asleep.monthly_averages")).mappings()
    return {(row["user_id"], row["month"]): dict(row) for row in rows}


def same(ours: Any, theirs: Any) -> bool:
    """Equal but for the last digits of floating point, and the rounding of clock times to whole seconds."""
    if ours is None or theirs is None or isinstance(theirs, date | bool):
        return ours is theirs or ours == theirs
    if isinstance(ours, time):
        apart = (ours.hour * 3600 + ours.minute * 60 + ours.second - theirs + DAY / 2) % DAY - DAY / 2
        return ours.microsecond == 0 and abs(apart) <= 0.5 + 1e-6
    return ours == pytest.approx(theirs, rel=1e-12, abs=1e-12)


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
