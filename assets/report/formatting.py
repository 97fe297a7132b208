"""Numbers and times as text, with a dash for a missing value (None, not a number, or not a time)."""

from datetime import datetime, timedelta
from typing import TypeGuard, TypeVar

import pandas as pd

NONE = "\N{EN DASH}"
Value = TypeVar("Value")


def _is_known(value: Value | None) -> TypeGuard[Value]:
    return not pd.isna(value)  # type: ignore[arg-type]


def duration(seconds: float | None) -> str:
    """7 h 05 min."""
    if not _is_known(seconds):
        return NONE
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def percent(ratio: float | None) -> str:
    """91.3 %."""
    return f"{ratio * 100:.1f} %" if _is_known(ratio) else NONE


def format_clock_time(since_midnight: timedelta | None) -> str:
    """23:05."""
    if not _is_known(since_midnight):
        return NONE
    minutes = since_midnight // timedelta(minutes=1)
    return f"{minutes // 60:02}:{minutes % 60:02}"


def format_number(value: float | None, digits: int = 0) -> str:
    """Format a number: 1,234 or 12.3.

    Args:
        value: a missing one gives a dash.
        digits: after the decimal point.
    """
    return f"{value:,.{digits}f}" if _is_known(value) else NONE


def counted(count: int, one: str) -> str:
    """Format a count with its noun: 1 nap, 2 naps.

    Args:
        count: how many.
        one: the noun in the singular.
    """
    return f"{format_number(count)} {one if count == 1 else one + 's'}"


def change(value: float | None, unit: str, digits: int = 0) -> str:
    """Format a difference with its sign: +12 min, ±0 min.

    Args:
        value: difference; a missing one gives a dash.
        unit: of the value.
        digits: after the decimal point.
    """
    if not _is_known(value):
        return NONE
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):,.{digits}f} {unit}"


def against_before(value: float | None, unit: str, digits: int = 0) -> str:
    """Format the change to the month before, or state that there is no such month.

    Args:
        value: change to the month before; missing when there is no such month.
        unit: of the value.
        digits: after the decimal point.
    """
    return f"{change(value, unit, digits)} to the month before" if _is_known(value) else "no month before"


def moment(at: datetime | None) -> str:
    """2026-05-01 23:05 UTC; never."""
    return "never" if at is None else f"{at:%Y-%m-%d %H:%M} UTC"


FILTERS = {
    "number": format_number,
    "clock_time": format_clock_time,
    **{each.__name__: each for each in (duration, percent, counted, change, against_before, moment)},
}
"""For the report's templates."""
