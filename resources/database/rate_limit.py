"""One rate limit and one circuit breaker for all processes and machines that use an API key.

The processes share one row of Postgres. It gives away slots, moments of the server's clock that are spaced so that
no second holds more than the limit (GCRA without a burst), in small blocks, and only to threads that stand in line.
A slot is good for its moment only: for a late request a slot one second further on is held back. Throttling and
an open circuit void every slot given away, whoever holds it. Should the processes be configured with different rates,
the lowest counts until it has not been announced for a minute.

Lives here: the gate of `resources.asleep.gate`.  Not here: the thread that talks for all that wait
(`rate_limit_pacer.py`), who gets which slot (`rate_limit_line.py`), SQL (`rate_limit_row.py`), HTTP.
"""

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Self

from sqlalchemy import Engine

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome, Turn
from resources.database.rate_limit_line import Line, Slot, Waiter
from resources.database.rate_limit_pacer import Pacer
from resources.database.rate_limit_row import DatabaseAway, FleetRow, Report, Tuning, key_id_of

_REPORT_SECONDS = 1.0
"""How long a thread waits for its report to reach the row; with the database away it goes on without."""


@dataclass(frozen=True, slots=True)
class _SlotTurn(Turn):
    slot: Slot = field(kw_only=True)
    went_at: float = field(kw_only=True)
    """By the monotonic clock."""


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
        self._line = Line(
            self._row.clock, requests_per_second=requests_per_second, margin_seconds=tuning.margin_seconds
        )
        self._pacer = Pacer(self._row, self._line)
        self._lock = self._pacer.lock

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
                self._pacer.wake()
        try:
            slot = self._wait(waiter)
        finally:
            with self._lock:
                self._line.leave(waiter)
        now = time.monotonic()
        return _SlotTurn(
            granted_at=datetime.fromtimestamp(self._row.clock.server(now), UTC),
            waited_seconds=now - began_at,
            is_probe=slot.is_probe,
            slot=slot,
            went_at=now,
        )

    def sent(self, turn: Turn) -> None:
        """Say that the turn's request has just been written to its connection.

        Optional. Between `enter` and this a thread may have had to connect, or lost its processor: the server counts
        the request when it arrives, and the fleet has to know of any delay to stay within the limit.
        """
        if isinstance(turn, _SlotTurn):
            with self._lock:
                self._line.was_sent(turn.slot, went_at=turn.went_at, now=time.monotonic())
                if self._line.was_late:
                    self._pacer.wake()

    def leave(self, turn: Turn, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Report what came of the turn; every `enter` is followed by exactly one `leave`.

        Plain answers travel with the next reservation; the fleet hears of anything else before this returns, or,
        should the database be away, as soon as it is back.
        """
        if outcome is Outcome.ANSWERED and not turn.is_probe:
            self._pacer.count_answer()
            return
        report = Report(
            granted_at=turn.granted_at,
            is_probe=turn.is_probe,
            throttled=outcome is Outcome.THROTTLED,
            broken=outcome is Outcome.BROKEN,
            retry_after_seconds=retry_after_seconds,
        )
        self._pacer.tell(report, patience_seconds=_REPORT_SECONDS)

    def close(self) -> None:
        """Tell the fleet what it was not yet told, and give the connection back."""
        self._pacer.close()

    def _wait(self, waiter: Waiter) -> Slot:
        """Sleep until the waiter's slot, through all that may happen to it, and take it out."""
        while True:
            with self._lock:
                seconds = self._line.seconds_to_wait(waiter, now=time.monotonic())
                if seconds is None:
                    self._check(waiter)
                if seconds is None or self._line.was_late:
                    self._pacer.wake()
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
                if self._pacer.database_is_silent:
                    raise Unavailable("no turn in time: the database that holds the rate limit does not answer")
                raise Unavailable("no turn in time: other threads of this process were first")
        elif now < refusal.ask_again_at and refusal.cause and not isinstance(refusal.cause, DatabaseAway):
            raise refusal.cause
        elif waiter.give_up_at <= now or (now < refusal.ask_again_at and waiter.give_up_at < refusal.hopeless_before):
            raise Unavailable(f"no turn in time: {refusal.reason}") from (refusal.cause and refusal.cause.__cause__)
