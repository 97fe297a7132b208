"""The 38 statistics of a session, derived from its stages by the definitions of the API contract."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import groupby
from typing import Any

from simulator.fields import BREATHING_FIELDS, FIELDS

EPOCH_SECONDS = 30
ONE_SECOND = timedelta(seconds=1)
WAKE, LIGHT, DEEP, REM = 0, 1, 2, 3
FORCED_DECIMALS = 2
SLEEP = (LIGHT, DEEP, REM)
REM_GAP_EPOCHS = 20
REM_CLUSTER_EPOCHS = 20
STABLE_BREATHS_PER_HOUR = 5


@dataclass(frozen=True, slots=True)
class Figures:
    """Statistics of a stage sequence, before it is known when the session started and ended."""

    slept: bool
    sleep_latency: int
    wakeup_latency: int
    cycle_marks: tuple[int, ...]
    """Seconds from session start: sleep onset, then the end of each cycle; empty without cycles."""
    values: dict[str, Any]
    """Every statistic that does not depend on the clock or on the time in bed."""


def figures_of(
    stages: Sequence[int], snoring: Sequence[int], breath: Sequence[int] | None, decimals: int = 2
) -> Figures:
    """The statistics of `stages` (one value per 30 s), with its snoring and, if analysed, breathing track.

    Args:
        stages: one code for each 30 s.
        snoring: one code for each 30 s.
        breath: one code for each 30 s; None without breathing analysis.
        decimals: of the ratios.
    """
    asleep = [epoch for epoch, stage in enumerate(stages) if stage in SLEEP]
    if not asleep:
        return _never_slept(len(stages) * EPOCH_SECONDS, breathing=breath is not None)
    first, last = asleep[0], asleep[-1]
    period = stages[first : last + 1]
    marks = _cycle_marks(period)
    values: dict[str, Any] = {}
    values |= _latencies(period)
    values |= _durations(period)
    values |= _stage_ratios(values) if decimals == FORCED_DECIMALS else _unforced_ratios(values, decimals)
    values |= _snoring(snoring[first : last + 1], values["time_in_sleep_period"])
    values |= _breathing(None if breath is None else breath[first : last + 1], values)
    values |= _wake_runs(period)
    values["sleep_cycle_count"] = len(marks)
    values["sleep_cycle"] = round(marks[-1] / len(marks)) if marks else None
    values["sleep_index"] = _sleep_index(values["time_in_sleep"], len(stages) * EPOCH_SECONDS)
    onset = first * EPOCH_SECONDS
    return Figures(
        slept=True,
        sleep_latency=onset,
        wakeup_latency=(len(stages) - 1 - last) * EPOCH_SECONDS,
        cycle_marks=(onset, *(onset + mark for mark in marks)) if marks else (),
        values=values,
    )


def _never_slept(session_seconds: int, *, breathing: bool) -> Figures:
    nulls = ("sleep_index", "light_latency", "deep_latency", "rem_latency", "sleep_cycle")
    breath = dict.fromkeys(BREATHING_FIELDS, 0 if breathing else None) | {"breathing_pattern": None}
    values = dict.fromkeys(FIELDS, 0) | dict.fromkeys(nulls) | breath
    return Figures(False, session_seconds, 0, (), values)


def _latencies(period: Sequence[int]) -> dict[str, int | None]:
    names = {"light_latency": LIGHT, "deep_latency": DEEP, "rem_latency": REM}
    return {name: period.index(stage) * EPOCH_SECONDS if stage in period else None for name, stage in names.items()}


def _durations(period: Sequence[int]) -> dict[str, int]:
    seconds = {stage: sum(each == stage for each in period) * EPOCH_SECONDS for stage in (WAKE, *SLEEP)}
    asleep = seconds[LIGHT] + seconds[DEEP] + seconds[REM]
    return {
        "time_in_sleep_period": asleep + seconds[WAKE],
        "time_in_sleep": asleep,
        "time_in_wake": seconds[WAKE],
        "time_in_light": seconds[LIGHT],
        "time_in_deep": seconds[DEEP],
        "time_in_rem": seconds[REM],
    }


def _stage_ratios(durations: dict[str, Any]) -> dict[str, float]:
    """Two decimals, then forced to add up to 1.00: on light if there is any, else REM, deep, wake."""
    period = durations["time_in_sleep_period"]
    percent = {
        stage: round(round(durations[f"time_in_{stage}"] / period, 2) * 100)
        for stage in ("light", "rem", "deep", "wake")
    }
    excess = sum(percent.values()) - 100
    while excess:
        stage = next(stage for stage, value in percent.items() if value)
        step = 1 if excess > 0 else -1
        percent[stage] -= step
        excess -= step
    return {
        "sleep_ratio": (100 - percent["wake"]) / 100,
        "wake_ratio": percent["wake"] / 100,
        "light_ratio": percent["light"] / 100,
        "deep_ratio": percent["deep"] / 100,
        "rem_ratio": percent["rem"] / 100,
    }


def _unforced_ratios(durations: dict[str, Any], decimals: int) -> dict[str, float]:
    """Older results carry more decimals and leave the sum alone."""
    period = durations["time_in_sleep_period"]
    stages = ("sleep", "wake", "light", "deep", "rem")
    return {f"{stage}_ratio": round(durations[f"time_in_{stage}"] / period, decimals) for stage in stages}


def _runs(track: Sequence[int], value: int) -> list[int]:
    return [len(list(run)) for found, run in groupby(track) if found == value]


def _wake_runs(period: Sequence[int]) -> dict[str, int]:
    runs = _runs(period, WAKE)
    return {"waso_count": len(runs), "longest_waso": max(runs, default=0) * EPOCH_SECONDS}


def _snoring(track: Sequence[int], period_seconds: int) -> dict[str, Any]:
    runs = _runs(track, 1)
    snoring = min(sum(runs) * EPOCH_SECONDS, period_seconds)
    ratio = round(snoring / period_seconds, 2)
    return {
        "time_in_snoring": snoring,
        "time_in_no_snoring": period_seconds - snoring,
        "snoring_ratio": ratio,
        "no_snoring_ratio": round(1 - ratio, 2),
        "snoring_count": len(runs),
    }


def _breathing(track: Sequence[int] | None, durations: dict[str, Any]) -> dict[str, Any]:
    if track is None:
        return dict.fromkeys(BREATHING_FIELDS)
    runs = _runs(track, 1)
    period = durations["time_in_sleep_period"]
    unstable = min(sum(runs) * EPOCH_SECONDS, period)
    ratio = round(unstable / period, 2)
    index = round(len(runs) * 3600 / durations["time_in_sleep"], 1)
    pattern = "STABLE_BREATH" if index < STABLE_BREATHS_PER_HOUR else "UNSTABLE_BREATH"
    found = (period - unstable, unstable, round(1 - ratio, 2), ratio, index, pattern, len(runs))
    return dict(zip(BREATHING_FIELDS, found, strict=True))


def _cycle_marks(period: Sequence[int]) -> list[int]:
    """Seconds from sleep onset to the last REM epoch of each cluster of REM."""
    marks: list[int] = []
    cluster: list[int] = []
    for epoch in [epoch for epoch, stage in enumerate(period) if stage == REM]:
        if cluster and epoch - cluster[-1] - 1 > REM_GAP_EPOCHS:
            marks += cluster[-1:] if len(cluster) >= REM_CLUSTER_EPOCHS else []
            cluster = []
        cluster.append(epoch)
    marks += cluster[-1:] if len(cluster) >= REM_CLUSTER_EPOCHS else []
    return [mark * EPOCH_SECONDS for mark in marks]


def _sleep_index(sleep_seconds: int, scored_seconds: int) -> int:
    """The vendor's formula is not public; ours grows with length and efficiency, from 50 to 100."""
    length = min(1.0, sleep_seconds / (8 * 3600))
    return round(50 + 44 * length + 6 * sleep_seconds / scored_seconds)


