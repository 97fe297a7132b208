"""Events into the inbox, many per commit.

While one commit runs, the events that arrive wait together for the next: nobody waits for company, and the cost of a
commit is shared exactly when there is a crowd. An event is answered only after its commit.

Lives here: the queue and its one writer.  Not here: SQL, HTTP.
"""

import asyncio
import threading
from collections.abc import Sequence

import structlog
from sqlalchemy import Engine, text

from resources.database.inbox import IncomingEvent, put_events

_log = structlog.get_logger("asleep_sync.service")

_BATCH_EVENTS = 200
_BATCH_BYTES = 4 * 1024 * 1024
_WAITING_BYTES = 64 * 1024 * 1024

Waiting = tuple[IncomingEvent, asyncio.Future[bool]]


class InboxAway(Exception):
    """The event could not be stored; the sender has to try again."""


class InboxWriter:
    """Writes events one batch at a time. Belongs to one event loop."""

    def __init__(self, engine: Engine, *, seconds: float) -> None:
        self._engine = engine
        self._seconds = seconds
        self._waiting: list[Waiting] = []
        self._waiting_bytes = 0
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
        """Wait until everything that was accepted is written or refused; a write that hangs is not waited for."""
        if self._writing is not None:
            await self._writing

    async def _write_all(self) -> None:
        try:
            while batch := self._next_batch():
                await self._write_batch(batch)
        finally:
            self._writing = None

    async def _write_batch(self, batch: Sequence[Waiting]) -> None:
        """Answer everybody who waits, whatever happens to the write."""
        try:
            async with asyncio.timeout(self._seconds):
                answers = await self._in_a_thread([event for event, _ in batch])
        except Exception as error:  # noqa: BLE001 told to the senders, who try again
            _log.warning("inbox_away", events=len(batch), kind=type(error).__name__)
            if isinstance(error, TimeoutError):  # the connection may hang for ever: the next write takes another
                self._engine.dispose(close=False)
            for _, stored in batch:
                if not stored.done():
                    stored.set_exception(InboxAway())
        else:
            for (_, stored), is_new in zip(batch, answers, strict=True):
                if not stored.done():
                    stored.set_result(is_new)

    def _in_a_thread(self, events: list[IncomingEvent]) -> asyncio.Future[list[bool]]:
        """Write in a thread that nobody has to wait for, not even the end of the process."""
        loop = asyncio.get_running_loop()
        written: asyncio.Future[list[bool]] = loop.create_future()

        def tell(answer: list[bool] | BaseException) -> None:
            if written.done():
                return
            if isinstance(answer, BaseException):
                written.set_exception(answer)
            else:
                written.set_result(answer)

        def write() -> None:
            try:
                answer: list[bool] | BaseException = self._write(events)
            except BaseException as error:  # noqa: BLE001 raised where it is awaited
                answer = error
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, answer)

        threading.Thread(target=write, name="inbox", daemon=True).start()
        return written

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
