"""Makes records of the responses about a user: the averages of a period, and the profile."""

from collections.abc import Callable, Iterator
from datetime import datetime, time
from typing import Any, TypeVar

from resources.asleep.errors import Malformed
from resources.asleep.parsing import parse_values as values
from resources.asleep.parsing.parse_common import STAT_NAMES, Fields
from resources.asleep.parsing.parse_values import Object, malformed
from resources.asleep.records import AverageStats, NeverSleptSession, SleptSession, UserProfile

Session = TypeVar("Session", SleptSession, NeverSleptSession)

_CLOCK_TIMES = frozenset({"start_time", "end_time", "sleep_time", "wake_time"})
_NOT_AVERAGED = frozenset({"breathing_pattern", "sleep_cycle_time"})
_NUMBERS = STAT_NAMES - _CLOCK_TIMES - _NOT_AVERAGED
_RESULT_NAMES = frozenset(
    {"period", "peculiarities", "average_stats", "slept_sessions", "never_slept_sessions", "timezone"}
)
_NEVER_SLEPT_NAMES = frozenset(
    {"id", "session_id", "start_time", "session_start_time", "end_time", "session_end_time", "completed_time"}
)
_SLEPT_NAMES = _NEVER_SLEPT_NAMES | STAT_NAMES | {"created_timezone"}
_USER_NAMES = frozenset({"user_id", "to_be_deleted", "last_session_info", "metadata"})


@values.raises_only_malformed
def parse_average_stats(result: Object, *, asked_at: datetime) -> AverageStats:
    """The averages of a period and the sessions they were made from.

    Args:
        result: JSON as received.
        asked_at: when it was requested, by the clock that all processes share.

    Raises:
        Malformed: a list of sessions that is none.
    """
    violations: list[str] = []
    problems: list[Malformed] = []
    fields = Fields(result, violations, names=_RESULT_NAMES)
    period = Fields(fields.object("period") or {}, violations, "period.")
    fields.peculiarities()  # a value that the contract lacks is noted
    return AverageStats(
        timezone=period.read("timezone", values.text),
        averages=_averages(fields.object("average_stats"), violations),
        slept=tuple(_readable(_slept, _rows(result, "slept_sessions"), problems)),
        never_slept=tuple(_readable(_never_slept, _rows(result, "never_slept_sessions"), problems)),
        asked_at=asked_at,
        contract_violations=tuple(violations),
        problems=tuple(problems),
    )


def _readable(read: Callable[[Object], Session], rows: list[Object], problems: list[Malformed]) -> Iterator[Session]:
    """The rows that can be read; what is wrong with the others is noted."""
    for row in rows:
        try:
            yield read(row)
        except Malformed as problem:
            problems.append(problem)


def _averages(holder: Object | None, violations: list[str]) -> dict[str, float | time | None] | None:
    if holder is None:
        return None
    fields = Fields(holder, violations, "average_stats.", _CLOCK_TIMES | _NUMBERS)
    averages: dict[str, float | time | None] = {}
    for name in holder:
        if name in _CLOCK_TIMES:
            averages[name] = fields.read(name, values.clock_time)
        elif name in _NUMBERS:
            averages[name] = fields.read(name, values.efficiency if name == "sleep_efficiency" else values.number)
    return averages


def _rows(result: Object, name: str) -> list[Object]:
    rows = result.get(name)
    if rows is None:
        return []
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        malformed(f"{name}: not a list of objects", result)
    return rows


def _analysed(fields: Fields, where: str) -> dict[str, Any]:
    """What the sessions of both lists have in common."""
    start, end = (fields.named(name, f"session_{name}") for name in ("start_time", "end_time"))
    return {
        "session_id": fields.required(fields.named("id", "session_id"), values.identifier, place=f"{where}.id"),
        "session_start_time": fields.required(start, values.timestamp, place=f"{where}.start_time"),
        "session_end_time": fields.read(end, values.timestamp),
        "completed_time": fields.read("completed_time", values.timestamp),
    }


def _slept(row: Object) -> SleptSession:
    violations: list[str] = []
    fields = Fields(row, violations, names=_SLEPT_NAMES)
    created_timezone = fields.read("created_timezone", values.time_zone)
    times = _analysed(fields, "slept_sessions")
    stat = Fields(row, violations, "stat.").stat()
    return SleptSession(**times, created_timezone=created_timezone, stat=stat, contract_violations=tuple(violations))


def _never_slept(row: Object) -> NeverSleptSession:
    violations: list[str] = []
    times = _analysed(Fields(row, violations, names=_NEVER_SLEPT_NAMES), "never_slept_sessions")
    return NeverSleptSession(**times, contract_violations=tuple(violations))


@values.raises_only_malformed
def parse_user(result: Object, *, user_id: str) -> UserProfile:
    """A user's profile, without the person's metadata.

    Args:
        result: JSON as received.
        user_id: that was requested.

    Raises:
        Malformed: the profile of another user.
    """
    if result.get("user_id") != user_id:
        malformed("user_id: not the user asked about", {**result, "metadata": None})
    violations: list[str] = []
    fields = Fields(result, violations, names=_USER_NAMES)
    to_be_deleted = result.get("to_be_deleted")
    if type(to_be_deleted) is not bool:
        fields.note("to_be_deleted", "not true or false")
    return UserProfile(user_id, to_be_deleted is True, tuple(violations))
