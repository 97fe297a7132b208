"""The inbox of webhook events: in once, out at least once, parked after too many failures."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

import orjson
from sqlalchemy import Connection, text

from resources.load_sql import load_sql

MAX_ATTEMPTS = 5
"""Failures after which an event is parked."""

FIRST_PAUSE_SECONDS = 30
"""Four times as long after each further failure."""
LEASE_SECONDS = 15
"""An event taken by a process that died is taken again after this."""
REQUEST_LEASE_SECONDS = 600
"""The same for an event that needs a request."""

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

_REQUIRE_REQUEST = text("""
UPDATE asleep.webhook_events
SET must_ask = true, attempts = greatest(attempts - 1, 0), next_attempt_at = clock_timestamp()
WHERE event_id = ANY (:ids) AND processed_at IS NULL
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
    must_ask: bool = False
    """True when the event needs a request, as was found out before."""

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

    Args:
        connection: open, in a transaction.
        events: as received.
    """
    hashes = [event.digest for event in events]
    first = dict(reversed(list(zip(hashes, events, strict=True))))
    values = {
        "hashes": list(first),
        "headers": [orjson.dumps(dict(event.headers)).decode() for event in first.values()],
        "bodies": [event.body for event in first.values()],
    }
    new = (
        {bytes(found) for found in connection.scalars(load_sql(__package__, "put_event"), values)} if events else set()
    )
    return [body_hash in new and event is first[body_hash] for body_hash, event in zip(hashes, events, strict=True)]


def take_events(
    connection: Connection, limit: int, *, must_ask: bool = False, lease_seconds: float | None = None
) -> list[TakenEvent]:
    """Claim events that are due, oldest first; commit before handling them. No two processes get the same one.

    Args:
        connection: open, in a transaction.
        limit: how many at most.
        must_ask: which kind: those that must ask the API, or all others.
        lease_seconds: until when the claim holds; by default as the constants of this module say.
    """
    lease = lease_seconds if lease_seconds is not None else REQUEST_LEASE_SECONDS if must_ask else LEASE_SECONDS
    values = {"limit": limit, "must_ask": must_ask, "lease_seconds": lease}
    rows = connection.execute(load_sql(__package__, "take_events"), values)
    taken = (
        TakenEvent(row.event_id, bytes(row.body), row.headers, row.received_at, row.attempts, must_ask) for row in rows
    )
    return sorted(taken, key=lambda event: event.event_id)


def mark_done(connection: Connection, event_ids: Iterable[int]) -> None:
    """These events were handled; do it in the transaction that stored what they brought.

    Args:
        connection: open, in a transaction.
        event_ids: which events.
    """
    connection.execute(_DONE, {"ids": list(event_ids)})


def postpone_events(connection: Connection, event_ids: Iterable[int], *, seconds: float) -> None:
    """Give events back untried, for example while the API does not answer; the attempt does not count.

    Args:
        connection: open, in a transaction.
        event_ids: which events.
        seconds: after which they are due again.
    """
    connection.execute(_POSTPONE, {"ids": list(event_ids), "seconds": seconds})


def require_request(connection: Connection, event_ids: Iterable[int]) -> None:
    """Give events back untried, marked as those that must ask the API.

    Args:
        connection: open, in a transaction.
        event_ids: which events.
    """
    connection.execute(_REQUIRE_REQUEST, {"ids": list(event_ids)})


def mark_failed(connection: Connection, failures: Sequence[FailedEvent]) -> frozenset[int]:
    """Try these later: after 30 s, 2, 8, 32 minutes; the fifth failure parks an event and is recorded as missing data.

    Args:
        connection: open, in a transaction.
        failures: at most one per event.

    Returns:
        The events that are parked now.
    """
    if not failures:
        return frozenset()
    values = {
        "ids": [failure.event_id for failure in failures],
        "messages": [failure.message for failure in failures],
        "hopeless": [failure.is_hopeless for failure in failures],
        "users": [failure.user_id for failure in failures],
        "sessions": [failure.session_id for failure in failures],
        "max_attempts": MAX_ATTEMPTS,
        "first_pause_seconds": FIRST_PAUSE_SECONDS,
    }
    return frozenset(connection.scalars(load_sql(__package__, "fail_events"), values))


def drop_events(connection: Connection, event_ids: Iterable[int]) -> None:
    """Remove events that we may not keep, such as those of an erased user.

    Args:
        connection: open, in a transaction.
        event_ids: which events.
    """
    connection.execute(_DROP, {"ids": list(event_ids)})


def has_due_events(connection: Connection, *, may_call_api: bool = True, seconds: float = 0) -> bool:
    """Whether the inbox holds events that are due to be handled.

    Args:
        connection: open.
        may_call_api: whether events count that must ask the API.
        seconds: for how long they have been due at least.
    """
    kinds = [False, True] if may_call_api else [False]
    return bool(connection.scalar(load_sql(__package__, "events_due"), {"kinds": kinds, "seconds": seconds}))
