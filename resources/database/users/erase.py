"""Erasure of a user: which rows belong to a user, in which order they are deleted, which users are due, the record."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, func, select, text, union

from resources.database.schema.tables import monthly_averages, sleep_sessions, users
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


_ALL = text("SELECT user_pseudonym, reason, erased_at FROM asleep.erasures ORDER BY erasure_id")
_STORED = union(*(select(table.c.user_id) for table in (users, sleep_sessions, monthly_averages))).subquery()
_NAMED = select(_STORED.c.user_id, func.asleep.pseudonym(_STORED.c.user_id).label("name")).order_by("user_id")
_LAST = text("SELECT max(erased_at) FROM asleep.erasures WHERE user_pseudonym = asleep.pseudonym(:user_id)")


class DueForErasure(NamedTuple):
    """A user whose data are to be erased, and why."""

    user_id: str
    reason: str


class Erasure(NamedTuple):
    """One row of the record of erasures."""

    user_pseudonym: str
    reason: str
    erased_at: datetime


class Erasures:
    """Erases users, and keeps the record; over a connection that is in a transaction of isolation READ COMMITTED.

    That isolation reads each table after its lock is granted.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def erase(self, user_id: str, reason: str) -> dict[str, int]:
        """Delete everything stored of a user, in the connection's transaction, and record the erasure.

        The record holds a pseudonym and numbers. Repeating an erasure changes nothing.

        Args:
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
        self._connection.execute(_CLEAR_CHECKPOINTS, {"user_id": user_id})
        removed: dict[str, int] = {}
        for table, theirs in _WHAT_GOES.items():
            of_person: dict[str, object] = {"user_id": user_id}
            if table == "webhook_events":
                of_person["event_ids"] = events_of_person(self._connection, user_id)
            statement = text(f"DELETE FROM asleep.{table} WHERE {theirs}")
            if rows := self._connection.execute(statement, of_person).rowcount:
                removed[table] = rows
        as_json = orjson.dumps(removed).decode()
        record = {"user_id": user_id, "reason": reason, "removed": as_json, "total": len(removed)}
        self._connection.execute(_RECORD, record)
        return removed

    def last(self, user_id: str) -> datetime | None:
        """When the user was last erased; None: never."""
        moment: datetime | None = self._connection.scalar(_LAST, {"user_id": user_id})
        return moment

    def due(self, grace: timedelta) -> list[DueForErasure]:
        """The users who have been gone, or scheduled for deletion, at the source for longer than the grace."""
        rows = self._connection.execute(load_sql(__package__, "due_for_erasure"), {"grace": grace})
        return [DueForErasure(*row) for row in rows]

    def note_to_be_deleted(self, user_ids: Iterable[str], *, scheduled: bool) -> int:
        """Record whether the source has scheduled these users for deletion, since when; returns how many changed.

        Args:
            user_ids: the users.
            scheduled: False: it has not, or no longer.
        """
        values = {"user_ids": sorted(set(user_ids)), "scheduled": scheduled}
        return self._connection.execute(load_sql(__package__, "note_scheduled"), values).rowcount

    def record(self) -> list[Erasure]:
        """The whole record, oldest first."""
        return [Erasure(*row) for row in self._connection.execute(_ALL)]

    def apply(self, record: Iterable[Erasure]) -> int:
        """Apply a record of the same installation to a restored backup; returns how many users were erased.

        Erases each user in the record who is stored here, and records the others, so that webhooks do not register
        them again. An erasure that this database already records is skipped: its user may have been registered again
        on purpose.
        """
        newest = {erasure.user_pseudonym: erasure for erasure in sorted(record, key=lambda erasure: erasure.erased_at)}
        statement = load_sql(__package__, "record_erasure_made_elsewhere")
        missing = {
            name: erasure
            for name, erasure in newest.items()
            if self._connection.execute(statement, erasure._asdict()).rowcount
        }
        stored = [user for user in self._connection.execute(_NAMED).all() if user.name in missing]
        for user in stored:
            self.erase(user.user_id, missing[user.name].reason)
        return len(stored)
