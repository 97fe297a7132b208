"""Makes records of the API's responses: each value of the right type, within Postgres' ranges.

What is merely odd is noted as a violation of the contract, and left out or kept as its reader says; what makes a
response useless raises `Malformed`.
"""

import functools
import hashlib
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, NoReturn, TypeVar

import orjson

from resources.asleep import parse_values as values
from resources.asleep.errors import RAW_BYTES_KEPT, Malformed
from resources.asleep.parse_values import Violation
from resources.asleep.records import (
    PECULIARITIES,
    STAT_FIELDS,
    STATES,
    UNKNOWN_STATE,
    AverageStats,
    ListedSession,
    NeverSleptSession,
    SleepSession,
    SleptSession,
    Stat,
    UserProfile,
)

MAX_ROWS = 1000
"""Of one page: ten times as many as are requested. It bounds the memory of a response that ignores `limit`."""
FIELD_NAME = re.compile(r"(?=.{1,60}$)[A-Za-z_]+\d{0,2}[A-Za-z_]*")
"""What is shown of an unknown field; another name may be an id."""
_MAX_VIOLATIONS = 100

Object = dict[str, Any]
Reader = Callable[[Any], Any]
Session = TypeVar("Session", SleptSession, NeverSleptSession)
Parser = TypeVar("Parser", bound=Callable[..., Any])


_STAT: dict[str, Reader] = {
    **dict.fromkeys(STAT_FIELDS, values.whole_number),
    **{name: values.ratio for name in STAT_FIELDS if name.endswith("_ratio")},
    "sleep_time": values.timestamp,
    "wake_time": values.timestamp,
    "sleep_efficiency": values.efficiency,
    "breathing_index": values.number,
    "sleep_cycle": values.number,
    "breathing_pattern": values.text,
    "sleep_cycle_time": values.timestamps,
}
_STAT_NAMES = frozenset(_STAT)
_AVERAGES: dict[str, Reader] = {
    **{name: values.number for name in STAT_FIELDS if name not in {"breathing_pattern", "sleep_cycle_time"}},
    "sleep_efficiency": values.efficiency,
    **dict.fromkeys(("start_time", "end_time", "sleep_time", "wake_time"), values.clock_time),
}
_AVERAGE_STATS_NAMES = frozenset(
    {"period", "peculiarities", "average_stats", "slept_sessions", "never_slept_sessions", "timezone"}
)
_NEVER_SLEPT_NAMES = frozenset(
    {"id", "session_id", "start_time", "session_start_time", "end_time", "session_end_time", "completed_time"}
)
_SLEPT_NAMES = _NEVER_SLEPT_NAMES | _STAT_NAMES | {"created_timezone"}
_ROW: dict[str, Reader] = {
    "session_end_time": values.timestamp,
    "unexpected_end_time": values.timestamp,
    "created_timezone": values.text,
    "last_received_seq_num": values.whole_number,
    "time_in_bed": values.whole_number,
}
_ROW_NAMES = frozenset(_ROW) | {"session_id", "state", "session_start_time"}
_SESSION: dict[str, Reader] = {
    "unexpected_end_time": values.timestamp,
    "created_timezone": values.time_zone,
    **dict.fromkeys(("sleep_stages", "breath_stages", "snoring_stages"), values.stages),
}
_SESSION_NAMES = frozenset(_SESSION) | {"id", "state", "start_time", "end_time"}
_RESULT_NAMES = frozenset({"timezone", "peculiarities", "missing_data_ratio", "session", "stat"})
_USER_NAMES = frozenset({"user_id", "to_be_deleted", "last_session_info", "metadata"})


def _malformed(message: str, response: Any) -> NoReturn:
    """Give up on a response whose structure is impossible."""
    try:
        raw = orjson.dumps(response)
    except (TypeError, RecursionError):
        raw = repr(response).encode("utf-8", "replace")
    raise Malformed(message, raw=raw[:RAW_BYTES_KEPT])


def _raises_only_malformed(parse: Parser) -> Parser:
    """Whatever else a parser raises is a response that cannot be read, and its request's failure alone."""

    @functools.wraps(parse)
    def parse_or_refuse(*args: Any, **kwargs: Any) -> Any:
        try:
            return parse(*args, **kwargs)
        except Malformed:
            raise
        except Exception as error:  # noqa: BLE001 it would stop the whole run
            problem = type(error).__name__
        raise Malformed(f"the response could not be read ({problem})")

    return parse_or_refuse  # type: ignore[return-value] # it has the same parameters


