"""Blocking database work for the event loop: in threads of its own, each with a deadline.

A server that hangs answers neither statements nor their time-outs. So the caller stops waiting, and the thread, a
daemon, ends when the server answers or the connection breaks.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy import Connection, Engine, text

T = TypeVar("T")


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
        self._at_once = at_once
        self._name = name
        self._running = 0

    async def run(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction and return its result after the commit.

        Raises:
            DatabaseUnavailable: no result in time. The work may still be committed later.
        """
        if self._running >= self._at_once:
            raise DatabaseUnavailable
        try:
            async with asyncio.timeout(self._seconds):
                return await self._in_a_thread(work)
        except TimeoutError:
            self._engine.dispose(close=False)  # its connections may hang as well: the next call makes a new one
            raise DatabaseUnavailable from None

    def _in_a_thread(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._running += 1

        def finish(set_outcome: Callable[[], None]) -> None:
            self._running -= 1
            if not done.done():
                set_outcome()

        def call() -> None:
            try:
                result = self._begin(work)
            except BaseException as error:  # noqa: BLE001 raised where it is awaited
                failure = error
                outcome = lambda: done.set_exception(failure)  # noqa: E731
            else:
                outcome = lambda: done.set_result(result)  # noqa: E731
            if not loop.is_closed():
                loop.call_soon_threadsafe(finish, outcome)

        threading.Thread(target=call, name=self._name, daemon=True).start()
        return done

    def _begin(self, work: Callable[[Connection], T]) -> T:
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL statement_timeout = {int(self._seconds * 1000)}"))
            return work(connection)
