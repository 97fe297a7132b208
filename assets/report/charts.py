"""The report's figures: what they draw from DataFrames, their colours and axes, as SVG or PNG."""

import base64
import io
from calendar import monthrange
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from itertools import groupby
from typing import NamedTuple

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike, NDArray

INK, MUTED, LINE, PAPER = "#1f2a37", "#6b7686", "#e3e7ec", "#ffffff"
ACCENT, ACCENT_SOFT = "#2b6cb0", "#bcd6f0"
STAGE_COLOURS = {0: "#f2b84b", 1: "#8fc1e3", 2: "#1f4e8c", 3: "#8a63b8", -1: "#d5d9de"}
STAGE_NAMES = {0: "Awake", 3: "REM", 1: "Light", 2: "Deep", -1: "Unknown"}
DAY_MINUTES = 24 * 60
_EVENING_MINUTES = 18 * 60
"""Clock times from here on are put before midnight, so that a night reads downwards."""
_WIDTHS = {"half": 5.4, "full": 11.2}

Minutes = NDArray[np.float64]

Stages = Sequence[int | None]
"""One code per 30 s: 0 wake, 1 light, 2 deep, 3 REM; -1 and None are unknown."""

_STACK = ((2, "time_in_deep"), (1, "time_in_light"), (3, "time_in_rem"), (0, "time_in_wake"))
_LEVELS = {0: 3, 3: 2, 1: 1, 2: 0}
_EPOCH_MINUTES = 0.5
_MIN_MONTHS = 6
_MAX_BARS = 60


def _canvas(width: str = "half", height_inches: float = 2.7) -> tuple[Figure, Axes]:
    """An empty figure, `half` or `full` of the page wide, and its axes in the style of the report."""
    with rc_context({"font.size": 9, "axes.edgecolor": LINE, "axes.labelcolor": MUTED, "text.color": INK}):
        figure = Figure(figsize=(_WIDTHS[width], height_inches), layout="constrained", facecolor="none")
        axes = figure.add_subplot()
    axes.set_facecolor("none")
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    axes.tick_params(colors=MUTED, length=0, labelsize=9)
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    return figure, axes


def _legend(axes: Axes, columns: int) -> None:
    """Draw a legend above the figure, without a frame."""
    axes.legend(
        loc="lower left", bbox_to_anchor=(0, 1), ncols=columns, frameon=False, fontsize=9, labelcolor=INK,
        handlelength=0.9, handleheight=0.9, columnspacing=1.2, borderaxespad=0.5,
    )  # fmt: skip


def svg(figure: Figure, name: str) -> str:
    """Return the figure as an `<svg>` element.

    Args:
        figure: drawn.
        name: unique on the page: keeps the ids of several figures apart.
    """
    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("'DejaVu Sans'", "system-ui").replace('id="figure_1"', f'id="{name}"')


