"""Writes events into the inbox, many per commit.

While one commit runs, the events that arrive wait together for the next, so that the cost of a commit is shared exactly
when many events arrive. An event is answered only after its commit.
"""

import asyncio
from collections.abc import Sequence

import structlog

from pipelines.service.database_calls import DatabaseCalls
from resources.database.service.inbox import Inbox, IncomingEvent

_log = structlog.get_logger("asleep_sync.service")

_BATCH_EVENTS = 200
_BATCH_BYTES = 4 * 1024 * 1024
_WAITING_BYTES = 64 * 1024 * 1024

Waiting = tuple[IncomingEvent, asyncio.Future[bool]]


class InboxUnavailable(Exception):
    """The event could not be stored; the sender has to try again."""


class InboxWriter:
    """Writes events one batch at a time; refuses those not stored after `seconds`. Belongs to one event loop."""

    def __init__(self, calls: DatabaseCalls, *, seconds: float) -> None:
        self._calls = calls
        self._seconds = seconds
        self._waiting: list[Waiting] = []
        self._waiting_bytes = 0
        self._writing: asyncio.Task[None] | None = None

    async def put(self, event: IncomingEvent) -> bool:
        """Store an event; True when its body is new. Returns after the commit.

        Raises:
            InboxUnavailable: it could not be stored in time. It may still be stored later, which is harmless.
        """
        if self._waiting_bytes + len(event.body) > _WAITING_BYTES:
            raise InboxUnavailable
        stored: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((event, stored))
        self._waiting_bytes += len(event.body)
        if self._writing is None:
            self._writing = asyncio.create_task(self._write_all())
        try:
            async with asyncio.timeout(self._seconds):
                return await stored
        except TimeoutError:
            raise InboxUnavailable from None

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
        """Write a batch and answer every event in it, whether the write succeeds or not."""
        events = [event for event, _ in batch]
        try:
            answers = await self._calls.run(lambda connection: Inbox(connection).put(events))
        except Exception as error:  # noqa: BLE001 the senders are refused and try again
            _log.warning("inbox_unavailable", events=len(batch), kind=type(error).__name__)
            for _, stored in batch:
                if not stored.done():
                    stored.set_exception(InboxUnavailable())
        else:
            for (_, stored), is_new in zip(batch, answers, strict=True):
                if not stored.done():
                    stored.set_result(is_new)

    def _next_batch(self) -> list[Waiting]:
        """The next events whose senders still wait."""
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