def stat_of(figures: Figures, start: datetime, end: datetime, zone: tzinfo) -> dict[str, Any]:
    """The 38 fields of a session from `start` to `end`, both UTC; its timestamps are in `zone`.

    Args:
        figures: computed from the stages.
        start: start of the session.
        end: end of the session.
        zone: time zone of the timestamps.
    """
    in_bed = (end - start) // ONE_SECOND
    clock = {
        "sleep_time": stamp(start, zone, figures.sleep_latency) if figures.slept else None,
        "wake_time": stamp(end, zone, -figures.wakeup_latency) if figures.slept else None,
        "sleep_latency": figures.sleep_latency,
        "wakeup_latency": figures.wakeup_latency,
        "time_in_bed": in_bed,
        "sleep_efficiency": round(figures.values["time_in_sleep"] / in_bed, 2) if in_bed else 0.0,
        "sleep_cycle_time": [stamp(start, zone, seconds) for seconds in figures.cycle_marks],
    }
    return {name: clock[name] if name in clock else figures.values[name] for name in FIELDS}


def stamp(moment: datetime, zone: tzinfo, later_seconds: int = 0) -> datetime:
    """`later_seconds` after `moment`, in `zone`; as JSON it becomes an ISO timestamp with numeric offset.

    Args:
        moment: the moment, in UTC.
        zone: time zone of the timestamps.
        later_seconds: added to it.
    """
    later = moment + timedelta(seconds=later_seconds) if later_seconds else moment
    return later if zone is UTC else later.astimezone(zone)
