"""A rate limiter whose processes share one row of Postgres.

The row gives away slots: moments of the database's clock, spaced so that no second holds more than the limit. When the
rate binds, a slot is for its moment only, and a request sent late moves all later slots. When it does not bind, slots
are loose: usable for a while after their moment, so that most requests need no statement of their own. No slot is
reserved more than half a second ahead, so a pause or an open circuit reaches every process within that time.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from sqlalchemy import Engine, Row

from resources.rate_limit.shared_row import LimiterConfig, SharedRow

RESERVE_AHEAD_SECONDS = 0.01  # ask for slots this long before the last one is due; earlier would be unfair to others
MAX_LATE_SECONDS = 0.3  # a thread that wakes later takes another slot; below it, sending and paying is never dearer
LOOSE_TAIL_SECONDS = 0.02  # a loose slot is not taken in its last moments: the request might leave too late
RETRY_AHEAD_SECONDS = 0.25  # a process that got no slot asks again this long before the next one is free
MAX_SILENCE_SECONDS = 1.0  # how often to look whether a pause or an open circuit was lifted early
DATABASE_PAUSE_SECONDS = 0.25  # between two attempts to reach the database
STATEMENT_SECONDS = 1.0  # how long a thread waits while another one runs a statement


class Outcome(Enum):
    """What one attempt shows about the API's health."""

    ANSWERED = "answered"  # any response that is neither of the others, 4xx included
    THROTTLED = "throttled"  # refused because there were too many requests
    BROKEN = "broken"  # 5xx, a time-out, or a refused, reset or truncated connection


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission for one attempt, given at a moment of the database's clock, which all processes share."""

    granted_at: datetime
    waited_seconds: float
    is_probe: bool = False  # the circuit is half-open, and this is the only attempt of all processes
    slot: Any = field(default=None, repr=False)  # the limiter's own


class PermitUnavailable(Exception):
    """No permit in time. The message names the reason: the rate, throttling, the open circuit or the database."""


@dataclass(frozen=True, slots=True)
class _Slot:
    reserved_at: float  # server's clock: identifies the reservation
    starts_at: float  # monotonic clock, as are the next two
    due_at: float  # a request sent later than this is late
    take_before: float
    spacing_seconds: float
    is_probe: bool


@dataclass(frozen=True, slots=True)
class _Standing:
    ask_at: float = 0.0  # when to ask the row again, by the monotonic clock
    hopeless_before: float = 0.0  # who gives up before this moment may give up now
    reason: str = "other threads of this process were first"
    cause: BaseException | None = None


