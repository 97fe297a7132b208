"""The door for answers about a user: the averages of a period, and the profile.

Lives here: their fields and how they are read.  Not here: sessions in full (those are in `parsing`), HTTP.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, time
from typing import Any, TypeVar

from resources.asleep.errors import Malformed
from resources.asleep.parsing import parse_values as fields
from resources.asleep.parsing.parse_common import (
    STAT_NAMES,
    named,
    optional,
    peculiarities_of,
    read_stat,
    required_start,
    state_of,
)
from resources.asleep.parsing.parse_values import ContractViolations, Object, malformed
from resources.asleep.records import AverageStats, LastSession, NeverSleptSession, SleptSession, UserProfile

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


@fields.raises_only_malformed
def parse_average_stats(result: Object, *, asked_at: datetime) -> AverageStats:
    """The averages of a period and the sessions they were made from.

    Raises:
        Malformed: a list of sessions that is none.
    """
    odd = ContractViolations()
    problems: list[Malformed] = []
    if not _RESULT_NAMES.issuperset(result):
        odd.unknown_fields("", result.keys() - _RESULT_NAMES)
    period = _object(result, "period", odd) or {}
    return AverageStats(
        timezone=optional(period, "timezone", fields.text, odd, "period."),
        first_day=optional(period, "start_date", fields.day, odd, "period."),
        last_day=optional(period, "end_date", fields.day, odd, "period."),
        peculiarities=peculiarities_of(result, odd),
        averages=_averages(_object(result, "average_stats", odd), odd),
        slept=tuple(_readable(_slept, _rows(result, "slept_sessions"), problems)),
        never_slept=tuple(_readable(_never_slept, _rows(result, "never_slept_sessions"), problems)),
        asked_at=asked_at,
        contract_violations=tuple(odd),
        problems=tuple(problems),
    )


def _readable(read: Callable[[Object], Session], rows: list[Object], problems: list[Malformed]) -> Iterator[Session]:
    """The rows that can be read; what is wrong with the others is noted."""
    for row in rows:
        try:
            yield read(row)
        except Malformed as problem:
            problems.append(problem)


def _object(holder: Object, name: str, odd: ContractViolations) -> Object | None:
    value = holder.get(name)
    if value is None or type(value) is dict:
        return value
    odd.note(name, "not an object")
    return None


def _averages(holder: Object | None, odd: ContractViolations) -> dict[str, float | time | None] | None:
    if holder is None:
        return None
    averages: dict[str, float | time | None] = {}
    for name in holder:
        if name in _CLOCK_TIMES:
            averages[name] = optional(holder, name, fields.clock_time, odd, "average_stats.")
        elif name == "sleep_efficiency":
            averages[name] = optional(holder, name, fields.efficiency, odd, "average_stats.")
        elif name in _NUMBERS:
            averages[name] = optional(holder, name, fields.number, odd, "average_stats.")
    odd.unknown_fields("average_stats.", holder.keys() - averages.keys())
    return averages


def _rows(result: Object, name: str) -> list[Object]:
    rows = result.get(name)
    if rows is None:
        return []
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        malformed(f"{name}: not a list of objects", result)
    return rows


def _session_id(row: Object, where: str) -> str:
    return fields.identifier(row.get(named(row, "id", "session_id")), f"{where}.id", row)


def _start(row: Object, where: str) -> datetime:
    return required_start(row.get(named(row, "start_time", "session_start_time")), f"{where}.start_time", row)


def _slept(row: Object) -> SleptSession:
    odd = ContractViolations()
    if not _SLEPT_NAMES.issuperset(row):
        odd.unknown_fields("", row.keys() - _SLEPT_NAMES)
    return SleptSession(
        session_id=_session_id(row, "slept_sessions"),
        created_timezone=optional(row, "created_timezone", fields.time_zone, odd),
        session_start_time=_start(row, "slept_sessions"),
        session_end_time=optional(row, named(row, "end_time", "session_end_time"), fields.timestamp, odd),
        completed_time=optional(row, "completed_time", fields.timestamp, odd),
        stat=read_stat(row, odd),
        contract_violations=tuple(odd),
    )


def _never_slept(row: Object) -> NeverSleptSession:
    odd = ContractViolations()
    if not _NEVER_SLEPT_NAMES.issuperset(row):
        odd.unknown_fields("", row.keys() - _NEVER_SLEPT_NAMES)
    return NeverSleptSession(
        session_id=_session_id(row, "never_slept_sessions"),
        session_start_time=_start(row, "never_slept_sessions"),
        session_end_time=optional(row, named(row, "end_time", "session_end_time"), fields.timestamp, odd),
        completed_time=optional(row, "completed_time", fields.timestamp, odd),
        contract_violations=tuple(odd),
    )


@fields.raises_only_malformed
def parse_user(result: Object, *, user_id: str) -> UserProfile:
    """A user's profile, without the person's metadata.

    Raises:
        Malformed: the profile of another user.
    """
    if result.get("user_id") != user_id:
        malformed("user_id: not the user asked about", {**result, "metadata": None})
    odd = ContractViolations()
    if not _USER_NAMES.issuperset(result):
        odd.unknown_fields("", result.keys() - _USER_NAMES)
    to_be_deleted = result.get("to_be_deleted")
    if type(to_be_deleted) is not bool:
        odd.note("to_be_deleted", "not true or false")
    return UserProfile(
        user_id=user_id,
        to_be_deleted=to_be_deleted is True,
        last_session=_last_session(_object(result, "last_session_info", odd), odd),
        contract_violations=tuple(odd),
    )


def _last_session(holder: Object | None, odd: ContractViolations) -> LastSession | None:
    prefix = "last_session_info."
    session_id: Any = None if holder is None else optional(holder, "session_id", fields.text, odd, prefix)
    if holder is None or not session_id:
        return None
    moment = fields.timestamp_or_utc
    return LastSession(
        session_id=session_id,
        state=state_of(holder, odd, prefix),
        session_start_time=optional(holder, named(holder, "start_time", "session_start_time"), moment, odd, prefix),
        session_end_time=optional(holder, named(holder, "end_time", "session_end_time"), moment, odd, prefix),
        completed_time=optional(holder, named(holder, "complete_time", "completed_time"), moment, odd, prefix),
    )
