"""One rate limit and one circuit breaker for all processes and machines that use an API key.

The processes share one row of Postgres. It gives away slots, moments of the server's clock that are spaced so that
no second holds more than the limit (GCRA without a burst), in small blocks, and only to threads that stand in line.
A slot is good for its moment only: a late thread moves all later slots or loses its own. Throttling and an open
circuit void every slot given away, whoever holds it. Should the processes be configured with different rates, the
lowest counts until it has not been announced for a minute.

Lives here: the gate of `resources.asleep.gate`, and the one thread that talks for all that wait.  Not here: who gets
which slot (`rate_limit_line.py`), SQL (`rate_limit_row.py`, `sql/rate_limit_*.sql`), HTTP.
"""

import threading
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Engine

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome, Turn
from resources.database.rate_limit_line import Line, Refusal, Waiter
from resources.database.rate_limit_row import DatabaseAway, FleetRow, Report, Tuning, key_id_of

_IDLE_SECONDS = 5.0
_DATABASE_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)


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
        self._row = FleetRow(
            engine,
            key_id=key_id_of(api_key),
            requests_per_second=requests_per_second,
            tuning=tuning or Tuning(),
        )
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._line = Line(self._row.clock, requests_per_second=requests_per_second)
        self._pacer: threading.Thread | None = None
        self._error: Exception | None = None
        self._answered = 0
        self._unreported: deque[Report] = deque()

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
            self._wake_pacer()
        try:
            while True:
                with self._lock:
                    seconds = self._line.seconds_to_wait(waiter, now=time.monotonic())
                    if seconds is None:
                        self._check(waiter)
                        self._changed.notify()
                if seconds is None:
                    waiter.news.wait(max(0.0, give_up_at - time.monotonic()))
                elif seconds > 0:
                    time.sleep(seconds)
                else:
                    return self._turn(waiter, began_at)
        finally:
            with self._lock:
                self._line.leave(waiter)

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
        with self._lock:
            self._unreported.append(report)
        with suppress(DatabaseAway):
            self._send_reports()

    def close(self) -> None:
        """Give the connection back."""
        self._row.close()

    def _turn(self, waiter: Waiter, began_at: float) -> Turn:
        slot = waiter.slot
        assert slot is not None  # noqa: S101 the line sends nobody without one
        return Turn(
            granted_at=datetime.fromtimestamp(slot.moment, UTC),
            waited_seconds=time.monotonic() - began_at,
            is_probe=slot.is_probe,
        )

    def _check(self, waiter: Waiter) -> None:
        """Raise when waiting on is pointless, else get ready to wait for news."""
        waiter.news.clear()
        refusal = self._line.refusal
        now = time.monotonic()
        if refusal is None:
            if waiter.give_up_at <= now:
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
        """Talk to the row whenever somebody in line needs it; end when nobody has for a while."""
        failures = 0
        while True:
            with self._lock:
                now = time.monotonic()
                at = self._line.next_exchange(lead_seconds=self._lead_seconds())
                if at is None or at > now:
                    called = self._changed.wait(_IDLE_SECONDS if at is None else at - now)
                    if at is None and not called and not len(self._line):
                        self._pacer = None
                        return
                    continue
            try:
                self._exchange()
                failures = 0
            except Exception as error:  # noqa: BLE001 whatever it is, those who wait must hear of it
                pause_seconds = _DATABASE_PAUSES_SECONDS[min(failures, len(_DATABASE_PAUSES_SECONDS) - 1)]
                failures += 1
                self._refuse(error, pause_seconds)

    def _exchange(self) -> None:
        self._send_reports()
        with self._lock:
            answered, self._answered = self._answered, 0
            wanted = self._line.wanted
            patience_seconds = self._line.patience_seconds(time.monotonic())
            pushed_seconds = self._line.pushed_seconds
        try:
            answer = self._row.reserve(
                wanted=wanted,
                patience_seconds=patience_seconds,
                notice_seconds=self._row.exchange_seconds,
                answered=answered,
                pushed_seconds=pushed_seconds,
            )
        except DatabaseAway:
            with self._lock:
                self._answered += answered
            raise
        with self._lock:
            self._line.take(answer, now=time.monotonic())

    def _send_reports(self) -> None:
        while True:
            with self._lock:
                if not self._unreported:
                    return
                report = self._unreported.popleft()
                answered, self._answered = self._answered, 0
            try:
                epoch = self._row.report(report, answered=answered)
            except DatabaseAway:
                with self._lock:
                    self._unreported.appendleft(report)
                    self._answered += answered
                raise
            with self._lock:
                self._line.void_before(epoch)
                self._changed.notify()

    def _refuse(self, error: Exception, pause_seconds: float) -> None:
        reason = f"{error} ({error.__cause__})" if isinstance(error, DatabaseAway) else str(error)
        with self._lock:
            now = time.monotonic()
            self._line.refuse(Refusal(reason, now + pause_seconds, now, error))

    def _lead_seconds(self) -> float:
        """How long before a moment to talk to the row, so that the answer is here in time."""
        return min(0.05, 0.003 + 2 * self._row.exchange_seconds)
