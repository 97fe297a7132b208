"""The one thread of a process that talks to the shared row, for all threads that want turns.

Lives here: when to talk, what was not yet told, what to do while the database is away.  Not here: who gets which slot
(`rate_limit_line.py`), SQL (`rate_limit_row.py`), waiting for a turn (`rate_limit.py`).
"""

import threading
import time
from collections import deque

from resources.database.rate_limit_line import Line, Refusal
from resources.database.rate_limit_row import DatabaseAway, FleetRow, Report

_IDLE_SECONDS = 5.0
"""The thread ends when nobody has needed it for so long."""
_PAUSES_SECONDS = (0.05, 0.1, 0.2, 0.5, 1.0)
"""Between attempts to reach the database, the last one for ever after."""
_SILENT_SECONDS = 1.0
"""A database that has not answered for so long is silent."""
_LAST_WORDS_SECONDS = 1.0
"""How long closing waits for what is still to be told."""


class Pacer:
    """Started when somebody needs it. Its `lock` guards the line; whoever changed the line calls `wake`."""

    def __init__(self, row: FleetRow, line: Line) -> None:
        self.lock = threading.Lock()
        self._changed = threading.Condition(self.lock)
        self._row = row
        self._line = line
        self._thread: threading.Thread | None = None
        self._closing = False
        self._not_before = 0.0
        self._asked_at = float("inf")
        self._answered = 0
        self._unreported: deque[tuple[Report, threading.Event]] = deque()

    def wake(self) -> None:
        """Have a look at the line. Called with the lock held."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._pace, name="asleep rate limit", daemon=True)
            self._thread.start()
        else:
            self._changed.notify()

    def count_answer(self) -> None:
        """A plain answer; it travels with the next exchange."""
        with self.lock:
            self._answered += 1

    def tell(self, report: Report, *, patience_seconds: float) -> None:
        """Tell the fleet; with the database away, go on after a while and have it told later."""
        told = threading.Event()
        with self.lock:
            self._unreported.append((report, told))
            self.wake()
        told.wait(patience_seconds)

    @property
    def database_is_silent(self) -> bool:
        """An exchange has been under way for longer than any should."""
        return time.monotonic() - self._asked_at > _SILENT_SECONDS

    def close(self) -> None:
        """Tell the fleet what it was not yet told, and give the connection back."""
        with self.lock:
            thread, self._closing = self._thread, True
            self._changed.notify()
        if thread is not None:
            thread.join(_LAST_WORDS_SECONDS)
        if thread is None or not thread.is_alive():
            self._row.close()
        self._closing = False

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
        with self.lock:
            while True:
                now = time.monotonic()
                at = float("-inf") if self._unreported else self._line.next_exchange(lead_seconds=self._lead_seconds())
                at = None if at is None else max(at, self._not_before)
                if at is not None and at <= now:
                    return True
                called = not self._closing and self._changed.wait(_IDLE_SECONDS if at is None else at - now)
                if self._closing or (at is None and not called and not len(self._line)):
                    self._thread = None
                    return False

    def _exchange(self) -> None:
        with self.lock:
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
            with self.lock:
                self._answered += answered
            raise
        with self.lock:
            self._line.take(answer, asked=asked, now=time.monotonic())

    def _send_reports(self) -> None:
        while True:
            with self.lock:
                if not self._unreported:
                    return
                report, told = self._unreported[0]
                answered, self._answered = self._answered, 0
            try:
                epoch = self._row.report(report, answered=answered)
            except DatabaseAway:
                with self.lock:
                    self._answered += answered
                raise
            with self.lock:
                self._unreported.popleft()
                self._line.void_before(epoch)
            told.set()

    def _refuse(self, error: Exception, pause_seconds: float) -> None:
        with self.lock:
            now = time.monotonic()
            self._not_before = now + pause_seconds
            self._line.refuse(Refusal(str(error), self._not_before, now, error))

    def _lead_seconds(self) -> float:
        """How long before a moment to talk to the row, so that the answer is here in time."""
        return min(0.05, 0.003 + 2 * self._row.exchange_seconds)
