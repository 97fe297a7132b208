"""Takes events from the inbox, chunk after chunk, until none has come for a while.

Two loops run beside each other, so that events that must ask the API hold up no others: one stores what events bring,
the other sends requests. Both wait while the database is down.
"""

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from assets.sync.fan_out import start_thread
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
    ends_at = time.monotonic() + MAX_SECONDS
    storing = _Loop(engine, store, must_ask=False)
    asking = _Asking(_Loop(engine, ask, must_ask=True) if ask is not None else None, ends_at)
    last_came = time.monotonic()
    while asking.thread.is_alive() or not asking.is_ending.is_set():
        handled = storing.handle_next()
        asking.wake_up.set()
        now = time.monotonic()
        if handled:
            last_came = now
        if (handled == 0 and now >= last_came + idle_seconds) or (handled and now >= ends_at):
            asking.is_ending.set()
        if handled is None:
            time.sleep(POLL_SECONDS)
        elif handled == 0 and asking.is_ending.is_set():
            asking.thread.join(POLL_SECONDS)
        elif handled == 0:
            time.sleep(min(POLL_SECONDS, idle_seconds))
        if asking.error is not None:
            raise asking.error
    return storing.counts + asking.counts


class _Loop:
    """Takes and handles events of one kind. Belongs to one thread."""

    def __init__(self, engine: Engine, handle: Handle, *, must_ask: bool) -> None:
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


class _Asking:
    """A thread for the loop that sends requests. It ends by itself after `is_ending` is set."""

    def __init__(self, loop: _Loop | None, ends_at: float) -> None:
        self.is_ending, self.wake_up = threading.Event(), threading.Event()
        self.error: Exception | None = None
        self.counts = Counter[str]() if loop is None else loop.counts
        self._loop, self._ends_at = loop, ends_at
        self.thread = start_thread(self._run, "asking")

    def _run(self) -> None:
        """Handle chunks; once the end is near, until nothing is due or the time is up."""
        try:
            while self._loop is not None:
                was_ending = self.is_ending.is_set()
                handled = self._loop.handle_next()
                if was_ending and (handled == 0 or (handled is not None and time.monotonic() >= self._ends_at)):
                    return
                if not handled:
                    self.wake_up.wait(POLL_SECONDS)
                    self.wake_up.clear()
        except Exception as error:  # noqa: BLE001 raised in the calling thread
            self.error = error
