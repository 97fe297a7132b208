"""Numbers and times as text, with a dash for an unknown value."""

from datetime import time

NONE = "\N{EN DASH}"


def duration(seconds: float | None) -> str:
    """7 h 05 min."""
    if seconds is None:
        return NONE
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"  # noqa: PLR2004


def percent(ratio: float | None) -> str:
    """91.3 %."""
    return NONE if ratio is None else f"{ratio * 100:.1f} %"


def format_clock_time(moment: time | None) -> str:
    """23:05."""
    return NONE if moment is None else f"{moment:%H:%M}"


def format_number(value: float | None, digits: int = 0) -> str:
    """Format a number: 1,234 or 12.3.

    Args:
        value: None gives a dash.
        digits: after the decimal point.
    """
    return NONE if value is None else f"{value:,.{digits}f}"


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
        value: difference; None gives a dash.
        unit: of the value.
        digits: after the decimal point.
    """
    if value is None:
        return NONE
    rounded = round(value, digits)
    sign = "+" if rounded > 0 else "\N{MINUS SIGN}" if rounded < 0 else "±"
    return f"{sign}{abs(rounded):,.{digits}f} {unit}"


def against_before(value: float | None, unit: str, digits: int = 0) -> str:
    """Format the change to the month before, or state that there is no such month.

    Args:
        value: change to the month before; None when there is no such month.
        unit: of the value.
        digits: after the decimal point.
    """
    return "no month before" if value is None else f"{change(value, unit, digits)} to the month before"
