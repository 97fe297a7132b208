"""The door for sessions: an answer's `result` becomes a record here, once, and nowhere else.

Lives here: the list of sessions and the session in full.  Not here: HTTP, the envelope around `result`, the
answers about a user (those are in `parsing_users`), table rows.

What is merely odd is noted and left out; what makes the answer useless raises `Malformed`.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

import orjson

from resources.asleep.errors import Malformed
from resources.asleep.parsing import parse_values as fields
from resources.asleep.parsing.parse_common import optional, peculiarities_of, required_start, stat_of, state_of
from resources.asleep.parsing.parse_values import ContractViolations, Object, malformed
from resources.asleep.records import UNKNOWN_STATE, ListedSession, SleepSession

_RESULT_NAMES = frozenset({"timezone", "peculiarities", "missing_data_ratio", "session", "stat"})
_SESSION_NAMES = frozenset(
    {"id", "state", "start_time", "end_time", "unexpected_end_time", "created_timezone"}
    | {"sleep_stages", "breath_stages", "snoring_stages"}
)
MAX_ROWS = 1000
"""Of one page: ten times as many as are requested. It bounds the memory of a response that ignores `limit`."""
_ROW_NAMES = frozenset(
    {"session_id", "state", "session_start_time", "session_end_time", "unexpected_end_time"}
    | {"created_timezone", "last_received_seq_num", "time_in_bed"}
)


@fields.raises_only_malformed
def parse_session_list(result: Object) -> tuple[ListedSession, ...]:
    """One page of the list of sessions. A row that cannot be read keeps its place, for pages are by offset.

    Raises:
        Malformed: no list, or far more rows than any page has.
    """
    rows = result.get("sleep_session_list")
    if type(rows) is not list:
        malformed("sleep_session_list: not a list", result)
    if len(rows) > MAX_ROWS:
        malformed(f"sleep_session_list: {len(rows)} rows on one page, more than {MAX_ROWS}", rows[:1])
    return tuple([_listed_session(row) for row in rows])


def _listed_session(row: Any) -> ListedSession:
    odd = ContractViolations()
    try:
        if type(row) is not dict:
            malformed("sleep_session_list[]: not an object", row)
        session_id = fields.identifier(row.get("session_id"), "session_id", row)
    except Malformed as problem:
        number = hashlib.blake2b(problem.raw or b"", digest_size=8).hexdigest()
        return ListedSession(f"unreadable row {number}", UNKNOWN_STATE, None, problem=problem)
    if not _ROW_NAMES.issuperset(row):
        odd.unknown_fields("", row.keys() - _ROW_NAMES)
    return ListedSession(
        session_id=session_id,
        state=state_of(row, odd),
        session_start_time=fields.timestamp(row.get("session_start_time"), "session_start_time", odd),
        session_end_time=optional(row, "session_end_time", fields.timestamp, odd),
        unexpected_end_time=optional(row, "unexpected_end_time", fields.timestamp, odd),
        created_timezone=optional(row, "created_timezone", fields.text, odd),
        last_received_seq_num=optional(row, "last_received_seq_num", fields.whole_number, odd),
        time_in_bed=optional(row, "time_in_bed", fields.whole_number, odd),
        contract_violations=tuple(odd),
    )


@fields.raises_only_malformed
def parse_session_result(result: object, *, user_id: str, asked_at: datetime) -> SleepSession:
    """One session in full: the `result` of a read, or the `data` of a webhook.

    Raises:
        Malformed: not an object, of another user, or without a session, its id or its start.
    """
    if not isinstance(result, dict):
        malformed("result: not an object", result)
    result = _of_this_user(result, user_id)
    session = result.get("session")
    if type(session) is not dict:
        malformed("session: not an object", result)
    odd = ContractViolations()
    if not _RESULT_NAMES.issuperset(result):
        odd.unknown_fields("", result.keys() - _RESULT_NAMES)
    if not _SESSION_NAMES.issuperset(session):
        odd.unknown_fields("session.", session.keys() - _SESSION_NAMES)
    try:
        raw = _as_json(result)
    except RecursionError:
        raise Malformed("result: nested too deeply") from None
    return SleepSession(
        session_id=fields.identifier(session.get("id"), "session.id", result),
        user_id=user_id,
        state=state_of(session, odd, "session."),
        session_start_time=required_start(session.get("start_time"), "session.start_time", result),
        session_end_time=optional(session, "end_time", fields.timestamp, odd, "session."),
        unexpected_end_time=optional(session, "unexpected_end_time", fields.timestamp, odd, "session."),
        created_timezone=optional(session, "created_timezone", fields.time_zone, odd, "session."),
        peculiarities=peculiarities_of(result, odd),
        missing_data_ratio=optional(result, "missing_data_ratio", fields.ratio, odd),
        stat=stat_of(result, odd),
        sleep_stages=optional(session, "sleep_stages", fields.stages, odd, "session."),
        breath_stages=optional(session, "breath_stages", fields.stages, odd, "session."),
        snoring_stages=optional(session, "snoring_stages", fields.stages, odd, "session."),
        raw=raw,
        payload_hash=hashlib.blake2b(raw, digest_size=16).digest(),
        contract_violations=tuple(odd),
        asked_at=asked_at,
    )


def _of_this_user(result: Object, user_id: str) -> Object:
    """The result without the `user_id` that webhooks add, so that both ways give the same hash."""
    if "user_id" not in result:
        return result
    if result["user_id"] != user_id:
        malformed("user_id: not the user asked about", result)
    return {name: value for name, value in result.items() if name != "user_id"}


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
