"""Takes events from the inbox, chunk after chunk, until none has come for a while.

A thread of its own sends requests, so that events that must ask the API hold up no others. Both wait while the database
is down.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from contextlib import suppress

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from assets.sync.scheduler import threads_with_context
from resources.database.engine import passes_by_itself
from resources.database.service.inbox import Inbox, TakenEvent

EVENTS_AT_ONCE = 200
MAX_SECONDS = 300.0  # of one run: then it ends, and the sensor starts the next one
POLL_SECONDS = 1.0
DATABASE_WAIT_SECONDS = 1800.0  # for a database that does not come back, as when it was removed: then the run fails

Handle = Callable[[Sequence[TakenEvent]], Counter[str]]


def handle_inbox(engine: Engine, store: Handle, ask: Handle | None, *, idle_seconds: float) -> Counter[str]:
    """Handle the events that are due, and those that come meanwhile.

    Returns the sums of counts; raises what a handler raised, or that the database is down, after half an hour.

    Args:
        engine: the database.
        store: handles events in the calling thread; it marks those that must ask the API and gives them back.
        ask: handles the marked events, in a thread of its own; None leaves them in the inbox.
        idle_seconds: how long to wait for another event before the end.
    """
    storing, asking = _Taker(engine, store, must_ask=False), _Taker(engine, ask, must_ask=True)
    last_came = time.monotonic()
    ends_at = last_came + MAX_SECONDS
    with threads_with_context(1) as thread:
        request, is_after_storing = thread.submit(asking.handle_next), True
        while True:
            stored, now = storing.handle_next(), time.monotonic()
            if stored:
                last_came, is_after_storing = now, False
            wait([request], timeout=0 if stored else POLL_SECONDS)
            if not request.done():
                continue
            handled = (stored, request.result())
            is_idle = handled == (0, 0) and is_after_storing
            if (is_idle and now >= last_came + idle_seconds) or (None not in handled and now >= ends_at):
                return storing.counts + asking.counts
            if None in handled or is_idle:
                time.sleep(POLL_SECONDS if None in handled else min(POLL_SECONDS, idle_seconds))
            request, is_after_storing = thread.submit(asking.handle_next), True


class _Taker:
    """Takes and handles events of one kind. Used by one thread at a time."""

    def __init__(self, engine: Engine, handle: Handle | None, *, must_ask: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._engine = engine
        self._handle = handle
        self._must_ask = must_ask
        self._held: list[int] = []
        """Taken, and not known to be handled."""
        self._down_since: float | None = None

    def handle_next(self) -> int | None:
        """Handle a chunk. Returns how many events it had; None when the database is down.

        Events that a failure of the database interrupted are given back as soon as it is there again. Raises when it
        refuses a statement for good, or does not come back within `DATABASE_WAIT_SECONDS`.
        """
        if self._handle is None:
            return 0
        try:
            self._give_back()
            with self._engine.begin() as connection:
                taken = Inbox(connection).take(EVENTS_AT_ONCE, must_ask=self._must_ask)
            self._held = [event.event_id for event in taken]
            if taken:
                self.counts += self._handle(taken)
                self.counts["events"] += 0 if self._must_ask else len(taken)
            self._held = []
        except DBAPIError as error:
            self._down_since = self._down_since or time.monotonic()
            if passes_by_itself(error) and time.monotonic() - self._down_since < DATABASE_WAIT_SECONDS:
                return None
            with suppress(DBAPIError):
                self._give_back()
            raise
        self._down_since = None
        return len(taken)

    def _give_back(self) -> None:
        if self._held:
            with self._engine.begin() as connection:
                Inbox(connection).give_back(self._held)
            self._held = []
