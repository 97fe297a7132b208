"""Makes records of the list of sessions and of a session in full.

What is merely odd is noted and left out; what makes the response useless raises `Malformed`.
"""

import hashlib
import json
from datetime import datetime
from typing import Any

import orjson

from resources.asleep.errors import Malformed
from resources.asleep.parsing import parse_values as values
from resources.asleep.parsing.parse_common import STAT_NAMES, Fields
from resources.asleep.parsing.parse_values import Object, malformed
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


@values.raises_only_malformed
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
    try:
        if type(row) is not dict:
            malformed("sleep_session_list[]: not an object", row)
        violations: list[str] = []
        fields = Fields(row, violations, names=_ROW_NAMES)
        session_id = fields.required("session_id", values.identifier)
    except Malformed as problem:
        number = hashlib.blake2b(problem.raw or b"", digest_size=8).hexdigest()
        return ListedSession(f"unreadable row {number}", UNKNOWN_STATE, None, problem=problem)
    return ListedSession(
        session_id=session_id,
        state=fields.state(),
        session_start_time=fields.read("session_start_time", values.timestamp, may_be_null=False),
        session_end_time=fields.read("session_end_time", values.timestamp),
        unexpected_end_time=fields.read("unexpected_end_time", values.timestamp),
        created_timezone=fields.read("created_timezone", values.text),
        last_received_seq_num=fields.read("last_received_seq_num", values.whole_number),
        time_in_bed=fields.read("time_in_bed", values.whole_number),
        contract_violations=tuple(violations),
    )


@values.raises_only_malformed
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
        malformed("result: not an object", result)
    result = _of_this_user(result, user_id)
    session = result.get("session")
    if type(session) is not dict:
        malformed("session: not an object", result)
    violations: list[str] = []
    fields = Fields(result, violations, names=_RESULT_NAMES)
    inner = Fields(session, violations, "session.", _SESSION_NAMES, response=result)
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
        unexpected_end_time=inner.read("unexpected_end_time", values.timestamp),
        created_timezone=inner.read("created_timezone", values.time_zone),
        peculiarities=fields.peculiarities(),
        missing_data_ratio=fields.read("missing_data_ratio", values.ratio),
        stat=None if stat is None else Fields(stat, violations, "stat.", STAT_NAMES).stat(),
        sleep_stages=inner.read("sleep_stages", values.stages),
        breath_stages=inner.read("breath_stages", values.stages),
        snoring_stages=inner.read("snoring_stages", values.stages),
        raw=raw,
        payload_hash=hashlib.blake2b(raw, digest_size=16).digest(),
        contract_violations=tuple(violations),
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
