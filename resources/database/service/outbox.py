"""The outbox: finished sessions of which a receiver must be notified.

A trigger writes a row in the very transaction that makes a session final, by whatever writer, so that no crash and no
long transaction can lose one. Rows appear only while the switch is on.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Connection, RowMapping, select, text

from resources.database.schema.tables import sleep_sessions
from resources.database.service.inbox import QueueCounts
from resources.database.service.read_queries import OVERVIEW_COLUMNS
from resources.load_sql import load_sql
from resources.pseudonyms import pseudonym

MAX_ATTEMPTS = 12
"""Failures after which a notification is parked: about two days."""
FIRST_PAUSE_SECONDS = 10
"""Tripled by each further failure."""
MAX_PAUSE_SECONDS = 21_600
LEASE_SECONDS = 300
"""A notification taken by a process that died is taken again after this."""

_TURN_ON = text("""
INSERT INTO asleep.notification_switch (since)
VALUES (now() - interval '1 day')
ON CONFLICT (only_row) DO NOTHING
""")

_TURN_OFF = text("DELETE FROM asleep.notification_switch")

_IS_ON = text("SELECT EXISTS (SELECT FROM asleep.notification_switch)")

_DELIVERED = text("""
UPDATE asleep.notifications
SET delivered_at = clock_timestamp(), error = NULL
WHERE notification_id = :notification_id
""")

_GIVE_BACK = text("""
UPDATE asleep.notifications
SET attempts = attempts - 1, next_attempt_at = clock_timestamp() + make_interval(secs => :seconds)
WHERE notification_id = ANY (:ids) AND delivered_at IS NULL AND attempts > 0
""")

_DROP = text("DELETE FROM asleep.notifications WHERE notification_id = ANY (:ids)")

_REQUEUE = text("""
UPDATE asleep.notifications
SET parked_at = NULL, error = NULL, attempts = 0, next_attempt_at = clock_timestamp()
WHERE parked_at IS NOT NULL AND (CAST(:ids AS bigint[]) IS NULL OR notification_id = ANY (:ids))
""")

_PRUNE = text("DELETE FROM asleep.notifications WHERE delivered_at < :before")


@dataclass(frozen=True, slots=True)
class Notification:
    """A finished session of which this process may notify the receiver until its lease ends."""

    notification_id: int
    session_id: str
    user_id: str
    became_final_at: datetime
    attempts: int
    session: RowMapping = field(repr=False)
    """The session as it is now, without stages."""


@dataclass(frozen=True, slots=True)
class UndeliveredNotification:
    """A notification that waits or was given up, without ids."""

    notification_id: int
    user: str
    """Pseudonym."""
    became_final_at: datetime
    attempts: int
    parked_at: datetime | None
    error: str | None


class Outbox:
    """The table `asleep.notifications` and its switch, over a connection that is in a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def turn_on(self) -> None:
        """From now on, note sessions that become final; those that started more than a day ago are history."""
        self._connection.execute(_TURN_ON)

    def turn_off(self) -> None:
        """Note no more; what waits stays."""
        self._connection.execute(_TURN_OFF)

    def is_on(self) -> bool:
        """Whether sessions that become final are noted."""
        return bool(self._connection.scalar(_IS_ON))

    def take(self, limit: int) -> list[Notification]:
        """Claim notifications that are due; commit before sending. Those whose session is gone are removed."""
        values = {"limit": limit, "lease_seconds": LEASE_SECONDS}
        taken = self._connection.execute(load_sql(__package__, "take_notifications"), values).mappings().all()
        wanted = select(*OVERVIEW_COLUMNS).where(
            sleep_sessions.c.session_id.in_([row["session_id"] for row in taken]), sleep_sessions.c.deleted_at.is_(None)
        )
        sessions = {row["session_id"]: row for row in self._connection.execute(wanted).mappings()} if taken else {}
        if gone := [row["notification_id"] for row in taken if row["session_id"] not in sessions]:
            self._connection.execute(_DROP, {"ids": gone})
        kept = (
            Notification(**row, session=sessions[row["session_id"]]) for row in taken if row["session_id"] in sessions
        )
        return sorted(kept, key=lambda notification: notification.notification_id)

    def is_still_wanted(self, notification_id: int) -> bool:
        """Whether the notification and its session still exist; otherwise no notification is sent."""
        values = {"notification_id": notification_id}
        return bool(self._connection.scalar(load_sql(__package__, "notification_is_wanted"), values))

    def mark_delivered(self, notification_id: int) -> None:
        """The receiver accepted it."""
        self._connection.execute(_DELIVERED, {"notification_id": notification_id})

    def mark_undelivered(self, notification_id: int, error: str) -> bool:
        """Try it later: after 10 s, 30 s, 90 s … 6 h. True when it is parked now.

        Args:
            notification_id: which.
            error: why, without ids.
        """
        values = {
            "notification_id": notification_id,
            "error": error,
            "max_attempts": MAX_ATTEMPTS,
            "first_pause_seconds": FIRST_PAUSE_SECONDS,
            "max_pause_seconds": MAX_PAUSE_SECONDS,
        }
        return bool(self._connection.scalar(load_sql(__package__, "fail_notifications"), values))

    def give_back(self, ids: Collection[int], *, seconds: float) -> None:
        """Give notifications back untried; the attempt does not count.

        Args:
            ids: which.
            seconds: after which they are due again.
        """
        self._connection.execute(_GIVE_BACK, {"ids": list(ids), "seconds": seconds})

    def count(self) -> QueueCounts:
        """Count notifications that wait and that are parked."""
        return QueueCounts(*self._connection.execute(load_sql(__package__, "count_notifications")).one())

    def undelivered(self, limit: int) -> list[UndeliveredNotification]:
        """Return the notifications that were given up, then those that wait, oldest first."""
        rows = self._connection.execute(load_sql(__package__, "undelivered_notifications"), {"limit": limit})
        return [UndeliveredNotification(row.notification_id, pseudonym(row.user_id), *row[2:]) for row in rows]

    def requeue_parked(self, ids: list[int] | None = None) -> int:
        """Give parked notifications (None: all) new attempts; returns how many."""
        return self._connection.execute(_REQUEUE, {"ids": ids}).rowcount

    def prune(self, before: datetime) -> int:
        """Remove notifications delivered before a moment; returns how many went."""
        return self._connection.execute(_PRUNE, {"before": before}).rowcount
