"""The outbox: finished sessions of which a receiver must be notified.

A trigger writes a row in the very transaction that makes a session final, by whatever writer, so that no crash and no
long transaction can lose one. Rows appear only while the switch is on.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import RowMapping, select, text

from resources.database.schema.bookkeeping import notifications
from resources.database.schema.tables import sleep_sessions
from resources.database.service.queue import Policy, Queue
from resources.database.service.read_queries import OVERVIEW_COLUMNS
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


class Outbox(Queue):
    """The table `asleep.notifications` and its switch."""

    _table = notifications
    _arrived, _done, _given_up = "became_final_at", "delivered_at", "parked_at"
    _is_waiting = notifications.c.delivered_at.is_(None) & notifications.c.parked_at.is_(None)
    _is_parked = notifications.c.parked_at.is_not(None)
    _policy = Policy(MAX_ATTEMPTS, FIRST_PAUSE_SECONDS, factor=3, max_pause=MAX_PAUSE_SECONDS)

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
        taken = self._take(limit, LEASE_SECONDS)
        wanted = select(*OVERVIEW_COLUMNS).where(
            sleep_sessions.c.session_id.in_([row.session_id for row in taken]), sleep_sessions.c.deleted_at.is_(None)
        )
        sessions = {found["session_id"]: found for found in self._connection.execute(wanted).mappings()}
        self.drop([row.notification_id for row in taken if row.session_id not in sessions])
        return [
            Notification(n.notification_id, n.session_id, n.user_id, n.became_final_at, n.attempts, session)
            for n in taken
            if (session := sessions.get(n.session_id)) is not None
        ]

    def is_still_wanted(self, notification_id: int) -> bool:
        """Whether the notification and its session still exist; otherwise no notification is sent."""
        session = sleep_sessions.c
        query = select(notifications.c.notification_id).join(
            sleep_sessions, (session.session_id == notifications.c.session_id) & session.deleted_at.is_(None)
        )
        return self._connection.scalar(query.where(self._id == notification_id)) is not None

    def mark_failed(self, notification_id: int, error: str) -> bool:
        """Try it later: after 10 s, 30 s, 90 s … 6 h. True when it is parked now.

        Args:
            notification_id: which.
            error: why, without ids.
        """
        return self._mark_failed(notification_id, error) is not None

    def give_back(self, ids: Collection[int], *, seconds: float) -> None:
        """Give notifications back untried; the attempt does not count.

        Args:
            ids: which.
            seconds: after which they are due again.
        """
        self._give_back(ids, seconds)

    def undelivered(self, limit: int) -> list[UndeliveredNotification]:
        """Return the notifications that were given up, then those that wait, oldest first."""
        n = notifications.c
        query = select(n.notification_id, n.user_id, n.became_final_at, n.attempts, n.parked_at, n.error)
        query = query.where(n.delivered_at.is_(None)).order_by(n.parked_at.is_(None), n.notification_id).limit(limit)
        rows = self._connection.execute(query)
        return [UndeliveredNotification(row.notification_id, pseudonym(row.user_id), *row[2:]) for row in rows]
