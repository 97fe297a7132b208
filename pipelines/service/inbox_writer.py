"""Events into the inbox, many per commit.

While one commit runs, the events that arrive wait together for the next: nobody waits for company, and the cost of a
commit is shared exactly when there is a crowd. An event is answered only after its commit.

Lives here: the queue and its one thread.  Not here: SQL, HTTP.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import structlog
from sqlalchemy import Engine, text
from sqlalchemy.exc import SQLAlchemyError

from resources.database.inbox import IncomingEvent, put_events

_log = structlog.get_logger("asleep_sync.service")

_BATCH_EVENTS = 200
_BATCH_BYTES = 4 * 1024 * 1024
_WAITING_BYTES = 64 * 1024 * 1024

Waiting = tuple[IncomingEvent, asyncio.Future[bool]]


class InboxAway(Exception):
    """The event could not be stored; the sender has to try again."""


class InboxWriter:
    """Writes events with one thread and one connection. Belongs to one event loop."""

    def __init__(self, engine: Engine, *, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._waiting: list[Waiting] = []
        self._waiting_bytes = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inbox")
        self._writing: asyncio.Task[None] | None = None

    async def put(self, event: IncomingEvent) -> bool:
        """Store an event; True when its body is new. Returns after the commit.

        Raises:
            InboxAway: it could not be stored in time. It may still be stored later, which is harmless.
        """
        if self._waiting_bytes + len(event.body) > _WAITING_BYTES:
            raise InboxAway
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, stored))
        self._waiting_bytes += len(event.body)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        try:
            async with asyncio.timeout(self._seconds):
                return await stored
        except TimeoutError:
            raise InboxAway from None

    async def close(self) -> None:
        """Wait until everything that was accepted is written or refused."""
        if self._writing is not None:
            await self._writing
        self._thread.shutdown()

    async def _write_all(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next_batch():
            try:
                answers = await loop.run_in_executor(self._thread, self._write, [event for event, _ in batch])
            except SQLAlchemyError as error:
                _log.warning("inbox_away", events=len(batch), kind=type(error).__name__)
                for _, stored in batch:
                    if not stored.done():
                        stored.set_exception(InboxAway())
            else:
                for (_, stored), is_new in zip(batch, answers, strict=True):
                    if not stored.done():
                        stored.set_result(is_new)
        self._writing = None

    def _next_batch(self) -> list[Waiting]:
        """The next events that still have somebody waiting for them."""
        batch: list[Waiting] = []
        taken = size = 0
        for event, stored in self._waiting:
            if len(batch) == _BATCH_EVENTS or (batch and size + len(event.body) > _BATCH_BYTES):
                break
            taken += 1
            self._waiting_bytes -= len(event.body)
            if not stored.done():
                batch.append((event, stored))
                size += len(event.body)
        del self._waiting[:taken]
        return batch

    def _write(self, events: list[IncomingEvent]) -> list[bool]:
        with self._engine.begin() as connection:
            connection.execute(text(f"SET LOCAL statement_timeout = {int(self._seconds * 1000)}"))
            return put_events(connection, events)
