"""Colours, axes and formats of the report's figures, as SVG or PNG.

The plotting library is loaded when the first figure is drawn, not when this module is imported.
"""

import base64
import io
from collections.abc import Sequence
from math import atan2, ceil, cos, hypot, sin, tau
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, LINE, PAPER = "#1f2a37", "#6b7686", "#e3e7ec", "#ffffff"
ACCENT, ACCENT_SOFT = "#2b6cb0", "#bcd6f0"
STAGE_COLOURS = {0: "#f2b84b", 1: "#8fc1e3", 2: "#1f4e8c", 3: "#8a63b8", -1: "#d5d9de"}
STAGE_NAMES = {0: "Awake", 3: "REM", 1: "Light", 2: "Deep", -1: "Unknown"}
DAY_MINUTES = 24 * 60
_EVENING_MINUTES = 18 * 60
"""Clock times from here on are put before midnight, so that a night reads downwards."""
_WIDTHS = {"half": 5.4, "full": 11.2}


def canvas(width: str = "half", height_inches: float = 2.7) -> "tuple[Figure, Axes]":
    """Return an empty figure and its axes in the style of the report.

    Args:
        width: `half` or `full`, of the page.
        height_inches: of the figure.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

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


def legend(axes: "Axes", columns: int) -> None:
    """Draw a legend above the figure, without a frame.

    Args:
        axes: of the figure.
        columns: of the legend.
    """
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
        handlelength=0.9,
        handleheight=0.9,
        columnspacing=1.2,
        borderaxespad=0.5,
    )


def svg(figure: "Figure", name: str) -> str:
    """Return the figure as an `<svg>` element.

    Args:
        figure: drawn.
        name: unique on the page: keeps the ids of several figures apart.
    """
    from matplotlib import rc_context

    buffer = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :].replace("'DejaVu Sans'", "system-ui").replace('id="figure_1"', f'id="{name}"')


def markdown(figure: "Figure", words: str) -> str:
    """Return the figure as a Markdown image that carries its own bytes.

    Args:
        figure: drawn.
        words: alternative text.
    """
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=96, facecolor=PAPER)
    return f"![{words}](data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()})"


def signed(value: float, digits: int | None = None) -> str:
    """Format an axis value with a typographic minus sign.

    Args:
        value: of the tick.
        digits: after the decimal point; None for as many as needed.
    """
    shown = f"{value:g}" if digits is None else f"{value:.{digits}f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def clock(minutes: float) -> str:
    """Minutes after some midnight as hh:mm."""
    rounded = round(minutes) % DAY_MINUTES
    return f"{rounded // 60:02}:{rounded % 60:02}"


def clock_ticks(minutes: Sequence[float]) -> list[int]:
    """Round clock times that cover the values."""
    low, high = min(minutes), max(minutes)
    step = next(step for step in (15, 30, 60, 120, 180, 240, 360) if (high - low) / step <= 5 or step == 360)  # noqa: PLR2004
    first = int(low // step) * step
    return list(range(first, int(high // step + 2) * step, step))


def unwrapped(minutes: Sequence[float | None]) -> list[float | None]:
    """Clock times put beside each other round midnight: 23:50 and 00:10 lie 20 minutes apart.

    All are moved to within half a day of their circular mean.
    """
    known = [minute for minute in minutes if minute is not None]
    if not known:
        return list(minutes)
    middle = _circular_mean(known)
    anchor = middle if middle < _EVENING_MINUTES else middle - DAY_MINUTES
    return [
        None if minute is None else minute + DAY_MINUTES * round((anchor - minute) / DAY_MINUTES) for minute in minutes
    ]


def following(earlier: Sequence[float | None], later: Sequence[float | None]) -> list[float | None]:
    """Clock times moved to within the day after the times that they follow.

    People wake up after they fall asleep, whatever the hour. Where the earlier time is unknown, the mean of the others
    is used.

    Args:
        earlier: minutes, already unwrapped.
        later: minutes of a day.
    """
    known = [minute for minute in earlier if minute is not None]
    if not known:
        return unwrapped(later)
    mean = sum(known) / len(known)
    floors = [mean if minute is None else minute for minute in earlier]
    return [
        None if minute is None else minute + DAY_MINUTES * ceil((floor - minute) / DAY_MINUTES)
        for floor, minute in zip(floors, later, strict=True)
    ]


def _circular_mean(minutes: Sequence[float]) -> float:
    """The mean on the clock, from 0 up to a day; times that cancel each other have none, so the first stands in."""
    angles = [minute * tau / DAY_MINUTES for minute in minutes]
    sine, cosine = sum(map(sin, angles)), sum(map(cos, angles))
    if hypot(sine, cosine) < 1e-6 * len(minutes):
        return minutes[0] % DAY_MINUTES
    return atan2(sine, cosine) * DAY_MINUTES / tau % DAY_MINUTES
