"""Erasure of a user: which rows belong to a user, in which order they are deleted, and which users are due."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, text

from resources.database.users.events_of_person import events_of_person
from resources.load_sql import load_sql

REASONS = frozenset({"requested", "gone", "to_be_deleted"})

_OF_A_SESSION = "session_id IN (SELECT session_id FROM asleep.sleep_sessions WHERE user_id = :user_id)"
_OF_A_USER = "user_id = :user_id"

_WHAT_GOES = {
    "users": _OF_A_USER,
    "stale_months": _OF_A_USER,
    "stale_periods": _OF_A_USER,
    "notifications": f"{_OF_A_USER} OR {_OF_A_SESSION}",
    "session_payloads": _OF_A_SESSION,
    "event_only_sessions": _OF_A_SESSION,
    "sync_failures": f"{_OF_A_USER} OR user_id = '' AND {_OF_A_SESSION}",
    "webhook_events": "event_id = ANY (:event_ids)",
    "session_versions": _OF_A_USER,
    "changes": _OF_A_USER,
    "sleep_sessions": _OF_A_USER,
    "monthly_averages": _OF_A_USER,
    "sleep_metrics": _OF_A_USER,
    "sync_ledger": _OF_A_USER,
    "unconfirmed_lists": _OF_A_USER,
}
"""Every table with data of a user, in the order of deletion.

First the registry's row: a writer of the user's sessions holds it, so the erasure waits for the writer and removes what
it wrote. Then the queue: a computation of averages holds it, so its averages exist when the erasure reaches them.
"""

_CLEAR_CHECKPOINTS = text("""
DELETE FROM asleep.sync_batches
WHERE counts ->> 'after' IN (SELECT session_id FROM asleep.sleep_sessions WHERE user_id = :user_id)
""")
"""A rebuild that was interrupted at a session of the user starts again from the beginning."""

_RECORD = text("""
INSERT INTO asleep.erasures (user_pseudonym, reason, rows_removed)
SELECT asleep.pseudonym(:user_id), :reason, CAST(:removed AS jsonb)
WHERE :total > 0 OR NOT EXISTS (SELECT FROM asleep.erasures WHERE user_pseudonym = asleep.pseudonym(:user_id))
""")


class DueForErasure(NamedTuple):
    """A user whose data are to be erased, and why."""

    user_id: str
    reason: str


def erase(connection: Connection, user_id: str, reason: str) -> dict[str, int]:
    """Delete everything stored of a user, in the connection's transaction, and record the erasure.

    The record holds a pseudonym and numbers. Repeating an erasure changes nothing.

    Args:
        connection: in a transaction of isolation READ COMMITTED, which reads each table after its lock is granted.
        user_id: whose data.
        reason: one of `REASONS`.

    Returns:
        Deleted rows by table; tables without any are left out.

    Raises:
        ValueError: the reason is unknown or the id is blank.
    """
    if reason not in REASONS:
        raise ValueError(f"a reason is one of {', '.join(sorted(REASONS))}")
    if not user_id.strip():
        raise ValueError("a blank id belongs to no user, but events and failures without a user would match it")
    connection.execute(_CLEAR_CHECKPOINTS, {"user_id": user_id})
    deleted: dict[str, int] = {}
    for table, theirs in _WHAT_GOES.items():
        of_person: dict[str, object] = {"user_id": user_id}
        if table == "webhook_events":
            of_person["event_ids"] = events_of_person(connection, user_id)
        deleted[table] = connection.execute(text(f"DELETE FROM asleep.{table} WHERE {theirs}"), of_person).rowcount
    removed = {table: rows for table, rows in deleted.items() if rows}
    values = {"user_id": user_id, "reason": reason, "removed": orjson.dumps(removed).decode(), "total": len(removed)}
    connection.execute(_RECORD, values)
    return removed


def last_erasure(connection: Connection, user_id: str) -> datetime | None:
    """Return when the user was last erased; None: never.

    Args:
        connection: to read with.
        user_id: whose erasure.
    """
    query = text("SELECT max(erased_at) FROM asleep.erasures WHERE user_pseudonym = asleep.pseudonym(:user_id)")
    moment: datetime | None = connection.scalar(query, {"user_id": user_id})
    return moment


def due_for_erasure(connection: Connection, grace: timedelta) -> list[DueForErasure]:
    """Return the users whose data are to be erased now.

    Args:
        connection: to read with.
        grace: how long a user has to be gone, or scheduled for deletion, at the source.
    """
    rows = connection.execute(load_sql(__package__, "due_for_erasure"), {"grace": grace})
    return [DueForErasure(row.user_id, row.reason) for row in rows]


def note_to_be_deleted(connection: Connection, user_ids: Iterable[str], *, scheduled: bool) -> int:
    """Record whether the source has scheduled these users for deletion, with the time of the first report.

    Args:
        connection: in a transaction.
        user_ids: the users.
        scheduled: False: it has not, or no longer.

    Returns:
        How many users' rows changed.
    """
    return connection.execute(
        load_sql(__package__, "note_scheduled"), {"user_ids": sorted(set(user_ids)), "scheduled": scheduled}
    ).rowcount
