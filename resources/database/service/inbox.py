"""The inbox of webhook events: in once, out at least once, parked after too many failures."""

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, delete, exists, select
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import webhook_events
from resources.database.schema.tables import users
from resources.database.service.queue import Policy, Queue
from resources.database.sync.sync_state import Failure, SyncState
from resources.load_sql import load_sql

MAX_ATTEMPTS = 5
"""Failures after which an event is parked."""
FIRST_PAUSE_SECONDS = 30
"""Four times as long after each further failure."""
LEASE_SECONDS = 15
"""An event taken by a process that died is taken again after this."""
REQUEST_LEASE_SECONDS = 600
"""The same for an event that needs a request."""


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


class Inbox(Queue):
    """The table `asleep.webhook_events`."""

    _table = webhook_events
    _arrived, _done, _given_up = "received_at", "processed_at", "processed_at"
    _is_waiting = webhook_events.c.processed_at.is_(None)
    _is_parked = webhook_events.c.processed_at.is_not(None) & webhook_events.c.error.is_not(None)
    _policy = Policy(MAX_ATTEMPTS, FIRST_PAUSE_SECONDS, factor=4, max_pause=float("inf"))

    def put(self, events: Sequence[IncomingEvent]) -> list[bool]:
        """Write events, each body once; True where the body was new.

        The answer False holds even when the other copy is being written right now: we wait for its commit.
        """
        if not events:
            return []
        hashes = [event.digest for event in events]
        first = dict(reversed(list(zip(hashes, events, strict=True))))
        rows = [{"body_hash": h, "headers": dict(first[h].headers), "body": first[h].body} for h in sorted(first)]
        statement = insert(webhook_events).on_conflict_do_nothing().returning(webhook_events.c.body_hash)
        new = {bytes(found) for found in self._connection.scalars(statement, rows)}
        return [body_hash in new and event is first[body_hash] for body_hash, event in zip(hashes, events, strict=True)]

    def take(self, limit: int, *, must_ask: bool = False, lease_seconds: float | None = None) -> list[TakenEvent]:
        """Claim events that are due, oldest first; commit before handling them. No two processes get the same one.

        Args:
            limit: how many at most.
            must_ask: which kind: those that must ask the API, or all others.
            lease_seconds: until when the claim holds; by default as the constants of this module say.
        """
        lease = lease_seconds if lease_seconds is not None else REQUEST_LEASE_SECONDS if must_ask else LEASE_SECONDS
        rows = self._take(limit, lease, webhook_events.c.must_ask.is_(must_ask))
        return [TakenEvent(r.event_id, bytes(r.body), r.headers, r.received_at, r.attempts, must_ask) for r in rows]

    def give_back(self, ids: Collection[int], *, seconds: float = 0, must_ask: bool = False) -> None:
        """Give events back untried, for example while the API does not answer; the attempt does not count.

        Args:
            ids: which events.
            seconds: after which they are due again.
            must_ask: mark them as events that must ask the API.
        """
        self._give_back(ids, seconds, **({"must_ask": True} if must_ask else {}))

    def mark_failed(self, failures: Sequence[FailedEvent]) -> frozenset[int]:
        """Try these later, after 30 s, 2, 8, 32 minutes; returns those that are parked now.

        The fifth failure parks an event. Its user is missing data until a sync reads them; an event whose user is not
        registered counts for the empty user id, for no sync could read that user.
        """
        attempts = {f: self._mark_failed(f.event_id, f.message, is_hopeless=f.is_hopeless) for f in failures}
        parked = [f for f in failures if attempts[f]]
        query = select(users.c.user_id).where(users.c.user_id.in_([f.user_id for f in parked]))
        registered = {user_id: user_id for user_id in self._connection.scalars(query)}
        missing = [
            Failure(
                registered.get(f.user_id or "", ""), f.session_id, None, None, "webhook_event",
                f"event {f.event_id}: {f.message}", None, attempts[f] or 1,
            )
            for f in parked
        ]  # fmt: skip
        SyncState(self._connection).record_failures(missing)
        return frozenset(f.event_id for f in parked)

    def has_due(self, *, may_call_api: bool = True, seconds: float = 0) -> bool:
        """Whether events are due to be handled.

        Args:
            may_call_api: whether events count that must ask the API.
            seconds: for how long they have been due at least.
        """
        due = self._waiting_for(seconds)
        if not may_call_api:
            due = due.where(~webhook_events.c.must_ask)
        return bool(self._connection.scalar(select(due.exists())))

    def parked(self, limit: int) -> list[ParkedEvent]:
        """Return the events that were given up last."""
        e = webhook_events.c
        query = select(e.event_id, e.received_at, e.processed_at, e.attempts, e.error).where(self._is_parked)
        return [ParkedEvent(*row) for row in self._connection.execute(query.order_by(e.event_id.desc()).limit(limit))]

    def requeue_parked(self, ids: Collection[int] | None = None) -> int:
        """Give parked events (None: all) five more attempts, off the missing data; returns how many."""
        with self._off_missing_data(self._are_parked(ids)):
            return super().requeue_parked(ids)

    def drop_parked(self, ids: Collection[int] | None = None) -> int:
        """Delete parked events (None: all), off the missing data; returns how many."""
        are_parked = self._are_parked(ids)
        with self._off_missing_data(are_parked):
            return self._connection.execute(delete(webhook_events).where(are_parked)).rowcount

    def prune(self, before: datetime) -> int:
        """Remove events handled or given up before a moment, off the missing data; returns how many."""
        with self._off_missing_data(self._is_parked & (webhook_events.c.processed_at < before)):
            return super().prune(before)

    @contextmanager
    def _off_missing_data(self, parked: ColumnElement[bool]) -> Iterator[None]:
        """Take parked events that the block removes from the inbox or tries again off the missing data."""
        ids = self._connection.scalars(select(webhook_events.c.event_id).where(parked))
        found = [f"event {event_id}" for event_id in ids]
        yield
        some_are_parked = self._connection.scalar(select(exists().where(self._is_parked)))
        values = {"events": found, "some_are_parked": some_are_parked}
        self._connection.execute(load_sql(__package__, "resolve_events"), values)
