"""The report's pictures: data in, figure out.

Lives here: what is drawn.  Not here: colours and formats (`look.py`), reading data, the page.
"""

from collections.abc import Sequence
from datetime import date, datetime, time
from itertools import groupby
from statistics import median
from typing import TYPE_CHECKING, Any

from assets.report.look import (
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
    unwrapped,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch

Rows = Sequence[Any]
_STACK = ((2, "time_in_deep"), (1, "time_in_light"), (3, "time_in_rem"), (0, "time_in_wake"))
_LEVELS = {0: 3, 3: 2, 1: 1, 2: 0}
_EPOCH_MINUTES = 0.5


def month_label(month: date) -> str:
    """Jan, Feb, …; with the year in January."""
    return f"{month:%b\n%Y}" if month.month == 1 else f"{month:%b}"


def stages(rows: Rows, labels: Sequence[str], *, prefix: str = "", width: str = "half") -> "Figure":
    """Hours in each stage, one stacked bar a row."""
    figure, axes = canvas(width)
    bottoms = [0.0] * len(rows)
    for stage, column in _STACK:
        hours = [(getattr(row, prefix + column) or 0) / 3600 for row in rows]
        axes.bar(
            range(len(rows)), hours, bottom=bottoms, width=0.72, color=STAGE_COLOURS[stage], label=STAGE_NAMES[stage]
        )
        bottoms = [bottom + hour for bottom, hour in zip(bottoms, hours, strict=True)]
    axes.set_xticks(range(len(rows)), labels)
    axes.set_xlim(-0.6, max(len(rows), 6) - 0.4)
    axes.yaxis.set_major_formatter(lambda hours, _: f"{hours:g} h")
    legend(axes, 4)
    return figure


def efficiency(values: Sequence[float | None], labels: Sequence[str], band: Rows | None = None) -> "Figure":
    """Sleep efficiency over time, with the middle half of the users where given as pairs."""
    figure, axes = canvas()
    places = range(len(values))
    if band:
        axes.fill_between(
            places,
            [_percent(low) for low, _ in band],
            [_percent(high) for _, high in band],
            color=ACCENT_SOFT,
            alpha=0.6,
            linewidth=0,
            label="Middle half of the users",
        )
    axes.plot(places, [_percent(value) for value in values], color=ACCENT, marker="o", markersize=4, label="Mean")
    axes.set_xticks(places, labels)
    axes.set_xlim(-0.6, max(len(values), 6) - 0.4)
    axes.yaxis.set_major_formatter(lambda percent, _: f"{percent:g} %")
    axes.margins(y=0.25)
    if band:
        legend(axes, 2)
    return figure


def clocks(asleep: Sequence[time | None], awake: Sequence[time | None], labels: Sequence[str]) -> "Figure":
    """When people fall asleep and wake up, on one clock; drift shows as slope."""
    figure, axes = canvas()
    begins = unwrapped([_clock_minutes(moment) for moment in asleep])
    ends = following([_clock_minutes(moment) for moment in awake], begins)
    everything = [minute for minute in (*begins, *ends) if minute is not None]
    for name, colour, minutes in (("Falls asleep", STAGE_COLOURS[2], begins), ("Wakes up", STAGE_COLOURS[0], ends)):
        heights = [float("nan") if minute is None else minute for minute in minutes]
        axes.plot(range(len(heights)), heights, color=colour, marker="o", markersize=4, label=name)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.6, max(len(labels), 6) - 0.4)
    axes.invert_yaxis()
    if everything:
        ticks = clock_ticks(everything)
        axes.set_yticks(ticks, [clock(tick) for tick in ticks])
    legend(axes, 2)
    return figure


def _clock_minutes(moment: time | None) -> float | None:
    return None if moment is None else moment.hour * 60 + moment.minute


