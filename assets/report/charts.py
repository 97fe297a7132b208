"""What the report's figures draw, from DataFrames. Colours and formats are in `style.py`."""

from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from matplotlib.ticker import MaxNLocator

from assets.report.style import (
    ACCENT,
    ACCENT_SOFT,
    DAY_MINUTES,
    INK,
    MUTED,
    STAGE_COLOURS,
    STAGE_NAMES,
    canvas,
    clock,
    clock_ticks,
    following,
    legend,
    signed,
    unwrapped,
)

Stages = Sequence[int | None]
"""One code per 30 s: 0 wake, 1 light, 2 deep, 3 REM; -1 and None are unknown."""

_STACK = ((2, "time_in_deep"), (1, "time_in_light"), (3, "time_in_rem"), (0, "time_in_wake"))
_LEVELS = {0: 3, 3: 2, 1: 1, 2: 0}
_EPOCH_MINUTES = 0.5
_MIN_MONTHS = 6
_MAX_BARS = 60
_MINUTE = timedelta(minutes=1)


class Across(NamedTuple):
    """Where the rows of a picture stand from left to right, and which places carry a name."""

    places: Sequence[int]
    names: dict[int, str]
    ends: tuple[int, int]

    def dress(self, axes: Axes) -> None:
        """Name the places below the picture."""
        axes.set_xticks(list(self.names), list(self.names.values()))
        axes.set_xlim(self.ends[0] - 0.6, self.ends[1] + 0.6)


def by_month(months: Sequence[date]) -> Across:
    """A place for each month there is: Jan, Feb, …; with the year in January. Few months do not fill the picture."""
    places = range(len(months))
    names = {place: f"{month:%b\n%Y}" if month.month == 1 else f"{month:%b}" for place, month in enumerate(months)}
    return Across(places, names, (0, max(len(months), _MIN_MONTHS) - 1))


def by_day(dates: Sequence[date]) -> Across:
    """A place for each day of the dates' month, whether or not there is a row for it: a gap is seen as one."""
    last = monthrange(dates[0].year, dates[0].month)[1]
    names = {day: str(day) for day in (1, *range(5, last + 1, 5))}
    return Across([each.day for each in dates], names, (1, last))


def stage_bars(rows: pd.DataFrame, across: Across, *, prefix: str = "") -> Figure:
    """Hours in each stage, one stacked bar per row.

    Args:
        rows: with the seconds of each stage.
        across: the places of the rows on the horizontal axis.
        prefix: of the names of the columns that hold them.
    """
    figure, axes = canvas()
    bottoms = np.zeros(len(rows))
    for stage, column in _STACK:
        hours = rows[prefix + column].astype("float64").fillna(0).to_numpy() / 3600
        axes.bar(across.places, hours, bottom=bottoms, width=0.72, color=STAGE_COLOURS[stage], label=STAGE_NAMES[stage])
        bottoms = bottoms + hours
    across.dress(axes)
    axes.yaxis.set_major_formatter(lambda hours, _: f"{hours:g} h")
    legend(axes, 4)
    return figure


def efficiency_line(months: pd.DataFrame, across: Across) -> Figure:
    """Sleep efficiency over time, with the middle half of the users where the months are those of several.

    Args:
        months: `avg_efficiency_of_night`, and its quartiles over users, 0 to 1; a missing value leaves a gap.
        across: the places of the rows on the horizontal axis.
    """
    figure, axes = canvas()
    quartiles = ["lower_quartile_efficiency_of_night", "upper_quartile_efficiency_of_night"]
    has_band = set(quartiles) <= set(months)
    if has_band:
        low, high = (100 * months[name] for name in quartiles)
        axes.fill_between(
            across.places, low, high, color=ACCENT_SOFT, alpha=0.6, linewidth=0, label="Middle half of the users"
        )
    means = 100 * months["avg_efficiency_of_night"]
    axes.plot(across.places, means, color=ACCENT, marker="o", markersize=4, label="Mean")
    across.dress(axes)
    axes.yaxis.set_major_formatter(lambda percent, _: f"{percent:g} %")
    axes.margins(y=0.25)
    if has_band:
        legend(axes, 2)
    return figure


def clocks(asleep: pd.Series, awake: pd.Series, across: Across) -> Figure:
    """When people fall asleep and wake up, on one clock that runs downwards; a drift shows as a slope.

    Args:
        asleep: local clock times of falling asleep, as timedeltas since midnight.
        awake: those of waking up.
        across: the places of the rows on the horizontal axis.
    """
    figure, axes = canvas()
    beds = unwrapped(asleep.dt.total_seconds() / 60)
    wakes = following(beds, awake.dt.total_seconds() / 60)
    for name, colour, minutes in (("Falls asleep", STAGE_COLOURS[2], beds), ("Wakes up", STAGE_COLOURS[0], wakes)):
        axes.plot(across.places, minutes, color=colour, marker="o", markersize=4, label=name)
    across.dress(axes)
    axes.invert_yaxis()
    known = np.concatenate([beds, wakes])
    known = known[~np.isnan(known)]
    if len(known):
        ticks = clock_ticks(known)
        axes.set_yticks(ticks, [clock(tick) for tick in ticks])
    legend(axes, 2)
    return figure


