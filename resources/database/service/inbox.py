"""The inbox of webhook events: in once, out at least once, parked after too many failures.

Lives here: putting, taking, marking.  Not here: HTTP, what an event means, counting and pruning (`inbox_care.py`).
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlalchemy import Connection, text

from resources.load_sql import load_sql

MAX_ATTEMPTS = 5
"""So many failures park an event."""

FIRST_PAUSE_SECONDS = 30
"""Four times as long after each further failure."""
LEASE_SECONDS = 600
"""An event taken by a process that died is taken again after this."""

_PUT = text("""
INSERT INTO asleep.webhook_events (body_hash, headers, body)
SELECT body_hash, headers, body
FROM unnest(CAST(:hashes AS bytea[]), CAST(:headers AS jsonb[]), CAST(:bodies AS bytea[]))
    AS incoming (body_hash, headers, body)
ORDER BY body_hash
ON CONFLICT (body_hash) DO NOTHING
RETURNING body_hash
""")

_TAKE = text("""
WITH due AS (
    SELECT event_id
    FROM asleep.webhook_events
    WHERE processed_at IS NULL AND next_attempt_at <= clock_timestamp()
    ORDER BY next_attempt_at, event_id
    LIMIT :limit
    FOR UPDATE SKIP LOCKED
)
UPDATE asleep.webhook_events AS event
SET attempts = attempts + 1, next_attempt_at = clock_timestamp() + make_interval(secs => :lease_seconds)
FROM due
WHERE event.event_id = due.event_id
RETURNING event.event_id, event.body, event.headers, event.received_at, event.attempts
""")

_DONE = text("""
UPDATE asleep.webhook_events
SET processed_at = clock_timestamp(), error = NULL
WHERE event_id = ANY (:ids)
""")

_POSTPONE = text("""
UPDATE asleep.webhook_events
SET attempts = greatest(attempts - 1, 0), next_attempt_at = clock_timestamp() + make_interval(secs => :seconds)
WHERE event_id = ANY (:ids) AND processed_at IS NULL
""")

_FAIL = text("""
UPDATE asleep.webhook_events AS event
SET error = failed.message,
    processed_at = CASE WHEN attempts >= :max_attempts OR failed.hopeless THEN clock_timestamp() END,
    next_attempt_at = clock_timestamp() + make_interval(secs => :first_pause_seconds * 4 ^ (greatest(attempts, 1) - 1))
FROM unnest(CAST(:ids AS bigint[]), CAST(:messages AS text[]), CAST(:hopeless AS boolean[]))
    AS failed (event_id, message, hopeless)
WHERE event.event_id = failed.event_id AND event.processed_at IS NULL
RETURNING event.event_id, event.attempts, event.processed_at IS NOT NULL AS parked
""")

_RECORD_FAILURES = text("""
INSERT INTO asleep.sync_failures AS stored (user_id, session_id, kind, message, attempts)
SELECT DISTINCT ON (place.user_id, session_id) place.user_id, session_id, 'webhook_event', message, attempts
FROM unnest(CAST(:users AS text[]), CAST(:sessions AS text[]), CAST(:messages AS text[]), CAST(:attempts AS int[]))
    AS parked (user_id, session_id, message, attempts)
CROSS JOIN LATERAL (
    SELECT CASE
        WHEN EXISTS (SELECT FROM asleep.users AS u WHERE u.user_id = parked.user_id) THEN parked.user_id ELSE ''
    END AS user_id
) AS place
ORDER BY place.user_id, session_id
ON CONFLICT (user_id, coalesce(session_id, '')) WHERE resolved_at IS NULL DO UPDATE
SET kind = excluded.kind, message = excluded.message, attempts = stored.attempts + 1,
    last_failed_at = excluded.last_failed_at
