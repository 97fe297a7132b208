"""A server that counts every arrival over a sliding second and throttles whoever goes over.

    python benchmarks/strict_server.py     # prints its port

    GET /-/reset/LIMIT    forget everything; throttle above LIMIT arrivals in any one second
    GET /-/log            JSON: every arrival as [seconds, caller, throttled], by this server's monotonic clock
    GET /CALLER           200, or 403 `Rate limit exceeded`

Strict: a throttled request counts as an arrival too. It is kept small and asks for a high priority, so that what it
measures is the caller's timing and not its own: a real server does not share its cores with its clients.
"""

import asyncio
import json
import os
import sys
import time
from collections import deque
from contextlib import suppress

import httptools
import uvloop


class Window:
    """Arrivals of the last second, and the log of all."""

    def __init__(self) -> None:
        self.reset(10**9)

    def reset(self, limit: int) -> None:
        """Start afresh."""
        self.limit = limit
        self.recent: deque[float] = deque()
        self.log: list[tuple[float, str, bool]] = []

    def arrive(self, caller: str) -> bool:
        """Count one arrival; False when it is one too many."""
        now = time.monotonic()
        while self.recent and self.recent[0] <= now - 1:
            self.recent.popleft()
        self.recent.append(now)
        allowed = len(self.recent) <= self.limit
        self.log.append((now, caller, not allowed))
        return allowed


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, window: Window) -> None:
        self._window = window
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by asyncio."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Called by asyncio."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Called by the parser."""
        self._url += url

    def on_message_complete(self) -> None:
        """Called by the parser."""
        path, self._url = self._url.decode(), b""
        if path.startswith("/-/reset/"):
            self._window.reset(int(path.rsplit("/", 1)[1]))
            self._answer(b"200 OK", b"{}")
        elif path == "/-/log":
            self._answer(b"200 OK", json.dumps(self._window.log).encode())
        elif self._window.arrive(path[1:]):
            self._answer(b"200 OK", b'{"detail":"OK"}')
        else:
            self._answer(b"403 Forbidden", b'{"detail":"Rate limit exceeded"}')

    def _answer(self, status: bytes, body: bytes) -> None:
        self._transport.write(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))


async def serve() -> None:
    """Serve until standard input ends: whoever started this may die without a word."""
    window = Window()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(window), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    uvloop.run(serve())
