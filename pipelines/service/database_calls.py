"""Blocking database work for the event loop: in threads of its own, each with a deadline.

A server that hangs answers neither statements nor their time-outs. So the caller stops waiting, and the thread, a
daemon, ends when the server answers or the connection breaks.
"""

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from sqlalchemy import Connection, Engine, text

T = TypeVar("T")


class Kept(Generic[T]):
    """A value that is read again once it is older than a few seconds, however many ask. Belongs to one event loop."""

    def __init__(self, read: Callable[[], Awaitable[T]], *, seconds: float) -> None:
        self._read = read
        self._seconds = seconds
        self._lock = asyncio.Lock()
        self._found: tuple[float, T] | None = None

    async def get(self) -> T:
        """The value."""
        async with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > self._seconds:
                value = await self._read()
                self._found = time.monotonic(), value
            return self._found[1]


class DatabaseUnavailable(Exception):
    """The database did not answer in time, or too many calls wait for it already."""


class DatabaseCalls:
    """Runs work on connections of one engine. Belongs to one event loop."""

    def __init__(self, engine: Engine, *, seconds: float, at_once: int, name: str) -> None:
        """Prepare; nothing is connected yet.

        Args:
            engine: whose connections.
            seconds: deadline of a call, for the whole of it and for each statement.
            at_once: calls that may run or hang at the same time.
            name: of the threads.
        """
        self._engine = engine
        self._seconds = seconds
        self._free = threading.BoundedSemaphore(at_once)
        self._name = name

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result after the commit.

        Raises:
            DatabaseUnavailable: no result in time. The work may still be committed later.
        """
        if not self._free.acquire(blocking=False):
            raise DatabaseUnavailable
        outcome: Future[T] = Future()
        outcome.set_running_or_notify_cancel()

        def call() -> None:
            try:
                try:
                    result = self._begin(work)
                finally:
                    self._free.release()
            except BaseException as error:  # noqa: BLE001 raised where it is awaited
                outcome.set_exception(error)
            else:
                outcome.set_result(result)

        threading.Thread(target=call, name=self._name, daemon=True).start()
        try:
            async with asyncio.timeout(self._seconds):
                return await asyncio.wrap_future(outcome)
        except TimeoutError:
            self._engine.dispose(close=False)  # its connections may hang as well: the next call makes a new one
            raise DatabaseUnavailable from None

    def _begin(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL statement_timeout = {int(self._seconds * 1000)}"))
            return work(connection)