class _Fields:
    """The fields of one object of a response; collects how they violate the contract, each way once."""

    def __init__(
        self,
        holder: Object,
        violations: list[str],
        prefix: str = "",
        names: frozenset[str] = frozenset(),
        response: Object | None = None,
    ) -> None:
        """Prepare, and note fields that are not among `names`; `response` is kept with `Malformed`."""
        self.get = holder.get
        self._violations = violations
        self._prefix = prefix
        self._response = response or holder
        if names and not names.issuperset(holder):
            for name in sorted(holder.keys() - names):
                self.note(name if FIELD_NAME.fullmatch(name) else "(a name with other characters)", "unknown field")

    def note(self, name: str, what: str) -> None:
        violation = f"{self._prefix}{name}: {what}"
        if len(self._violations) < _MAX_VIOLATIONS and violation not in self._violations:
            self._violations.append(violation)

    def read(self, name: str, reader: Reader, *, may_be_null: bool = True) -> Any:
        """The value of a field; None when it is missing or of another form, which is noted."""
        value = self.get(name)
        return None if value is None and may_be_null else self._checked(name, value, reader)

    def read_all(self, readers: Mapping[str, Reader]) -> dict[str, Any]:
        return {name: self.read(name, reader) for name, reader in readers.items()}

    def _checked(self, name: str, value: Any, reader: Reader) -> Any:
        try:
            return reader(value)
        except Violation as violation:
            self.note(f"{name}{violation.where}", violation.what)
            return violation.kept

    def required(self, name: str, reader: Reader, place: str = "") -> Any:
        """The value of a field without which a response is of no use: the id of a session, its start."""
        try:
            return reader(self.get(name))
        except Violation as violation:
            _malformed(f"{place or self._prefix + name}: {violation.what}", self._response)

    def object(self, name: str) -> Object | None:
        value = self.get(name)
        if value is None or type(value) is dict:
            return value
        self.note(name, "not an object")
        return None

    def state(self) -> str:
        """A session's state as received; one that the contract lacks is kept and noted."""
        state = self.read("state", values.text)
        if state not in STATES:
            self.note("state", "unknown state" if state else "no state")
        return state or UNKNOWN_STATE

    def peculiarities(self) -> tuple[str, ...] | None:
        """A result's peculiarities, None when there is no list; a value that the contract lacks is kept and noted."""
        value = self.get("peculiarities")
        if type(value) is not list:
            self.note("peculiarities", "not a list")
            return None
        texts = [self._checked("peculiarities[]", element, values.text) for element in value]
        kept = tuple(dict.fromkeys(text for text in texts if text is not None))
        if not PECULIARITIES.issuperset(kept):
            self.note("peculiarities", "unknown value")
        return kept


@_raises_only_malformed
def parse_session_list(result: Object) -> tuple[ListedSession, ...]:
    """One page of the list of sessions. A row that cannot be read keeps its place, for pages are by offset.

    Raises:
        Malformed: no list, or far more rows than any page has.
    """
    rows = result.get("sleep_session_list")
    if type(rows) is not list:
        _malformed("sleep_session_list: not a list", result)
    if len(rows) > MAX_ROWS:
        _malformed(f"sleep_session_list: {len(rows)} rows on one page, more than {MAX_ROWS}", rows[:1])
    return tuple([_listed_session(row) for row in rows])


def _listed_session(row: Any) -> ListedSession:
    violations: list[str] = []
    try:
        if type(row) is not dict:
            _malformed("sleep_session_list[]: not an object", row)
        fields = _Fields(row, violations, names=_ROW_NAMES)
        session_id = fields.required("session_id", values.identifier)
    except Malformed as problem:
        number = hashlib.blake2b(problem.raw or b"", digest_size=8).hexdigest()
        return ListedSession(f"unreadable row {number}", UNKNOWN_STATE, None, problem=problem)
    state = fields.state()
    start = fields.read("session_start_time", values.timestamp, may_be_null=False)
    return ListedSession(session_id, state, start, **fields.read_all(_ROW), contract_violations=tuple(violations))


@_raises_only_malformed
def parse_session_result(result: object, *, user_id: str, asked_at: datetime) -> SleepSession:
    """One session in full: the `result` of a read, or the `data` of a webhook.

    Args:
        result: JSON as received.
        user_id: whose session was requested.
        asked_at: when, by the clock that all processes share.

    Raises:
        Malformed: not an object, of another user, or without a session, its id or its start.
    """
    if not isinstance(result, dict):
        _malformed("result: not an object", result)
    if result.get("user_id", user_id) != user_id:
        _malformed("user_id: not the requested user", result)
    # Webhooks add `user_id`; without it both ways give the same hash.
    result = {name: value for name, value in result.items() if name != "user_id"}
    session = result.get("session")
    if type(session) is not dict:
        _malformed("session: not an object", result)
    violations: list[str] = []
    fields = _Fields(result, violations, names=_RESULT_NAMES)
    inner = _Fields(session, violations, "session.", _SESSION_NAMES, result)
    stat = fields.object("stat")
    try:
        raw = _as_json(result)
    except RecursionError:
        raise Malformed("result: nested too deeply") from None
    return SleepSession(
        session_id=inner.required("id", values.identifier),
        user_id=user_id,
        state=inner.state(),
        session_start_time=inner.required("start_time", values.timestamp),
        session_end_time=inner.read("end_time", values.timestamp),
        **inner.read_all(_SESSION),
        peculiarities=fields.peculiarities(),
        missing_data_ratio=fields.read("missing_data_ratio", values.ratio),
        stat=None if stat is None else Stat(**_Fields(stat, violations, "stat.", _STAT_NAMES).read_all(_STAT)),
        raw=raw,
        payload_hash=hashlib.blake2b(raw, digest_size=16).digest(),
        contract_violations=tuple(violations),
        asked_at=asked_at,
    )