def markdown(figure: Figure, words: str) -> str:
    """Return the figure as a Markdown image that carries its own bytes.

    Args:
        figure: drawn.
        words: alternative text.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=96, facecolor=PAPER)
    return f"![{words}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"


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
    figure, axes = _canvas()
    bottoms = np.zeros(len(rows))
    for stage, column in _STACK:
        hours = rows[prefix + column].astype("float64").fillna(0).to_numpy() / 3600
        axes.bar(across.places, hours, bottom=bottoms, width=0.72, color=STAGE_COLOURS[stage], label=STAGE_NAMES[stage])
        bottoms = bottoms + hours
    across.dress(axes)
    axes.yaxis.set_major_formatter(lambda hours, _: f"{hours:g} h")
    _legend(axes, 4)
    return figure


def efficiency_line(months: pd.DataFrame, across: Across) -> Figure:
    """Sleep efficiency over time, with the middle half of the users where the months are those of several.

    Args:
        months: `avg_efficiency_of_night`, and its quartiles over users, 0 to 1; a missing value leaves a gap.
        across: the places of the rows on the horizontal axis.
    """
    figure, axes = _canvas()
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
        _legend(axes, 2)
    return figure


def clocks(asleep: pd.Series, awake: pd.Series, across: Across) -> Figure:
    """When people fall asleep and wake up, on one clock that runs downwards; a drift shows as a slope.

    Args:
        asleep: local clock times of falling asleep, as timedeltas since midnight.
        awake: those of waking up.
        across: the places of the rows on the horizontal axis.
    """
    figure, axes = _canvas()
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
        axes.set_yticks(ticks, [_clock(tick) for tick in ticks])
    _legend(axes, 2)
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
    figure, axes = _canvas(width)
    while (values.max() - values.min()) / step > _MAX_BARS:
        step *= 2
    heights = (values // step).value_counts()
    axes.bar(
        step * (heights.index + 0.5), heights, width=step * 0.9, color=ACCENT_SOFT, edgecolor=ACCENT, linewidth=0.6
    )
    mark = values.median()
    axes.axvline(mark, color=INK, linewidth=1.2)
    axes.annotate(
        f"median {_signed(mark, 1)} {unit}", (mark, 1), xycoords=("data", "axes fraction"), xytext=(0, 3),
        textcoords="offset points", ha="center", va="bottom", fontsize=9, color=INK,
    )  # fmt: skip
    axes.xaxis.set_major_formatter(lambda value, _: f"{_signed(value)} {unit}")
    axes.yaxis.set_major_locator(MaxNLocator(nbins="auto", integer=True))
    axes.set_ylabel("users", color=MUTED, fontsize=9)
    return figure


def hypnogram(start_local: datetime, sleep_stages: Stages) -> Figure:
    """One night: a step for each stage, by the local clock of the session's start; grey where the stage is unknown.

    Args:
        start_local: start of the session on the local clock.
        sleep_stages: of the session.
    """
    figure, axes = _canvas("full", 2.4)
    begin = start_local.hour * 60 + start_local.minute + start_local.second / 60
    previous: int | None = None
    for stage, left, length in _runs(begin, sleep_stages):
        level = _LEVELS.get(stage)
        if level is None:
            axes.axvspan(left, left + length, color=STAGE_COLOURS[-1], alpha=0.5, linewidth=0, zorder=0)
        else:
            axes.hlines(level, left, left + length, color=STAGE_COLOURS[stage], linewidth=7, zorder=2)
            if previous is not None:
                axes.vlines(left, previous, level, color=MUTED, linewidth=0.7, alpha=0.6, zorder=1)
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
    dates = recordings["night_date"]
    first, days = dates.min().date().replace(day=1), max(dates.max().day, *(day.day for day in missing), 0)
    figure, axes = _canvas("full", 0.9 + 0.2 * max(days, 6))
    begins = (recordings["session_start_local"] - dates).dt.total_seconds() / 60
    boxes = pd.DataFrame(
        [
            (day - 1, stage if stage in STAGE_COLOURS else -1, left, length)
            for day, begin, stages in zip(dates.dt.day, begins, recordings["sleep_stages"], strict=True)
            for stage, left, length in _runs(begin, stages)
        ],
        columns=["place", "stage", "left", "length"],
    )
    for stage in (0, 3, 1, 2, -1):
        if len(of_stage := boxes[boxes["stage"] == stage]):
            axes.barh(
                of_stage["place"], of_stage["length"], left=of_stage["left"], height=0.74, linewidth=0,
                color=STAGE_COLOURS[stage], label=STAGE_NAMES[stage],
            )  # fmt: skip
    every = [first + timedelta(days=place) for place in range(days)]
    axes.set_yticks(range(days), [f"{day:%a} {day.day}" + (" missing" if day in missing else "") for day in every])
    axes.set_ylim(days - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x", color="#d5dbe2", linewidth=0.8)
    _clock_axis(axes, begins.min(), (boxes["left"] + boxes["length"]).max())
    _legend(axes, 5)
    return figure


def whole_night(pieces: pd.DataFrame) -> tuple[datetime, list[int | None]]:
    """Start and stages of a main sleep in several sessions; the stage between two of them is unknown."""
    start = pieces["session_start_local"].iloc[0]
    stages: list[int | None] = []
    for begin, piece in zip(pieces["session_start_local"], pieces["sleep_stages"], strict=True):
        epoch = round((begin - start).total_seconds() / 60 / _EPOCH_MINUTES)
        stages += [None] * (epoch - len(stages)) + list(piece)
    return start, stages


def _runs(begin: float, sleep_stages: Stages) -> list[tuple[int, float, float]]:
    """Stage, minute at which it begins, and length of each run of equal epochs; unknown is -1."""
    found = []
    for stage, run in groupby(-1 if stage is None else stage for stage in sleep_stages):
        length = len(list(run)) * _EPOCH_MINUTES
        found.append((stage, begin, length))
        begin += length
    return found


def _clock_axis(axes: Axes, begin: float, end: float) -> None:
    hours = range(int(begin // 60), int(end // 60) + 2)
    ticks = [hour * 60 for hour in hours][:: max(1, len(hours) // 12)]
    axes.set_xticks(ticks, [_clock(tick % DAY_MINUTES) for tick in ticks])
    axes.set_xlim(begin - 5, end + 5)


def _signed(value: float, digits: int | None = None) -> str:
    """An axis value with a typographic minus sign."""
    shown = f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def _clock(minutes: float) -> str:
    """Minutes after some midnight as hh:mm."""
    rounded = round(minutes) % DAY_MINUTES
    return f"{rounded // 60:02}:{rounded % 60:02}"


def clock_ticks(minutes: Minutes) -> list[int]:
    """Round clock times that cover the values."""
    low, high = minutes.min(), minutes.max()
    step = next(step for step in (15, 30, 60, 120, 180, 240, 360) if (high - low) / step <= 5 or step == 360)  # noqa: PLR2004
    return list(range(int(low // step) * step, int(high // step + 2) * step, step))


def unwrapped(minutes: ArrayLike) -> Minutes:
    """Clock times, some missing, put beside each other round midnight: 23:50 and 00:10 lie 20 minutes apart.

    All are moved to within half a day of their circular mean, or of the first one when they cancel each other.
    """
    moved: Minutes = np.array(minutes, dtype="float64")
    known = moved[~np.isnan(moved)]
    if not len(known):
        return moved
    hand = np.exp(2j * np.pi * known / DAY_MINUTES).mean()
    middle = (np.angle(hand) * DAY_MINUTES / (2 * np.pi) if abs(hand) > 1e-6 else known[0]) % DAY_MINUTES  # noqa: PLR2004
    anchor = middle if middle < _EVENING_MINUTES else middle - DAY_MINUTES
    moved += DAY_MINUTES * np.round((anchor - moved) / DAY_MINUTES)
    return moved


def following(earlier: Minutes, later: ArrayLike) -> Minutes:
    """Clock times moved to within the day after the times that they follow.

    People wake up after they fall asleep, whatever the hour. Where the earlier time is missing, the mean of the others
    is used.

    Args:
        earlier: minutes, already unwrapped.
        later: minutes of a day.
    """
    if np.isnan(earlier).all():
        return unwrapped(later)
    moved: Minutes = np.array(later, dtype="float64")
    floors = np.where(np.isnan(earlier), np.nanmean(earlier), earlier)
    moved += DAY_MINUTES * np.ceil((floors - moved) / DAY_MINUTES)
    return moved
