"""One rate limit and one circuit breaker for all processes and machines that use an API key.

The processes share one row of Postgres. It gives away slots, moments of the server's clock that are spaced so that
no second holds more than the limit (GCRA without a burst), in small blocks, and only to threads that stand in line.
A slot is good for its moment only: who is late has a slot a second later held back. Throttling
and an open circuit void every slot given away, whoever holds it. Should the processes be configured with different
rates, the lowest counts until it has not been announced for a minute.

Lives here: the gate of `resources.asleep.gate`, and the one thread that talks for all that wait.  Not here: who gets
which slot (`rate_limit_line.py`), SQL (`rate_limit_row.py`, `sql/rate_limit_*.sql`), HTTP.
"""

import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Engine

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome, Turn
from resources.database.rate_limit_line import Line, Refusal, Slot, Waiter
from resources.database.rate_limit_row import DatabaseAway, FleetRow, Report, Tuning, key_id_of

_IDLE_SECONDS = 5.0
"""The thread that talks to the row ends when nobody has needed it for so long."""
_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to reach the database, the last one for ever after."""
_SILENT_SECONDS = 1.0
"""A database that has not answered for so long is the reason why there is no turn."""
_REPORT_SECONDS = 1.0
"""How long a thread waits for its report to reach the row; with the database away it goes on without."""


class PostgresGate:
    """Gate of one process; its threads share it. `close` it, or use it as a context."""

    def __init__(
        self,
        engine: Engine,
        *,
        api_key: str,
        requests_per_second: float,
        tuning: Tuning | None = None,
    ) -> None:
        tuning = tuning or Tuning()
        self._row = FleetRow(engine, key_id=key_id_of(api_key), requests_per_second=requests_per_second, tuning=tuning)
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._line = Line(
            self._row.clock, requests_per_second=requests_per_second, margin_seconds=tuning.margin_seconds
        )
        self._pacer: threading.Thread | None = None
        self._closing = False
        self._not_before = 0.0
        self._asked_at = float("inf")
        self._answered = 0
        self._unreported: deque[tuple[Report, threading.Event]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def enter(self, *, give_up_at: float) -> Turn:
        """Wait for this thread's turn; send at once when it comes.

        Args:
            give_up_at: `time.monotonic()` moment after which waiting is pointless.

        Raises:
            Unavailable: no turn before `give_up_at`; the message says whether the rate, the circuit or the database
                is the reason.
        """
        began_at = time.monotonic()
        waiter = Waiter(give_up_at)
        with self._lock:
            self._line.join(waiter)
            if self._line.waiting == 1:
                self._wake_pacer()
        try:
            slot = self._wait(waiter)
        finally:
            with self._lock:
                self._line.leave(waiter)
        now = time.monotonic()
        return Turn(
            granted_at=datetime.fromtimestamp(self._row.clock.server(now), UTC),
            waited_seconds=now - began_at,
            is_probe=slot.is_probe,
        )

    def leave(self, turn: Turn, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Report what came of the turn; every `enter` is followed by exactly one `leave`.

        Plain answers travel with the next reservation; the fleet hears of anything else before this returns, or,
        should the database be away, as soon as it is back.
        """
        if outcome is Outcome.ANSWERED and not turn.is_probe:
            with self._lock:
                self._answered += 1
            return
        report = Report(
            granted_at=turn.granted_at,
            is_probe=turn.is_probe,
            throttled=outcome is Outcome.THROTTLED,
            broken=outcome is Outcome.BROKEN,
            retry_after_seconds=retry_after_seconds,
        )
        told = threading.Event()
        with self._lock:
            self._unreported.append((report, told))
            self._wake_pacer()
        told.wait(_REPORT_SECONDS)

    def close(self) -> None:
        """Tell the fleet what it was not yet told, and give the connection back."""
        with self._lock:
            pacer, self._closing = self._pacer, True
            self._changed.notify()
        if pacer is not None:
            pacer.join(_REPORT_SECONDS)
        if pacer is None or not pacer.is_alive():
            self._row.close()
        self._closing = False

    def _wait(self, waiter: Waiter) -> Slot:
        """Sleep until the waiter's slot, through all that may happen to it, and take it out."""
        while True:
            with self._lock:
                seconds = self._line.seconds_to_wait(waiter, now=time.monotonic())
                if seconds is None:
                    self._check(waiter)
                if seconds is None or self._line.was_late:
                    self._changed.notify()
                if waiter.slot is not None and seconds is not None and seconds <= 0:
                    return waiter.slot
            if seconds is None:
                waiter.news.wait(max(0.0, waiter.give_up_at - time.monotonic()))
            else:
                time.sleep(seconds)

    def _check(self, waiter: Waiter) -> None:
        """Raise when waiting on is pointless, else get ready to wait for news."""
        waiter.news.clear()
        refusal = self._line.refusal
        now = time.monotonic()
        if refusal is None:
            if waiter.give_up_at <= now:
                if now - self._asked_at > _SILENT_SECONDS:
                    raise Unavailable("no turn in time: the database that holds the rate limit does not answer")
                raise Unavailable("no turn in time: other threads of this process were first")
        elif now < refusal.ask_again_at and refusal.cause and not isinstance(refusal.cause, DatabaseAway):
            raise refusal.cause
        elif waiter.give_up_at <= now or (now < refusal.ask_again_at and waiter.give_up_at < refusal.hopeless_before):
            raise Unavailable(f"no turn in time: {refusal.reason}") from (refusal.cause and refusal.cause.__cause__)

    def _wake_pacer(self) -> None:
        if self._pacer is None:
            self._pacer = threading.Thread(target=self._pace, name="asleep rate limit", daemon=True)
            self._pacer.start()
        else:
            self._changed.notify()

    def _pace(self) -> None:
        """Talk to the row for all threads, whenever one of them needs it."""
        failures = 0
        while self._await_work():
            self._asked_at = time.monotonic()
            try:
                self._send_reports()
                self._exchange()
                failures = 0
            except Exception as error:  # noqa: BLE001 whatever it is, those who wait must hear of it
                self._refuse(error, _PAUSES_SECONDS[min(failures, len(_PAUSES_SECONDS) - 1)])
                failures += 1
            finally:
                self._asked_at = float("inf")

    def _await_work(self) -> bool:
        """Sleep until there is something to say; False ends the thread, when nobody has needed it for a while."""
        with self._lock:
            while True:
                now = time.monotonic()
                at = float("-inf") if self._unreported else self._line.next_exchange(lead_seconds=self._lead_seconds())
                at = None if at is None else max(at, self._not_before)
                if at is not None and at <= now:
                    return True
                called = not self._closing and self._changed.wait(_IDLE_SECONDS if at is None else at - now)
                if self._closing or (at is None and not called and not len(self._line)):
                    self._pacer = None
                    return False

    def _exchange(self) -> None:
        with self._lock:
            now = time.monotonic()
            at = self._line.next_exchange(lead_seconds=self._lead_seconds())
            if at is None or at > now:
                return
            answered, self._answered = self._answered, 0
            asked = self._line.to_ask(now, lead_seconds=self._lead_seconds())
            patience_seconds = self._line.patience_seconds(now)
        try:
            answer = self._row.reserve(asked, patience_seconds=patience_seconds, answered=answered)
        except DatabaseAway:
            with self._lock:
                self._answered += answered
            raise
        with self._lock:
            self._line.take(answer, asked=asked, now=time.monotonic())

    def _send_reports(self) -> None:
        while True:
            with self._lock:
                if not self._unreported:
                    return
                report, told = self._unreported[0]
                answered, self._answered = self._answered, 0
            try:
                epoch = self._row.report(report, answered=answered)
            except DatabaseAway:
                with self._lock:
                    self._answered += answered
                raise
            with self._lock:
                self._unreported.popleft()
                self._line.void_before(epoch)
            told.set()

    def _refuse(self, error: Exception, pause_seconds: float) -> None:
        with self._lock:
            now = time.monotonic()
            self._not_before = now + pause_seconds
            self._line.refuse(Refusal(str(error), self._not_before, now, error))

    def _lead_seconds(self) -> float:
        """How long before a moment to talk to the row, so that the answer is here in time."""
        return min(0.05, 0.003 + 2 * self._row.exchange_seconds)
