"""Average statistics of a period, as section 5 of the contract describes them."""

from collections.abc import Sequence
from datetime import datetime, tzinfo
from math import atan2, cos, pi, sin
from typing import Any

from simulator.behaviour import Behaviour
from simulator.fields import BREATHING_FIELDS, MEANS, SLEPT_FIELDS
from simulator.figures import stamp
from simulator.model import NO_BREATHING, WITHOUT_STAT, Session
from simulator.render import shown_stat, visible_analysis

DAY_SECONDS = 24 * 3600
CLOCK_TIMES = ("start_time", "end_time", "sleep_time", "wake_time")
RATIOS = {
    "sleep_efficiency": ("time_in_sleep", "time_in_bed"),
    "wake_ratio": ("time_in_wake", "time_in_sleep_period"),
    "sleep_ratio": ("time_in_sleep", "time_in_sleep_period"),
    "light_ratio": ("time_in_light", "time_in_sleep_period"),
    "deep_ratio": ("time_in_deep", "time_in_sleep_period"),
    "rem_ratio": ("time_in_rem", "time_in_sleep_period"),
    "snoring_ratio": ("time_in_snoring", "time_in_sleep_period"),
    "no_snoring_ratio": ("time_in_no_snoring", "time_in_sleep_period"),
}
BREATHING_RATIOS = {
    "stable_breath_ratio": ("time_in_stable_breath", "time_in_sleep_period"),
    "unstable_breath_ratio": ("time_in_unstable_breath", "time_in_sleep_period"),
}
COUNTS = ("breathing_index", "waso_count", "longest_waso", "sleep_cycle_count", "snoring_count")

Json = dict[str, Any]


LONG_NAMES = {"id": "session_id", "start_time": "session_start_time", "end_time": "session_end_time"}


def slept_row(session: Session, stat: Json, zone: tzinfo) -> Json:
    """One of `slept_sessions`; breathing fields only where they were analysed.

    Args:
        session: the session.
        stat: its `stat` as the session call returns it.
        zone: time zone of the timestamps.
    """
    fields = SLEPT_FIELDS + (BREATHING_FIELDS if session.recording.breathing else [])
    times = never_slept_row(session, zone)
    return {
        "id": times.pop("id"),
        "created_timezone": session.zone,
        **times,
        **{name: stat[name] for name in fields},
    }


def never_slept_row(session: Session, zone: tzinfo) -> Json:
    """One of `never_slept_sessions`.

    Args:
        session: the session.
        zone: time zone of the timestamps.
    """
    return {
        "id": session.session_id,
        "start_time": stamp(session.start, zone),
        "end_time": stamp(session.end, zone) if session.end else None,
        "completed_time": stamp(session.completed, zone) if session.completed else None,
    }


def averages_of(
    sessions: Sequence[Session], now: datetime, zone: tzinfo, behaviour: Behaviour, *, breathing: bool
) -> Json:
    """`peculiarities`, `average_stats` and both lists for the finished `sessions` of a period.

    Args:
        sessions: finished sessions of one user, by start.
        now: the simulated moment.
        zone: time zone of the timestamps.
        behaviour: the choices in force.
        breathing: whether the user has breathing analysis.
    """
    slept, never_slept = [], []
    for session in sessions:
        analysis = visible_analysis(session, now)
        has_stat = session.finding not in WITHOUT_STAT
        if analysis and session.end and analysis.figures.slept and has_stat:
            slept.append((session, shown_stat(session, analysis, zone, behaviour)))
        else:
            never_slept.append(session)
    lists = {
        "never_slept_sessions": [never_slept_row(session, zone) for session in never_slept],
        "slept_sessions": [slept_row(session, stat, zone) for session, stat in slept],
    }
    if behaviour.average_session_names == "session_id":
        lists = {name: [_with_long_names(row) for row in rows] for name, rows in lists.items()}
    if behaviour.average_empty_lists == "absent":
        lists = {name: rows for name, rows in lists.items() if rows}
    return {
        "peculiarities": [] if breathing else [NO_BREATHING],
        "average_stats": _averages(slept, zone, behaviour, breathing=breathing) if slept else None,
        **lists,
    }


def _with_long_names(row: Json) -> Json:
    return {LONG_NAMES.get(name, name): value for name, value in row.items()}


def _averages(slept: list[tuple[Session, Json]], zone: tzinfo, behaviour: Behaviour, *, breathing: bool) -> Json:
    stats = [
        stat | {"start_time": stamp(session.start, zone), "end_time": stamp(session.end or session.start, zone)}
        for session, stat in slept
    ]
    ratios = RATIOS | (BREATHING_RATIOS if breathing else {})
    return {
        **{name: mean_clock_time([stat[name] for stat in stats]) for name in CLOCK_TIMES},
        **{name: _mean(stats, name) for name in MEANS},
        **{name: _ratio(stats, name, parts, behaviour) for name, parts in ratios.items()},
        **{name: _mean(stats, name, 0 if behaviour.average_counts == "integer" else 2) for name in COUNTS},
    }


def _mean(stats: list[Json], name: str, decimals: int = 2) -> float | None:
    values = [stat[name] for stat in stats if stat[name] is not None]
    if not values:
        return None
    mean = round(sum(values) / len(values), decimals)
    return int(mean) if mean == int(mean) else mean


def _ratio(stats: list[Json], name: str, parts: tuple[str, str], behaviour: Behaviour) -> float | None:
    """The ratio of the sums, or the mean of the nightly ratios."""
    if behaviour.average_ratios == "mean":
        values = [stat[name] for stat in stats if stat[name] is not None]
        return round(sum(values) / len(values), 3) if values else None
    part, whole = parts
    both = [(stat[part], stat[whole]) for stat in stats if stat[part] is not None and stat[whole] is not None]
    total = sum(each for _, each in both)
    return round(sum(each for each, _ in both) / total, 3) if total else None


def mean_clock_time(moments: Sequence[datetime]) -> str:
    """The circular mean of local clock times: 23:50 and 00:10 meet at midnight."""
    angles = [_seconds_of_day(moment) * 2 * pi / DAY_SECONDS for moment in moments]
    angle = atan2(sum(map(sin, angles)), sum(map(cos, angles)))
    seconds = round(angle * DAY_SECONDS / (2 * pi)) % DAY_SECONDS
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"


def _seconds_of_day(moment: datetime) -> int:
    return moment.hour * 3600 + moment.minute * 60 + moment.second
