"""Looking after the inbox: how full it is, what is parked, what may go.

Lives here: counts, the parked list, another chance, pruning.  Not here: put and take.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

_COUNT = text("""
SELECT
    count(*) FILTER (WHERE attempts = 0) AS untried,
    count(*) FILTER (WHERE attempts > 0) AS tried,
    coalesce(extract(epoch FROM clock_timestamp() - min(received_at)), 0) AS oldest_seconds,
    (SELECT count(*) FROM asleep.webhook_events WHERE processed_at IS NOT NULL AND error IS NOT NULL) AS parked
FROM asleep.webhook_events
WHERE processed_at IS NULL
""")

_PARKED = text("""
SELECT event_id, received_at, processed_at AS parked_at, attempts, error
FROM asleep.webhook_events
WHERE processed_at IS NOT NULL AND error IS NOT NULL
ORDER BY event_id DESC
LIMIT :limit
""")

_REQUEUE = text("""
UPDATE asleep.webhook_events
SET processed_at = NULL, error = NULL, attempts = 0, next_attempt_at = clock_timestamp()
WHERE processed_at IS NOT NULL AND error IS NOT NULL AND (CAST(:ids AS bigint[]) IS NULL OR event_id = ANY (:ids))
""")

_PRUNE = text("DELETE FROM asleep.webhook_events WHERE processed_at < :before")


@dataclass(frozen=True, slots=True)
class InboxCounts:
    """How full the inbox is."""

    untried: int
    """Waiting for the first attempt."""
    tried: int
    """Being handled, or waiting for another attempt."""
    oldest_seconds: float
    """Age of the oldest event that is not handled; 0 when there is none."""
    parked: int
    """Given up after too many attempts: a person has to look."""


@dataclass(frozen=True, slots=True)
class ParkedEvent:
    """An event that was given up."""

    event_id: int
    received_at: datetime
    parked_at: datetime
    attempts: int
    error: str


def count_inbox(connection: Connection) -> InboxCounts:
    """Count what waits and what is parked; quick however many events were handled."""
    row = connection.execute(_COUNT).one()
    return InboxCounts(row.untried, row.tried, float(row.oldest_seconds), row.parked)


def list_parked(connection: Connection, limit: int = 20) -> list[ParkedEvent]:
    """The events given up last."""
    return [ParkedEvent(*row) for row in connection.execute(_PARKED, {"limit": limit})]


def requeue_parked(connection: Connection, event_ids: list[int] | None = None) -> int:
    """Give parked events five more attempts; all of them when none are named. Returns how many."""
    return connection.execute(_REQUEUE, {"ids": event_ids}).rowcount


def prune_inbox(connection: Connection, *, before: datetime) -> int:
    """Remove events handled or given up before a moment; those that wait stay. Returns how many went."""
    return connection.execute(_PRUNE, {"before": before}).rowcount
