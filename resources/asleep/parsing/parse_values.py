"""Reads one value of a JSON response: the right type within Postgres' ranges, or None and a violation.

Does not belong here: which fields there are (`parse_sessions`, `parse_users`), records.
"""

import functools
import re
from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime, time
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
MAX_ODDITIES = 100

Parameters = ParamSpec("Parameters")
Record = TypeVar("Record")
Json = Any
Object = dict[str, Any]


class ContractViolations(list[str]):
    """Deviations found so far, each once and not endlessly many."""

    def note(self, where: str, what: str) -> None:
        """Remember that the field `where` is `what`."""
        text = f"{where}: {what}"
        if len(self) < MAX_ODDITIES and text not in self:
            self.append(text)

    def unknown_fields(self, prefix: str, names: Iterable[str]) -> None:
        """Remember fields that the contract does not have."""
        for name in sorted(names):
            self.note(
                f"{prefix}{name if FIELD_NAME.fullmatch(name) else '(a name with other characters)'}", "unknown field"
            )


def malformed(message: str, answer: Json) -> NoReturn:
    """Give up on an answer whose structure is impossible, keeping it for people to look at."""
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


def timestamp(value: Json, where: str, odd: ContractViolations) -> datetime | None:
    """An ISO 8601 date and time with an offset, in UTC."""
    if type(value) is str:
        try:
            moment = datetime.fromisoformat(value)
            if moment.tzinfo is UTC:
                return moment
            if moment.tzinfo is not None:
                return moment.astimezone(UTC)
        except (ValueError, OverflowError):
            odd.note(where, "not a timestamp")
            return None
        odd.note(where, "a timestamp without an offset")
        return None
    odd.note(where, "not a timestamp")
    return None


def timestamp_or_utc(value: Json, where: str, odd: ContractViolations) -> datetime | None:
    """Like `timestamp`, but a missing offset means UTC: so the user's last session is documented."""
    try:
        moment = datetime.fromisoformat(value)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        odd.note(where, "not a timestamp")
        return None


def timestamps(value: Json, where: str, odd: ContractViolations) -> list[datetime] | None:
    """The timestamps of an array; an element that is none is left out."""
    if type(value) is not list:
        odd.note(where, "not a list")
        return None
    moments = [timestamp(element, f"{where}[]", odd) for element in value]
    return [moment for moment in moments if moment is not None]


def clock_time(value: Json, where: str, odd: ContractViolations) -> time | None:
    """A clock time without a zone."""
    try:
        moment = time.fromisoformat(value)
    except (TypeError, ValueError):
        odd.note(where, "not a clock time")
        return None
    if moment.tzinfo is not None:
        odd.note(where, "a clock time with an offset")
        return None
    return moment


def day(value: Json, where: str, odd: ContractViolations) -> date | None:
    """A calendar date."""
    try:
        return date.fromisoformat(value)
    except (TypeError, ValueError):
        odd.note(where, "not a date")
        return None


def whole_number(value: Json, where: str, odd: ContractViolations) -> int | None:
    """An integer that a Postgres `integer` holds; 2.0 counts as one."""
    if type(value) is int:
        if -INT4_LIMIT <= value < INT4_LIMIT:
            return value
        odd.note(where, "out of range")
        return None
    if type(value) is not float:
        odd.note(where, "not a number")
        return None
    if value.is_integer():
        return whole_number(int(value), where, odd)
    odd.note(where, "not a whole number")
    return None


def number(value: Json, where: str, odd: ContractViolations) -> float | None:
    """Any finite number of a sensible size."""
    if type(value) is float or type(value) is int:
        if -FLOAT_LIMIT <= value <= FLOAT_LIMIT:
            return float(value)
        odd.note(where, "out of range")
        return None
    odd.note(where, "not a number")
    return None


def ratio(value: Json, where: str, odd: ContractViolations) -> float | None:
    """A number that should be 0 to 1; kept, and recorded as a violation, when it is not."""
    checked = number(value, where, odd)
    if checked is not None and not 0 <= checked <= 1:
        odd.note(where, "outside 0 to 1")
    return checked


def efficiency(value: Json, where: str, odd: ContractViolations) -> float | None:
    """A ratio that some answers give as a percentage.

    Between 1 and 1.5 it is a rounding error or a defect, not a percentage, and kept as it is.
    """
    checked = number(value, where, odd)
    if checked is None or 0 <= checked <= 1:
        return checked
    if 1 < checked <= LARGEST_RATIO:
        odd.note(where, "outside 0 to 1")
        return checked
    if LARGEST_RATIO < checked <= 100:  # noqa: PLR2004 per cent
        odd.note(where, "a percentage, divided by 100")
        return round(checked / 100, 12)
    odd.note(where, "outside 0 to 100")
    return None


def is_storable(value: str) -> bool:
    """Whether Postgres takes the text: no NUL character, no half of a surrogate pair."""
    if value.isascii():
        return "\x00" not in value
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return "\x00" not in value


def text(value: Json, where: str, odd: ContractViolations) -> str | None:
    """Text that Postgres can hold."""
    if type(value) is not str:
        odd.note(where, "not text")
        return None
    if is_storable(value):
        return value
    odd.note(where, "holds characters that cannot be stored")
    return None


def time_zone(value: Json, where: str, odd: ContractViolations) -> str | None:
    """The name of a time zone as it came; one that means nothing is kept and noted."""
    name = text(value, where, odd)
    if name is not None and local_zone(name) is None:
        odd.note(where, UNKNOWN_ZONE)
    return name


def identifier(value: Json, where: str, answer: Json) -> str:
    """A session's or user's id, without which an answer is of no use."""
    if type(value) is not str or not value or len(value) > MAX_ID_LENGTH or not is_storable(value):
        malformed(f"{where}: not an identifier", answer)
    return value


def stages(value: Json, where: str, odd: ContractViolations) -> list[int] | None:
    """An array of small whole numbers; all of it or nothing, for a gap would shift the night."""
    if type(value) is not list:
        odd.note(where, "not a list")
        return None
    if not value:
        return value
    try:
        as_json = orjson.dumps(value)
    except TypeError:
        as_json = b"?"
    if as_json.translate(None, b"0123456789-,") != b"[]":
        odd.note(where, "not all whole numbers")
        return None
    all_single_digits = len(as_json) - as_json.count(b"-") == 2 * len(value) + 1
    if all_single_digits or (min(value) >= -SMALLINT_LIMIT and max(value) < SMALLINT_LIMIT):
        return value
    odd.note(where, "out of range")
    return None