class PostgresRateLimiter:
    """Rate limit and circuit breaker of one process; its threads share it and call its methods in this order."""

    def __init__(
        self, engine: Engine, *, api_key: str, requests_per_second: float, config: LimiterConfig | None = None
    ) -> None:
        """Prepare; nothing is sent to the database yet.

        Args:
            engine: the database; the limiter opens one connection of its own.
            api_key: names the row, by a fingerprint.
            requests_per_second: the limit; the lowest one of all processes counts.
            config: how to slow down, recover and stop.
        """
        self._config = config or LimiterConfig()
        self._row = SharedRow(engine, api_key=api_key, requests_per_second=requests_per_second, config=self._config)
        self._slots: deque[_Slot] = deque()
        self._standing = _Standing()
        self._line = threading.Lock()  # held by the one thread that waits to ask for slots
        self._waiting: deque[None] = deque()
        self._talking = threading.Lock()  # held while a statement runs
        self._counting = threading.Lock()
        self._answered, self._late_seconds = 0, 0.0  # not in the row yet
        self._unreported: deque[tuple[float, str, float | None]] = deque()

    def acquire(self, *, give_up_at: float) -> Permit:
        """Wait for a permit until `give_up_at` (`time.monotonic()`), or raise `PermitUnavailable`. Connect before."""
        began_at = now = time.monotonic()
        slot = None
        while slot is None or now >= slot.take_before:
            slot = self._take() or self._wait_in_line(give_up_at)
            if slot.starts_at > (now := time.monotonic()):
                time.sleep(slot.starts_at - now)
                now = time.monotonic()
        return Permit(datetime.fromtimestamp(now - self._row.clock.offset, UTC), now - began_at, slot.is_probe, slot)

    def sent(self, permit: Permit) -> None:
        """Record that the request has just been written to its connection, which is when the server counts it.

        A late request pays now: the thread that reserves next may sleep for half a second.
        """
        excess_seconds = time.monotonic() - permit.slot.due_at - self._config.late_seconds
        if excess_seconds > 0:
            with self._counting:
                self._late_seconds += min(excess_seconds, permit.slot.spacing_seconds)
            self._talk(self._reserve)

    def report(self, permit: Permit, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Report the outcome exactly once for each permit, whether or not a request was sent.

        Plain responses are noted with the next reservation, all else now or when the database is back.

        Args:
            permit: from `acquire`.
            outcome: of the attempt.
            retry_after_seconds: pause that the response demands; None when it names none.
        """
        if outcome is Outcome.ANSWERED and not permit.is_probe:
            with self._counting:
                self._answered += 1
        else:
            if outcome is Outcome.THROTTLED:
                self._slots.clear()  # reserved before the pause
            self._unreported.append((permit.slot.reserved_at, outcome.value, retry_after_seconds))
            self._talk(self._send_reports)

    def close(self) -> None:
        """Send what was not reported yet, and give the connection back."""
        if self._unreported:
            self._talk(self._send_reports, may_connect=True)
        self._talk(self._row.close)

    def _take(self) -> _Slot | None:
        with self._counting:
            while self._slots:
                if time.monotonic() < (slot := self._slots.popleft()).take_before:
                    return slot
        return None

    def _wait_in_line(self, give_up_at: float) -> _Slot:
        self._waiting.append(None)
        has_line = self._line.acquire(timeout=max(0.0, give_up_at - time.monotonic()))
        try:
            while (slot := self._take()) is None:
                now, standing = time.monotonic(), self._standing
                if give_up_at <= max(now, standing.hopeless_before if now < standing.ask_at else 0.0):
                    raise PermitUnavailable(f"no permit in time: {standing.reason}") from standing.cause
                if now < standing.ask_at:
                    time.sleep(min(standing.ask_at, give_up_at) - now)
                else:
                    self._talk(self._ask, may_connect=True)
            return slot
        finally:
            self._waiting.pop()
            if has_line:
                self._line.release()

    def _talk(self, action: Callable[[], object], *, may_connect: bool = False) -> None:
        """Run what uses the row. With the database away only the thread in line connects; the others go on."""
        if not self._talking.acquire(timeout=STATEMENT_SECONDS):
            self._standing = _Standing(reason="the database that holds the rate limit does not answer")
            return
        try:
            if may_connect or self._row.connection is not None:
                action()
        except ConnectionError as error:
            ask_at = time.monotonic() + DATABASE_PAUSE_SECONDS
            self._standing = _Standing(ask_at, reason=str(error), cause=error.__cause__)
        finally:
            self._talking.release()

    def _ask(self) -> None:
        if self._unreported:
            self._send_reports()
        row = self._reserve(wanted=len(self._waiting))
        first, now = row.first_slot + self._row.clock.offset, time.monotonic()
        if not row.slots:
            retry_at = first - RETRY_AHEAD_SECONDS
            ask_at = retry_at if retry_at > now else max(first, now + RESERVE_AHEAD_SECONDS)
            self._standing = _Standing(min(ask_at, now + MAX_SILENCE_SECONDS), first, row.reason)
            return
        takeable_seconds = row.usable_seconds - LOOSE_TAIL_SECONDS if row.usable_seconds else MAX_LATE_SECONDS
        for starts_at in (first + place * row.spacing_seconds for place in range(row.slots)):
            due_at, take_before = starts_at + row.usable_seconds, starts_at + takeable_seconds
            self._slots.append(_Slot(row.moment, starts_at, due_at, take_before, row.spacing_seconds, row.is_probe))
        self._standing = _Standing(starts_at - RESERVE_AHEAD_SECONDS)

    def _reserve(self, wanted: int = 0) -> Row[Any]:
        with self._counting:
            values = {"answered": self._answered, "late_seconds": self._late_seconds}
            self._answered, self._late_seconds = 0, 0.0
        return self._row.reserve(wanted=wanted, **values)

    def _send_reports(self) -> None:
        self._reserve()  # responses from before count before
        while self._unreported:
            self._row.report(*self._unreported[0])
            self._unreported.popleft()
        self._standing = _Standing()
