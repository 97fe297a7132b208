"""Compare the tables with what the API would answer, field by field.

The expectation is the simulator's own; the product's parsing and shaping are not used.
"""

import json
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Engine, text

from simulator.expected_tables import expected_row, zone_of_session


class Difference(NamedTuple):
    """One session in which the tables differ from the truth."""

    user_id: str
    session_id: str
    kind: str
    """`missing`, `extra` or `wrong`."""
    what: str


def differences(
    engine: Engine, truth: dict[str, Any], first: date | None = None, last: date | None = None
) -> list[str]:
    """Everything in which the tables differ from the truth, as text; see `all_differences`."""
    return [f"{each.kind}: {each.session_id} {each.what}" for each in all_differences(engine, truth, first, last)]


def all_differences(
    engine: Engine, truth: dict[str, Any], first: date | None = None, last: date | None = None
) -> list[Difference]:
    """Everything in which the tables differ from the truth: rows missing, rows too many, each field.

    Args:
        engine: the database.
        truth: the simulator's, whole.
        first: sessions that started before this UTC day need not be stored (but must be right if they are).
        last: the same for days after this one.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            text(
                "SELECT s.*, p.result FROM asleep.sleep_sessions AS s "
                "LEFT JOIN asleep.session_payloads AS p USING (session_id) WHERE s.deleted_at IS NULL"
            )
        ).mappings()
        stored = {row["session_id"]: row for row in rows}
        registered = dict(connection.execute(text("SELECT user_id, timezone FROM asleep.users")).all())
    wrong: list[Difference] = []
    for user in truth["users"]:
        if user["deleted"]:
            continue
        lenders = [_lender(row) for row in stored.values() if row["user_id"] == user["user_id"]]
        for session in user["sessions"]:
            zone = zone_of_session(session, lenders, registered.get(user["user_id"]))
            expected = expected_row(session, user["user_id"], zone)
            row = stored.pop(expected["session_id"], None)
            day = expected["session_start_time"].date()
            if row is not None:
                found = _differences_of(row, expected, session)
                wrong.extend(Difference(user["user_id"], expected["session_id"], "wrong", what) for what in found)
            elif (first is None or day >= first) and (last is None or day <= last):
                analysed = "analysed" if session["result"]["stat"] else "not analysed"
                what = f"{expected['state']}, {analysed}, {session['tags']}"
                wrong.append(Difference(user["user_id"], expected["session_id"], "missing", what))
    gone = {user["user_id"] for user in truth["users"] if user["deleted"]}
    for session_id, row in stored.items():
        if row["user_id"] not in gone:
            analysed = "not analysed" if row["time_in_sleep"] is None else "analysed"
            wrong.append(Difference(row["user_id"], session_id, "extra", f"{row['state']}, {analysed}"))
    return wrong


def _lender(row: Any) -> dict[str, Any]:
    """A stored session as far as others borrow its zone; also one that the truth lacks, for that is a difference."""
    start = row["session_start_time"].isoformat()
    session = {"id": row["session_id"], "start_time": start, "created_timezone": row["created_timezone"]}
    return {"result": {"session": session}}


def _differences_of(row: Any, expected: dict[str, Any], session: dict[str, Any]) -> list[str]:
    wrong = [f"{name}: stored {row[name]!r}, true {value!r}" for name, value in expected.items() if row[name] != value]
    if json.dumps(row["result"], sort_keys=True) != json.dumps(session["result"], sort_keys=True):
        wrong.append("the raw result differs")
    return wrong
