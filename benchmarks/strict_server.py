"""A server that counts every arrival over a sliding second and throttles whoever goes over.

    python benchmarks/strict_server.py     # prints its port

    GET /-/reset/LIMIT    forget everything; throttle above LIMIT arrivals in any one second
    GET /-/log            JSON: every arrival as [seconds, caller, throttled]
    GET /CALLER           200, or 403 `Rate limit exceeded`

Strict: a throttled request counts as an arrival too. A request arrives when the kernel receives it, where the kernel
tells (Linux does): a real server does not share its cores with its clients, and what is measured here is their timing
and not how long this process had to wait for a core.
"""

import asyncio
import json
import os
import socket
import struct
import sys
import time
from bisect import insort
from contextlib import suppress

import httptools
import uvloop

_TIMESTAMP = 35
"""SO_TIMESTAMPNS, and the type of the message that carries it; Python has no name for it."""


class Window:
    """Arrivals of the last second, and the log of all."""

    def __init__(self) -> None:
        self.reset(10**9)

    def reset(self, limit: int) -> None:
        """Start afresh."""
        self.limit = limit
        self.recent: list[float] = []
        self.log: list[tuple[float, str, bool]] = []

    def arrive(self, caller: str, moment: float) -> bool:
        """Count one arrival; False when it is one too many."""
        insort(self.recent, moment)
        while self.recent[0] <= moment - 1:
            self.recent.pop(0)
        allowed = len(self.recent) <= self.limit
        self.log.append((moment, caller, not allowed))
        return allowed


class Connection:
    """One keep-alive connection; its requests are small enough to come whole."""

    def __init__(self, connection: socket.socket, window: Window) -> None:
        self._socket = connection
        self._window = window
        self._parser = httptools.HttpRequestParser(self)
        self._url = b""
        self._moment = 0.0
        with suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, _TIMESTAMP, 1)

    def read(self) -> bool:
        """Take in what came; False when the connection ended."""
        try:
            data, notes, _, _ = self._socket.recvmsg(65536, 64)
        except ConnectionError:
            return False
        self._moment = time.time()
        for level, kind, note in notes:
            if (level, kind) == (socket.SOL_SOCKET, _TIMESTAMP):
                seconds, nanoseconds = struct.unpack("ll", note)
                self._moment = seconds + nanoseconds / 1e9
        self._parser.feed_data(data)
        return bool(data)

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
            self._answer(b"200 OK", json.dumps(sorted(self._window.log)).encode())
        elif self._window.arrive(path[1:], self._moment):
            self._answer(b"200 OK", b'{"detail":"OK"}')
        else:
            self._answer(b"403 Forbidden", b'{"detail":"Rate limit exceeded"}')

    def _answer(self, status: bytes, body: bytes) -> None:
        self._socket.setblocking(True)
        self._socket.sendall(b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body))
        self._socket.setblocking(False)


async def serve() -> None:
    """Serve until standard input ends: whoever started this may die without a word."""
    window = Window()
    loop = asyncio.get_running_loop()
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)

    def accept() -> None:
        connection, _ = listener.accept()
        connection.setblocking(False)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        peer = Connection(connection, window)

        def readable() -> None:
            if not peer.read():
                loop.remove_reader(connection)
                connection.close()

        loop.add_reader(connection, readable)

    listener.setblocking(False)
    loop.add_reader(listener, accept)
    print(listener.getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)
    uvloop.run(serve())