def spread(values: Sequence[float], step: float, unit: str, *, width: str = "half") -> "Figure":
    """How many users have which value: a histogram with steps of `step`, and a mark at the median."""
    from matplotlib.ticker import MaxNLocator

    figure, axes = canvas(width)
    low = step * (min(values, default=0) // step)
    count = int((max(values, default=0) - low) // step) + 1
    heights = [0] * count
    for value in values:
        heights[int((value - low) // step)] += 1
    places = [low + step * (number + 0.5) for number in range(count)]
    axes.bar(places, heights, width=step * 0.9, color=ACCENT_SOFT, edgecolor=ACCENT, linewidth=0.6)
    if values:
        mark = median(values)
        axes.axvline(mark, color=INK, linewidth=1.2)
        axes.annotate(
            f"median {mark:.1f} {unit}", (mark, 1), xycoords=("data", "axes fraction"), xytext=(5, -2),
            textcoords="offset points", va="top", fontsize=9, color=INK,
        )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} {unit}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.set_ylabel("users", color=MUTED, fontsize=9)
    return figure


def hypnogram(start_local: datetime, sleep_stages: Sequence[int | None]) -> "Figure":
    """One night: a step for each stage, by the local clock of the session's start."""
    figure, axes = canvas("full", 2.4)
    begin = start_local.hour * 60 + start_local.minute + start_local.second / 60
    previous: tuple[float, int] | None = None
    for stage, first, length in _runs(sleep_stages):
        level = _LEVELS.get(stage)
        if level is None:
            previous = None
            continue
        left, right = begin + first * _EPOCH_MINUTES, begin + (first + length) * _EPOCH_MINUTES
        if previous is not None:
            axes.plot([left, left], [previous[1], level], color=MUTED, linewidth=0.7, alpha=0.6, zorder=1)
        axes.plot(
            [left, right], [level, level], color=STAGE_COLOURS[stage], linewidth=7, solid_capstyle="butt", zorder=2
        )
        previous = (right, level)
    axes.set_yticks(list(_LEVELS.values()), [STAGE_NAMES[stage] for stage in _LEVELS])
    axes.set_ylim(-0.5, 3.5)
    _clock_axis(axes, begin, begin + max(len(sleep_stages), 1) * _EPOCH_MINUTES)
    return figure


def nights_by_clock(nights: Rows) -> "Figure":
    """Every night of a month on one clock: rows are dates, colours are stages; naps are not shown."""
    figure, axes = canvas("full", 0.9 + 0.2 * max(len(nights), 6))
    spans: list[float] = []
    boxes: dict[int, list[tuple[float, float, int]]] = {stage: [] for stage in STAGE_COLOURS}
    begins = unwrapped([_minute(night.session_start_local) for night in nights])
    for place, (night, begin) in enumerate(zip(nights, begins, strict=True)):
        assert begin is not None  # noqa: S101 a session has a start
        for stage, first, length in _runs(night.sleep_stages or ()):
            left = begin + first * _EPOCH_MINUTES
            boxes.get(stage, boxes[-1]).append((left, left + length * _EPOCH_MINUTES, place))
        spans += [begin, begin + len(night.sleep_stages or ()) * _EPOCH_MINUTES]
    for stage in (0, 3, 1, 2, -1):
        if boxes[stage]:
            axes.add_patch(_boxes(boxes[stage], STAGE_COLOURS[stage], STAGE_NAMES[stage]))
    axes.set_yticks(range(len(nights)), [f"{night.local_date:%a} {night.local_date.day}" for night in nights])
    axes.set_ylim(len(nights) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#d5dbe2", linewidth=0.8)
    if spans:
        _clock_axis(axes, min(spans), max(spans))
    legend(axes, 5)
    return figure


def _boxes(boxes: Sequence[tuple[float, float, int]], colour: str, name: str) -> "PathPatch":
    """Many boxes as one shape: a tenth of the bytes of one shape each."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    corners, codes = [], []
    for left, right, place in boxes:
        top, bottom = place - 0.37, place + 0.37
        corners += [(left, top), (right, top), (right, bottom), (left, bottom), (left, top)]
        codes += [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY]
    return PathPatch(Path(corners, codes), facecolor=colour, linewidth=0, label=name)


def _runs(sleep_stages: Sequence[int | None]) -> list[tuple[int, int, int]]:
    """Stage, first epoch and length of each run of equal epochs; unknown is -1."""
    found, first = [], 0
    for stage, run in groupby(-1 if stage is None else stage for stage in sleep_stages):
        length = len(list(run))
        found.append((stage, first, length))
        first += length
    return found


def _clock_axis(axes: "Axes", begin: float, end: float) -> None:
    hours = range(int(begin // 60), int(end // 60) + 2)
    step = max(1, len(hours) // 12)
    ticks = [hour * 60 for hour in hours][::step]
    axes.set_xticks(ticks, [clock(tick % DAY_MINUTES) for tick in ticks])
    axes.set_xlim(begin - 5, end + 5)


def _minute(moment: datetime) -> float:
    return moment.hour * 60 + moment.minute + moment.second / 60


def _percent(value: float | None) -> float:
    return float("nan") if value is None else value * 100
