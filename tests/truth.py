"""The tables against what the API would answer, field by field.

Lives here: an independent reading of the simulator's truth.  Not here: our parsing or shaping: none of it is used.
"""

import json
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy import Engine, text

SESSION_FIELDS = {
    "state": "state",
    "session_start_time": "start_time",
    "session_end_time": "end_time",
    "unexpected_end_time": "unexpected_end_time",
    "created_timezone": "created_timezone",
    "sleep_stages": "sleep_stages",
    "breath_stages": "breath_stages",
    "snoring_stages": "snoring_stages",
}
TIMES = {"session_start_time", "session_end_time", "unexpected_end_time", "sleep_time", "wake_time"}
STAT_FIELDS = (
    "sleep_time wake_time sleep_index sleep_latency wakeup_latency light_latency deep_latency rem_latency time_in_bed "
    "time_in_sleep_period time_in_sleep time_in_wake time_in_light time_in_deep time_in_rem time_in_stable_breath "
    "time_in_unstable_breath time_in_snoring time_in_no_snoring sleep_efficiency sleep_ratio wake_ratio light_ratio "
    "deep_ratio rem_ratio stable_breath_ratio unstable_breath_ratio snoring_ratio no_snoring_ratio breathing_index "
    "breathing_pattern unstable_breath_count waso_count longest_waso sleep_cycle_count sleep_cycle sleep_cycle_time "
    "snoring_count"
).split()


def _moment(value: str | None) -> datetime | None:
    return None if value is None else datetime.fromisoformat(value).astimezone(UTC)


def expected_row(session: dict[str, Any], user_id: str) -> dict[str, Any]:
    """What a row must hold for a session of the truth, without what depends on the user's other sessions."""
    result = session["result"]
    row = {column: result["session"][name] for column, name in SESSION_FIELDS.items()}
    stat = result["stat"] or {}
    row |= {name: stat.get(name) for name in STAT_FIELDS}
    for name in TIMES:
        row[name] = _moment(row[name])
    if row["sleep_cycle_time"] is not None:
        row["sleep_cycle_time"] = [_moment(value) for value in row["sleep_cycle_time"]]
    row |= {
        "session_id": result["session"]["id"],
        "user_id": user_id,
        "peculiarities": result["peculiarities"],
        "missing_data_ratio": result["missing_data_ratio"],
        "last_received_seq_num": session["row"]["last_received_seq_num"],
        "contract_violations": [],
        "deleted_at": None,
    }
    try:
        zone = ZoneInfo(row["created_timezone"])
    except ZoneInfoNotFoundError:
        return row
    for column, source in (("session_start_local", "session_start_time"), ("sleep_time_local", "sleep_time")):
        moment = row[source]
        row[column] = moment.astimezone(zone).replace(tzinfo=None) if moment else None
    row["local_date"] = row["session_start_local"].date()
    row["local_month"] = row["local_date"].replace(day=1)
    return row


def differences(
    engine: Engine, truth: dict[str, Any], first: date | None = None, last: date | None = None
) -> list[str]:
    """Everything in which the tables differ from the truth: rows missing, rows too many, each field.

    Args:
        engine: the database.
        truth: the simulator's, whole.
        first: sessions that started before this UTC day need not be stored (but must be right if they are).
        last: the same for days after this one.
    """
    with engine.connect() as connection:
        found = connection.execute(
            text(
                "SELECT s.*, p.result FROM asleep.sleep_sessions AS s "
                "LEFT JOIN asleep.session_payloads AS p USING (session_id) WHERE s.deleted_at IS NULL"
            )
        ).mappings()
        stored = {row["session_id"]: row for row in found}
    wrong = []
    for user in truth["users"]:
        if user["deleted"]:
            continue
        for session in user["sessions"]:
            expected = expected_row(session, user["user_id"])
            row = stored.pop(expected["session_id"], None)
            day = expected["session_start_time"].date()
            if row is not None:
                wrong.extend(_differences_of(row, expected, session))
            elif (first is None or day >= first) and (last is None or day <= last):
                wrong.append(f"missing: {expected['session_id']} ({expected['state']}, {session['tags']})")
    gone = {user["user_id"] for user in truth["users"] if user["deleted"]}
    wrong.extend(f"not in the truth: {i}" for i, row in stored.items() if row["user_id"] not in gone)
    return wrong


def _differences_of(row: Any, expected: dict[str, Any], session: dict[str, Any]) -> list[str]:
    wrong = [
        f"{expected['session_id']}.{name}: stored {row[name]!r}, true {value!r}"
        for name, value in expected.items()
        if row[name] != value
    ]
    if json.dumps(row["result"], sort_keys=True) != json.dumps(session["result"], sort_keys=True):
        wrong.append(f"{expected['session_id']}: the raw result differs")
    return wrong
