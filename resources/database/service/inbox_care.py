"""Maintains inbox and outbox: how full they are, which events were given up, what may be deleted."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from resources.load_sql import load_sql

_PRUNE = text("DELETE FROM asleep.webhook_events WHERE processed_at < :before")


@dataclass(frozen=True, slots=True)
class QueueCounts:
    """How full the inbox or the outbox is."""

    waiting: int
    """Not handled yet."""
    oldest_seconds: float
    """Age of the oldest of them; 0 when there is none."""
    parked: int
    """Given up after too many attempts: a person has to decide."""


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that was given up."""

    event_id: int
    received_at: datetime
    parked_at: datetime
    attempts: int
    error: str


def count_inbox(connection: Connection) -> QueueCounts:
    """Count events that wait and that are parked; quick however many events were handled."""
    return QueueCounts(*connection.execute(load_sql(__package__, "count_events")).one())


def count_outbox(connection: Connection) -> QueueCounts:
    """Count notifications that wait and that are parked."""
    return QueueCounts(*connection.execute(load_sql(__package__, "count_notifications")).one())


def list_parked(connection: Connection, limit: int = 20) -> list[ParkedEvent]:
    """Return the events that were given up last.

    Args:
        connection: open.
        limit: how many at most.
    """
    return [ParkedEvent(*row) for row in connection.execute(load_sql(__package__, "parked_events"), {"limit": limit})]


def requeue_parked(connection: Connection, event_ids: list[int] | None = None) -> int:
    """Give events that were given up five more attempts, and take them off the missing data.

    Args:
        connection: open, in a transaction.
        event_ids: which; None for all.

    Returns:
        How many wait again.
    """
    return _take_off(connection, list(connection.scalars(load_sql(__package__, "requeue_events"), {"ids": event_ids})))


def drop_parked(connection: Connection, event_ids: list[int] | None = None) -> int:
    """Delete events that were given up, and take them off the missing data.

    Args:
        connection: open, in a transaction.
        event_ids: which; None for all.

    Returns:
        How many were deleted.
    """
    return _take_off(connection, list(connection.scalars(load_sql(__package__, "drop_events"), {"ids": event_ids})))


def _take_off(connection: Connection, event_ids: list[int]) -> int:
    if event_ids:
        connection.execute(
            load_sql(__package__, "resolve_event_failures"), {"ids": [str(event_id) for event_id in event_ids]}
        )
    return len(event_ids)


def prune_inbox(connection: Connection, *, before: datetime) -> int:
    """Remove events handled or given up before a moment; those that wait stay. Returns how many went.

    Args:
        connection: open, in a transaction.
        before: aware.
    """
    return connection.execute(_PRUNE, {"before": before}).rowcount