""")

_DROP = text("DELETE FROM asleep.webhook_events WHERE event_id = ANY (:ids)")


@dataclass(frozen=True, slots=True)
class IncomingEvent:
    """An event as it arrived."""

    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    """Without anything secret."""

    @property
    def digest(self) -> bytes:
        """What makes it the same event: its body, and its user where only the header names one."""
        user = self.headers.get("x-user-id", "").encode("utf-8", "replace")
        is_named = not user or b'"' + user + b'"' in self.body
        return hashlib.sha256(self.body if is_named else self.body + b"\0" + user).digest()


@dataclass(frozen=True, slots=True)
class TakenEvent:
    """An event that this process may handle until its lease ends."""

    event_id: int
    body: bytes = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    received_at: datetime
    attempts: int
    """1 the first time."""

    @property
    def is_exhausted(self) -> bool:
        """True when the last permitted attempt never reported: it may have killed its process, so do not try."""
        return self.attempts > MAX_ATTEMPTS


@dataclass(frozen=True, slots=True)
class FailedEvent:
    """An event that could not be handled, and for whom."""

    event_id: int
    message: str
    """Why; no health data, no key."""
    user_id: str | None = None
    session_id: str | None = None
    is_hopeless: bool = False
    """True when trying again cannot help: parked at once."""


def put_events(connection: Connection, events: Sequence[IncomingEvent]) -> list[bool]:
    """Write events in the connection's transaction, each body once; True where the body was new.

    The answer False holds even when the other copy is being written right now: we wait for its commit.
    """
    hashes = [event.digest for event in events]
    first = dict(reversed(list(zip(hashes, events, strict=True))))
    values = {
        "hashes": list(first),
        "headers": [orjson.dumps(dict(event.headers)).decode() for event in first.values()],
        "bodies": [event.body for event in first.values()],
    }
    new = {bytes(found) for found in connection.scalars(_PUT, values)} if events else set()
    return [body_hash in new and event is first[body_hash] for body_hash, event in zip(hashes, events, strict=True)]


def take_events(connection: Connection, limit: int, *, lease_seconds: float = LEASE_SECONDS) -> list[TakenEvent]:
    """Claim events that are due, oldest first; commit before handling them. No two processes get the same one."""
    rows = connection.execute(_TAKE, {"limit": limit, "lease_seconds": lease_seconds})
    taken = (TakenEvent(row.event_id, bytes(row.body), row.headers, row.received_at, row.attempts) for row in rows)
    return sorted(taken, key=lambda event: event.event_id)


def mark_done(connection: Connection, event_ids: Iterable[int]) -> None:
    """These events were handled; do it in the transaction that stored what they brought."""
    connection.execute(_DONE, {"ids": list(event_ids)})


def postpone_events(connection: Connection, event_ids: Iterable[int], *, seconds: float) -> None:
    """Give events back untried, for example while the API is away; the attempt does not count."""
    connection.execute(_POSTPONE, {"ids": list(event_ids), "seconds": seconds})


def mark_failed(connection: Connection, failures: Sequence[FailedEvent]) -> frozenset[int]:
    """Try these later: after 30 s, 2, 8, 32 minutes; the fifth failure parks an event in `sync_failures`.

    An event whose user is not registered is recorded there under the empty user id: no sync could ever mend it.

    Returns:
        The events that are parked now.
    """
    by_id = {failure.event_id: failure for failure in failures}
    values = {
        "ids": list(by_id),
        "messages": [failure.message for failure in by_id.values()],
        "hopeless": [failure.is_hopeless for failure in by_id.values()],
        "max_attempts": MAX_ATTEMPTS,
        "first_pause_seconds": FIRST_PAUSE_SECONDS,
    }
    rows = connection.execute(_FAIL, values).all()
    parked = {row.event_id: row.attempts for row in rows if row.parked}
    _record_failures(connection, [(by_id[event_id], attempts) for event_id, attempts in parked.items()])
    return frozenset(parked)


def _record_failures(connection: Connection, parked: Iterable[tuple[FailedEvent, int]]) -> None:
    by_place = {
        (failure.user_id or "", failure.session_id): (f"event {failure.event_id}: {failure.message}", attempts)
        for failure, attempts in parked
    }
    if not by_place:
        return
    values = {
        "users": [user_id for user_id, _ in by_place],
        "sessions": [session_id for _, session_id in by_place],
        "messages": [message for message, _ in by_place.values()],
        "attempts": [attempts for _, attempts in by_place.values()],
    }
    connection.execute(_RECORD_FAILURES, values)


def drop_events(connection: Connection, event_ids: Iterable[int]) -> None:
    """Remove events that we may not keep, such as those of an erased user."""
    connection.execute(_DROP, {"ids": list(event_ids)})


def has_due_events(connection: Connection) -> bool:
    """Whether the inbox holds events that are due to be handled."""
    return bool(connection.scalar(load_sql(__package__, "events_due")))
