"""Reads one value of a JSON response: the right type within Postgres' ranges, or a violation of the contract.

Does not belong here: which fields there are (`parse_sessions`, `parse_users`), records.
"""

import functools
import re
from collections.abc import Callable
from datetime import UTC, datetime, time
from typing import Any, NoReturn, ParamSpec, TypeVar

import orjson

from resources.asleep.errors import RAW_BYTES_KEPT, Malformed
from resources.asleep.identifiers import MAX_ID_LENGTH
from resources.local_time import local_zone

INT4_LIMIT = 2**31
SMALLINT_LIMIT = 2**15
FLOAT_LIMIT = 1e15
"""Far beyond any sensible statistic and far within every floating-point column."""

LARGEST_RATIO = 1.5
"""An efficiency above it is a percentage."""

UNKNOWN_ZONE = "unknown time zone"
FIELD_NAME = re.compile(r"(?=.{1,60}$)[A-Za-z_]+\d{0,2}[A-Za-z_]*")
"""What is shown of an unknown field; another name may be an id."""
MAX_VIOLATIONS = 100

Parameters = ParamSpec("Parameters")
Record = TypeVar("Record")
Json = Any
Object = dict[str, Any]


class Violation(Exception):
    """A value is not what the contract allows."""

    def __init__(self, what: str, *, kept: Any = None, where: str = "") -> None:
        """Describe it.

        Args:
            what: how it deviates, without the value.
            kept: what is stored all the same.
            where: place within the field.
        """
        super().__init__(what)
        self.what = what
        self.kept = kept
        self.where = where


def malformed(message: str, answer: Json) -> NoReturn:
    """Give up on a response whose structure is impossible.

    Args:
        message: what is wrong, without a value.
        answer: kept for people to look at.
    """
    try:
        raw = orjson.dumps(answer)
    except (TypeError, RecursionError):
        raw = repr(answer).encode("utf-8", "replace")
    raise Malformed(message, raw=raw[:RAW_BYTES_KEPT])


def raises_only_malformed(parse: Callable[Parameters, Record]) -> Callable[Parameters, Record]:
    """Decorate a parser: whatever else it raises is a response that cannot be read, and its request's failure alone."""

    @functools.wraps(parse)
    def parse_or_refuse(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Record:
        try:
            return parse(*args, **kwargs)
        except Malformed:
            raise
        except Exception as error:  # noqa: BLE001 it would stop the whole run
            problem = type(error).__name__
        raise Malformed(f"the response could not be read ({problem})")

    return parse_or_refuse


def timestamp(value: Json) -> datetime:
    """An ISO 8601 date and time with an offset, in UTC."""
    if type(value) is not str:
        raise Violation("not a timestamp")
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is UTC:
            return moment
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise Violation("not a timestamp") from None
    raise Violation("a timestamp without an offset")


def timestamps(value: Json) -> list[datetime]:
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


def clock_time(value: Json) -> time:
    """A clock time without a zone."""
    try:
        moment = time.fromisoformat(value)
    except (TypeError, ValueError):
        raise Violation("not a clock time") from None
    if moment.tzinfo is not None:
        raise Violation("a clock time with an offset")
    return moment


def whole_number(value: Json) -> int:
    """An integer that a Postgres `integer` holds; 2.0 counts as one."""
    if type(value) is int:
        if -INT4_LIMIT <= value < INT4_LIMIT:
            return value
        raise Violation("out of range")
    if type(value) is not float:
        raise Violation("not a number")
    if value.is_integer():
        return whole_number(int(value))
    raise Violation("not a whole number")


def number(value: Json) -> float:
    """Any finite number of a sensible size."""
    if type(value) is not float and type(value) is not int:
        raise Violation("not a number")
    if -FLOAT_LIMIT <= value <= FLOAT_LIMIT:
        return float(value)
    raise Violation("out of range")


def ratio(value: Json) -> float:
    """A number that should be 0 to 1; kept when it is not."""
    checked = number(value)
    if 0 <= checked <= 1:
        return checked
    raise Violation("outside 0 to 1", kept=checked)


def efficiency(value: Json) -> float:
    """A ratio that some responses give as a percentage.

    Between 1 and 1.5 it is a rounding error or a defect, not a percentage, and kept as it is.
    """
    checked = number(value)
    if 0 <= checked <= 1:
        return checked
    if 1 < checked <= LARGEST_RATIO:
        raise Violation("outside 0 to 1", kept=checked)
    if LARGEST_RATIO < checked <= 100:  # noqa: PLR2004 per cent
        raise Violation("a percentage, divided by 100", kept=round(checked / 100, 12))
    raise Violation("outside 0 to 100")


def is_storable(value: str) -> bool:
    """Whether Postgres takes the text: no NUL character, no half of a surrogate pair."""
    if value.isascii():
        return "\x00" not in value
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


def text(value: Json) -> str:
    """Text that Postgres can hold."""
    if type(value) is not str:
        raise Violation("not text")
    if is_storable(value):
        return value
    raise Violation("holds characters that cannot be stored")


def time_zone(value: Json) -> str:
    """The name of a time zone as received; one that means nothing is kept."""
    name = text(value)
    if local_zone(name) is None:
        raise Violation(UNKNOWN_ZONE, kept=name)
    return name


def identifier(value: Json) -> str:
    """A session's or user's id."""
    if type(value) is not str or not value or len(value) > MAX_ID_LENGTH or not is_storable(value):
        raise Violation("not an identifier")
    return value


def stages(value: Json) -> list[int]:
    """An array of small whole numbers; all of it or nothing, for a gap would shift the night."""
    if type(value) is not list:
        raise Violation("not a list")
    if not value:
        return value
    try:
        as_json = orjson.dumps(value)
    except TypeError:
        as_json = b"?"
    if as_json.translate(None, b"0123456789-,") != b"[]":
        raise Violation("not all whole numbers")
    all_single_digits = len(as_json) - as_json.count(b"-") == 2 * len(value) + 1
    if all_single_digits or (min(value) >= -SMALLINT_LIMIT and max(value) < SMALLINT_LIMIT):
        return value
    raise Violation("out of range")