def spread(values: pd.Series, step: float, unit: str, *, width: str = "half") -> Figure:
    """How many users have which value: a histogram, and a mark at the median.

    The steps are of `step`, or of its smallest multiple that keeps the bars wide enough to be seen.

    Args:
        values: one per user, none missing; at least one.
        step: width of a bar.
        unit: of the values, for the axis.
        width: `half` or `full`, of the page.
    """
    figure, axes = canvas(width)
    while (values.max() - values.min()) / step > _MAX_BARS:
        step *= 2
    heights = (values // step).value_counts()
    axes.bar(
        step * (heights.index + 0.5), heights, width=step * 0.9, color=ACCENT_SOFT, edgecolor=ACCENT, linewidth=0.6
    )
    mark = values.median()
    axes.axvline(mark, color=INK, linewidth=1.2)
    axes.annotate(
        f"median {signed(mark, 1)} {unit}", (mark, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha="center", va="bottom", fontsize=9, color=INK,
    )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{signed(value)} {unit}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.set_ylabel("users", color=MUTED, fontsize=9)
    return figure


def hypnogram(start_local: datetime, sleep_stages: Stages) -> Figure:
    """One night: a step for each stage, by the local clock of the session's start; grey where the stage is unknown.

    Args:
        start_local: start of the session on the local clock.
        sleep_stages: of the session.
    """
    figure, axes = canvas("full", 2.4)
    begin = start_local.hour * 60 + start_local.minute + start_local.second / 60
    previous: int | None = None
    for stage, first, length in _runs(sleep_stages):
        level = _LEVELS.get(stage)
        left, right = begin + first * _EPOCH_MINUTES, begin + (first + length) * _EPOCH_MINUTES
        if level is None:
            axes.axvspan(left, right, color=STAGE_COLOURS[-1], alpha=0.5, linewidth=0, zorder=0)
        else:
            if previous is not None:
                axes.plot([left, left], [previous, level], color=MUTED, linewidth=0.7, alpha=0.6, zorder=1)
            axes.plot(
                [left, right], [level, level], color=STAGE_COLOURS[stage], linewidth=7, solid_capstyle="butt", zorder=2
            )
        previous = level
    axes.set_yticks(list(_LEVELS.values()), [STAGE_NAMES[stage] for stage in _LEVELS])
    axes.set_ylim(-0.5, 3.5)
    _clock_axis(axes, begin, begin + max(len(sleep_stages), 1) * _EPOCH_MINUTES)
    return figure


def actogram(recordings: pd.DataFrame, missing: Sequence[date]) -> Figure:
    """A month on one clock: a row for each date of waking up, a box for each stage of main sleeps and naps.

    Args:
        recordings: `night_date`, `session_start_local`, `sleep_stages`, in order of time.
        missing: dates on which a recording is missing; they are named as such.
    """
    dates = [moment.date() for moment in recordings["night_date"]]
    first, days = dates[0].replace(day=1), max(*dates, *missing).day
    figure, axes = canvas("full", 0.9 + 0.2 * max(days, 6))
    begins = (recordings["session_start_local"] - recordings["night_date"]).dt.total_seconds() / 60
    boxes: dict[int, list[tuple[float, float, int]]] = {stage: [] for stage in STAGE_COLOURS}
    for day, begin, stages in zip(dates, begins, recordings["sleep_stages"], strict=True):
        for stage, epoch, length in _runs(stages):
            left = begin + epoch * _EPOCH_MINUTES
            boxes.get(stage, boxes[-1]).append((left, left + length * _EPOCH_MINUTES, day.day - 1))
    for stage in (0, 3, 1, 2, -1):
        if boxes[stage]:
            axes.add_patch(_boxes(boxes[stage], STAGE_COLOURS[stage], STAGE_NAMES[stage]))
    every = [first + timedelta(days=place) for place in range(days)]
    axes.set_yticks(range(days), [f"{day:%a} {day.day}" + (" missing" if day in missing else "") for day in every])
    axes.set_ylim(days - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#d5dbe2", linewidth=0.8)
    lengths = recordings["sleep_stages"].map(len) * _EPOCH_MINUTES
    _clock_axis(axes, begins.min(), (begins + lengths).max())
    legend(axes, 5)
    return figure


def whole_night(pieces: pd.DataFrame) -> tuple[datetime, list[int | None]]:
    """Start and stages of a main sleep in several sessions; the stage between two of them is unknown."""
    start = pieces["session_start_local"].iloc[0]
    stages: list[int | None] = []
    for begin, piece in zip(pieces["session_start_local"], pieces["sleep_stages"], strict=True):
        epoch = round((begin - start) / _MINUTE / _EPOCH_MINUTES)
        stages += [None] * (epoch - len(stages)) + list(piece)
    return start, stages


def _boxes(boxes: Sequence[tuple[float, float, int]], colour: str, name: str) -> PathPatch:
    """Many boxes as one shape: a tenth of the bytes of one shape each."""
    corners, codes = [], []
    for left, right, place in boxes:
        top, bottom = place - 0.37, place + 0.37
        corners += [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return PathPatch(Path(corners, codes), facecolor=colour, linewidth=0, label=name)


def _runs(sleep_stages: Stages) -> list[tuple[int, int, int]]:
    """Stage, first epoch and length of each run of equal epochs; unknown is -1."""
    found, first = [], 0
    for stage, run in groupby(-1 if stage is None else stage for stage in sleep_stages):
        length = len(list(run))
        found.append((stage, first, length))
        first += length
    return found


def _clock_axis(axes: Axes, begin: float, end: float) -> None:
    hours = range(int(begin // 60), int(end // 60) + 2)
    ticks = [hour * 60 for hour in hours][:: max(1, len(hours) // 12)]
    axes.set_xticks(ticks, [clock(tick % DAY_MINUTES) for tick in ticks])
    axes.set_xlim(begin - 5, end + 5)
