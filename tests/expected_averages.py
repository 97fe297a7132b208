"""The monthly averages by their definitions, computed with pandas and numpy: no SQL and none of our code."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, currently_in_test_context

from resources.asleep.records import SleepSession, Stat
from simulator.expected_tables import tzinfo_of
from tests.expected_nights import Recorded, date_of, episodes_of, expected_nights

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

Spans = tuple[tuple[datetime, datetime], ...]


def zone_of(name: str | None) -> tzinfo | None:
    """The zone of a name or an offset; None when there is no such zone."""
    if name and name[0] in "+-":
        return tzinfo_of(name)
    try:
        return ZoneInfo(name) if name else None
    except ZoneInfoNotFoundError:
        return None


def local_zone(each: SleepSession, sessions: Sequence[SleepSession], registered: str | None) -> tzinfo:
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


def recorded(each: SleepSession, sessions: Sequence[SleepSession], registered: str | None) -> Recorded:
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


def night_figures(sessions: Sequence[SleepSession], registered: str | None) -> pd.DataFrame:
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
            first, last = min(episode, key=lambda p: p.asleep_at), max(episode, key=lambda p: p.awake_at)
            first_local = first.to_local(first.asleep_at).replace(tzinfo=None)
            last_local = last.to_local(last.awake_at).replace(tzinfo=None)
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
                    "midpoint": clock(first_local + (last_local - first_local) / 2),
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
    if currently_in_test_context():
        assume(not 1e-8 < abs(hand) < 1e-5)
    return float(np.angle(hand) * DAY / (2 * np.pi)) if abs(hand) > 1e-6 else None


def frame(sessions: Sequence[SleepSession], registered: str | None) -> pd.DataFrame:
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
    sessions: Sequence[SleepSession], registered: str | None, covered: Spans, today: date
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


def same(ours: Any, theirs: Any) -> bool:
    """Equal but for the last digits of floating point, and the rounding of clock times to whole seconds."""
    if ours is None or theirs is None or isinstance(theirs, date | time | bool | str | list):
        return ours is theirs or ours == theirs
    if isinstance(ours, time):
        apart = (ours.hour * 3600 + ours.minute * 60 + ours.second - theirs + DAY / 2) % DAY - DAY / 2
        return ours.microsecond == 0 and abs(apart) <= 0.5 + 1e-6
    return ours == pytest.approx(theirs, rel=1e-12, abs=1e-12)