def _as_json(result: Object) -> bytes:
    try:
        # A copy, for what orjson returns keeps the buffer in which it was written: 256 KiB for a night's 6.
        return bytes(memoryview(orjson.dumps(result, option=orjson.OPT_SORT_KEYS)))
    except TypeError:  # half a surrogate pair, or an integer beyond 64 bits
        return json.dumps(_without_nan(result), sort_keys=True, separators=(",", ":")).encode()


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nan(element) for name, element in value.items()}
    if isinstance(value, list):
        return [_without_nan(element) for element in value]
    return None if isinstance(value, float) and value - value != 0 else value


@_raises_only_malformed
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
    fields = _Fields(result, violations, names=_AVERAGE_STATS_NAMES)
    period = _Fields(fields.object("period") or {}, violations, "period.")
    fields.peculiarities()  # a value that the contract lacks is noted
    averages = fields.object("average_stats")
    if averages is not None:
        known = {name: reader for name, reader in _AVERAGES.items() if name in averages}
        averages = _Fields(averages, violations, "average_stats.", frozenset(_AVERAGES)).read_all(known)
    return AverageStats(
        timezone=period.read("timezone", values.text),
        averages=averages,
        slept=tuple(_readable(_slept, result, "slept_sessions", problems)),
        never_slept=tuple(_readable(_never_slept, result, "never_slept_sessions", problems)),
        asked_at=asked_at,
        contract_violations=tuple(violations),
        problems=tuple(problems),
    )


def _readable(read: Callable[[Object], Session], result: Object, name: str, problems: list[Malformed]) -> list[Session]:
    """The rows that can be read; what is wrong with the others is noted."""
    rows = [] if result.get(name) is None else result[name]
    if type(rows) is not list or not all(type(row) is dict for row in rows):
        _malformed(f"{name}: not a list of objects", result)
    sessions = []
    for row in rows:
        try:
            sessions.append(read(row))
        except Malformed as problem:
            problems.append(problem)
    return sessions


def _analysed(fields: _Fields, where: str) -> dict[str, Any]:
    """What the sessions of both lists have in common, each under one of two names."""

    def name_of(*names: str) -> str:
        return next((name for name in names if fields.get(name) is not None), names[0])

    return {
        "session_id": fields.required(name_of("id", "session_id"), values.identifier, f"{where}.id"),
        "session_start_time": fields.required(
            name_of("start_time", "session_start_time"), values.timestamp, f"{where}.start_time"
        ),
        "session_end_time": fields.read(name_of("end_time", "session_end_time"), values.timestamp),
        "completed_time": fields.read("completed_time", values.timestamp),
    }


def _slept(row: Object) -> SleptSession:
    violations: list[str] = []
    fields = _Fields(row, violations, names=_SLEPT_NAMES)
    created_timezone = fields.read("created_timezone", values.time_zone)
    times = _analysed(fields, "slept_sessions")
    stat = Stat(**_Fields(row, violations, "stat.").read_all(_STAT))
    return SleptSession(**times, created_timezone=created_timezone, stat=stat, contract_violations=tuple(violations))


def _never_slept(row: Object) -> NeverSleptSession:
    violations: list[str] = []
    times = _analysed(_Fields(row, violations, names=_NEVER_SLEPT_NAMES), "never_slept_sessions")
    return NeverSleptSession(**times, contract_violations=tuple(violations))


@_raises_only_malformed
def parse_user(result: Object, *, user_id: str) -> UserProfile:
    """A user's profile, without the person's metadata.

    Args:
        result: JSON as received.
        user_id: that was requested.

    Raises:
        Malformed: the profile of another user.
    """
    if result.get("user_id") != user_id:
        _malformed("user_id: not the requested user", {**result, "metadata": None})
    violations: list[str] = []
    fields = _Fields(result, violations, names=_USER_NAMES)
    to_be_deleted = result.get("to_be_deleted")
    if type(to_be_deleted) is not bool:
        fields.note("to_be_deleted", "not true or false")
    return UserProfile(user_id, to_be_deleted is True, tuple(violations))
