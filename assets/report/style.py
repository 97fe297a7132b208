"""Colours, axes and clock times of the report's figures, as SVG or PNG."""

import base64
import io

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
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


def canvas(width: str = "half", height_inches: float = 2.7) -> tuple[Figure, Axes]:
    """Return an empty figure and its axes in the style of the report.

    Args:
        width: `half` or `full`, of the page.
        height_inches: of the figure.
    """
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


def legend(axes: Axes, columns: int) -> None:
    """Draw a legend above the figure, without a frame.

    Args:
        axes: of the figure.
        columns: of the legend.
    """
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
