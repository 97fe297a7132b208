"""The inbox of webhook events: in once, out at least once, parked after too many failures."""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

import orjson
from sqlalchemy import Connection, text

from resources.load_sql import arrays_of, load_sql

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

_DROP = text("DELETE FROM asleep.webhook_events WHERE event_id = ANY (:ids)")

_PRUNE = text("DELETE FROM asleep.webhook_events WHERE processed_at < :before")


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


class FailedEvent(NamedTuple):
    """An event that could not be handled, and for whom."""

    event_id: int
    message: str
    """Why; no health data, no key."""
    user_id: str | None = None
    session_id: str | None = None
    is_hopeless: bool = False
    """True when trying again cannot help: parked at once."""


class ParkedEvent(NamedTuple):
    """An event that was given up."""

    event_id: int
    received_at: datetime
    parked_at: datetime
    attempts: int
    error: str


class QueueCounts(NamedTuple):
    """How full the inbox or the outbox is."""

    waiting: int
    """Not handled yet."""
    oldest_seconds: float
    """Age of the oldest of them; 0 when there is none."""
    parked: int
    """Given up after too many attempts: a person has to decide."""


class Inbox:
    """The table `asleep.webhook_events`, over a connection that is in a transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def put(self, events: Sequence[IncomingEvent]) -> list[bool]:
        """Write events, each body once; True where the body was new.

        The answer False holds even when the other copy is being written right now: we wait for its commit.
        """
        if not events:
            return []
        hashes = [event.digest for event in events]
        first = dict(reversed(list(zip(hashes, events, strict=True))))
        values = {
            "hashes": list(first),
            "headers": [orjson.dumps(dict(event.headers)).decode() for event in first.values()],
            "bodies": [event.body for event in first.values()],
        }
        new = {bytes(found) for found in self._connection.scalars(load_sql(__package__, "put_event"), values)}
        return [body_hash in new and event is first[body_hash] for body_hash, event in zip(hashes, events, strict=True)]

    def take(self, limit: int, *, must_ask: bool = False, lease_seconds: float | None = None) -> list[TakenEvent]:
        """Claim events that are due, oldest first; commit before handling them. No two processes get the same one.

        Args:
            limit: how many at most.
            must_ask: which kind: those that must ask the API, or all others.
            lease_seconds: until when the claim holds; by default as the constants of this module say.
        """
        lease = lease_seconds if lease_seconds is not None else REQUEST_LEASE_SECONDS if must_ask else LEASE_SECONDS
        values = {"limit": limit, "must_ask": must_ask, "lease_seconds": lease}
        rows = self._connection.execute(load_sql(__package__, "take_events"), values)
        taken = (TakenEvent(r.event_id, bytes(r.body), r.headers, r.received_at, r.attempts, must_ask) for r in rows)
        return sorted(taken, key=lambda event: event.event_id)

    def mark_done(self, event_ids: Collection[int]) -> None:
        """These events were handled; do it in the transaction that stored what they brought."""
        self._connection.execute(_DONE, {"ids": list(event_ids)})

    def give_back(self, event_ids: Collection[int], *, seconds: float = 0, must_ask: bool = False) -> None:
        """Give events back untried, for example while the API does not answer; the attempt does not count.

        Args:
            event_ids: which events.
            seconds: after which they are due again.
            must_ask: mark them as events that must ask the API.
        """
        values = {"ids": list(event_ids), "seconds": seconds, "must_ask": must_ask}
        self._connection.execute(load_sql(__package__, "give_back_events"), values)

    def mark_failed(self, failures: Sequence[FailedEvent]) -> frozenset[int]:
        """Try these later, after 30 s, 2, 8, 32 minutes; returns those that are parked now.

        The fifth failure parks an event, which is recorded as missing data. At most one failure per event.
        """
        if not failures:
            return frozenset()
        limits = {"max_attempts": MAX_ATTEMPTS, "first_pause_seconds": FIRST_PAUSE_SECONDS}
        values = arrays_of(failures) | limits
        return frozenset(self._connection.scalars(load_sql(__package__, "fail_events"), values))

    def drop(self, event_ids: Collection[int]) -> None:
        """Remove events that we may not keep, such as those of an erased user."""
        self._connection.execute(_DROP, {"ids": list(event_ids)})

    def has_due(self, *, may_call_api: bool = True, seconds: float = 0) -> bool:
        """Whether events are due to be handled.

        Args:
            may_call_api: whether events count that must ask the API.
            seconds: for how long they have been due at least.
        """
        values = {"kinds": [False, True] if may_call_api else [False], "seconds": seconds}
        return bool(self._connection.scalar(load_sql(__package__, "events_due"), values))

    def count(self) -> QueueCounts:
        """Count events that wait and that are parked; quick however many events were handled."""
        return QueueCounts(*self._connection.execute(load_sql(__package__, "count_events")).one())

    def parked(self, limit: int) -> list[ParkedEvent]:
        """Return the events that were given up last."""
        rows = self._connection.execute(load_sql(__package__, "parked_events"), {"limit": limit})
        return [ParkedEvent(*row) for row in rows]

    def requeue_parked(self, event_ids: list[int] | None = None) -> int:
        """Give parked events (None: all) five more attempts, off the missing data; returns how many."""
        return self._take_off("requeue_events", event_ids)

    def drop_parked(self, event_ids: list[int] | None = None) -> int:
        """Delete parked events (None: all), off the missing data; returns how many."""
        return self._take_off("drop_events", event_ids)

    def _take_off(self, statement: str, event_ids: list[int] | None) -> int:
        found = [str(each) for each in self._connection.scalars(load_sql(__package__, statement), {"ids": event_ids})]
        if found:
            self._connection.execute(load_sql(__package__, "resolve_event_failures"), {"ids": found})
        return len(found)

    def prune(self, before: datetime) -> int:
        """Remove events handled or given up before a moment; those that wait stay. Returns how many went."""
        return self._connection.execute(_PRUNE, {"before": before}).rowcount
