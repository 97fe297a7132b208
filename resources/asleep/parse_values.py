"""Reads one value of a JSON response: the right type within Postgres' ranges, or a violation of the contract.

Does not belong here: which fields there are, and records (`parsing`).
"""

from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

import orjson

from resources.asleep.identifiers import MAX_ID_LENGTH
from resources.local_time import local_zone

LARGEST_RATIO = 1.5
"""An efficiency above it is a percentage."""
UNKNOWN_ZONE = "unknown time zone"
_INT4_LIMIT = 2**31
_SMALLINT_LIMIT = 2**15
_FLOAT_LIMIT = 1e15
"""Far beyond any sensible statistic and far within every floating-point column."""


@dataclass
class Violation(Exception):
    """A value is not what the contract allows."""

    what: str
    """How it deviates, without the value."""
    kept: Any = None
    """What is stored all the same."""
    where: str = ""
    """Place within the field."""


def timestamp(value: Any) -> datetime:
    """An ISO 8601 date and time with an offset, in UTC."""
    if type(value) is not str:
        raise Violation("not a timestamp")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Violation("not a timestamp") from None
    raise Violation("a timestamp without an offset")


def timestamps(value: Any) -> list[datetime]:
    """The timestamps of an array; an element that is none is left out."""
    if type(value) is not list:
        raise Violation("not a list")
    moments, violation = [], None
    for element in value:
        try:
            moments.append(timestamp(element))
        except Violation as found:
            violation = found
    if violation is not None:
        raise Violation(violation.what, kept=moments, where="[]")
    return moments


def clock_time(value: Any) -> time:
    """A clock time without a zone."""
    try:
        moment = time.fromisoformat(value)
    except (TypeError, ValueError):
        raise Violation("not a clock time") from None
    if moment.tzinfo is not None:
        raise Violation("a clock time with an offset")
    return moment


def whole_number(value: Any) -> int:
    """An integer that a Postgres `integer` holds; 2.0 counts as one."""
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise Violation("not a whole number" if type(value) is float else "not a number")
    if not -_INT4_LIMIT <= value < _INT4_LIMIT:
        raise Violation("out of range")
    return value


def number(value: Any) -> float:
    """Any finite number of a sensible size."""
    if type(value) is not float and type(value) is not int:
        raise Violation("not a number")
    if -_FLOAT_LIMIT <= value <= _FLOAT_LIMIT:
        return float(value)
    raise Violation("out of range")


def ratio(value: Any) -> float:
    """A number that should be 0 to 1; kept when it is not."""
    checked = number(value)
    if 0 <= checked <= 1:
        return checked
    raise Violation("outside 0 to 1", kept=checked)


def efficiency(value: Any) -> float:
    """A ratio that some responses give as a percentage.

    Between 1 and 1.5 it is a rounding error or a defect, not a percentage, and kept as it is.
    """
    checked = number(value)
    if 0 <= checked <= LARGEST_RATIO:
        return ratio(checked)
    if LARGEST_RATIO < checked <= 100:  # noqa: PLR2004 per cent
        raise Violation("a percentage, divided by 100", kept=round(checked / 100, 12))
    raise Violation("outside 0 to 100")


def is_storable(value: str) -> bool:
    """Whether Postgres takes the text: no NUL character, no half of a surrogate pair."""
    return "\x00" not in value and (value.isascii() or value.encode("utf-8", "ignore").decode() == value)


def text(value: Any) -> str:
    """Text that Postgres can hold."""
    if type(value) is not str:
        raise Violation("not text")
    if is_storable(value):
        return value
    raise Violation("holds characters that cannot be stored")


def time_zone(value: Any) -> str:
    """The name of a time zone as received; one that means nothing is kept."""
    name = text(value)
    if local_zone(name) is None:
        raise Violation(UNKNOWN_ZONE, kept=name)
    return name


def identifier(value: Any) -> str:
    """A session's or user's id."""
    if type(value) is not str or not value or len(value) > MAX_ID_LENGTH or not is_storable(value):
        raise Violation("not an identifier")
    return value


def stages(value: Any) -> list[int]:
    """An array of small whole numbers; all of it or nothing, for a gap would shift the night."""
    if type(value) is not list:
        raise Violation("not a list")
    try:  # ten times as fast as a look at each element's type
        are_whole = orjson.dumps(value).translate(None, b"0123456789-,") == b"[]"
    except TypeError:
        are_whole = False
    if not are_whole:
        raise Violation("not all whole numbers")
    if not all(-_SMALLINT_LIMIT <= stage < _SMALLINT_LIMIT for stage in set(value)):
        raise Violation("out of range")
    return value
