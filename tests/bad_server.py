"""A small HTTP server that behaves as badly as a test wants."""

import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field


@dataclass
class Request:
    """What arrived."""

    target: str
    headers: dict[str, str]
    number: int
    """1 for the first request at this server."""


class Wire:
    """The server's end of a connection."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._pending = b""

    def send(self, *parts: bytes) -> None:
        """Send as it is; over TLS each part is a record of its own, or several when it is long.

        All of it arrives together where the system can do that (Linux): what belongs to no request is then there when
        the client looks for it. Bytes that arrive after the client has sent its next request cannot be told apart.
        """
        self._cork(1)
        for part in parts:
            self._socket.sendall(part)
        self._cork(0)

    def _cork(self, value: int) -> None:
        if hasattr(socket, "TCP_CORK"):
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, value)

    def answer(self, status: int, body: bytes, *headers: str) -> None:
        """Send a whole, well-formed answer."""
        lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
        self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def reset(self) -> None:
        """Break the connection off, as a crashing server does."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
        self.hang_up()

    def hang_up(self) -> None:
        """Close the connection."""
        self._socket.close()

    def splice(self, other: socket.socket) -> None:
        """Pass bytes both ways between this connection and another until both have ended."""

        def copy(source: socket.socket, target: socket.socket) -> None:
            with suppress(OSError):
                while data := source.recv(65536):
                    target.sendall(data)
            with suppress(OSError):
                target.shutdown(socket.SHUT_WR)

        back = threading.Thread(target=copy, args=(other, self._socket), daemon=True)
        back.start()
        copy(self._socket, other)
        back.join(10)

    def next_head(self) -> bytes:
        """The head of the next request, empty when the client has hung up."""
        while b"\r\n\r\n" not in self._pending:
            chunk = self._socket.recv(65536)
            if not chunk:
                return b""
            self._pending += chunk
        head, _, self._pending = self._pending.partition(b"\r\n\r\n")
        return head


Behaviour = Callable[[Wire, Request], None]


@dataclass
class Server:
    """A server that hands each request to one function."""

    behaviour: Behaviour
    tls: ssl.SSLContext | None = None
    greeting: bytes = b""
    """Sent on the first connection before a request arrives."""
    ready: threading.Event = field(default_factory=threading.Event)
    """Set when the first connection is open."""
    requests: list[Request] = field(default_factory=list)
    connections: int = 0

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self.connections += 1
                self._open.append(sock)
                thread = threading.Thread(target=self._converse, args=(sock,), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _converse(self, sock: socket.socket) -> None:
        with suppress(OSError):
            if self.tls:
                sock = self.tls.wrap_socket(sock, server_side=True)
                self._open.append(sock)
            wire = Wire(sock)
            if not self.ready.is_set():
                wire.send(self.greeting)
                self.ready.set()
            while head := wire.next_head():
                first, *lines = head.decode("latin-1").split("\r\n")
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                with self._lock:
                    request = Request(first.split(" ")[1], headers, len(self.requests) + 1)
                    self.requests.append(request)
                self.behaviour(wire, request)

    def stop(self) -> None:
        """Close everything and wait for the threads."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
            sock.close()
        for thread in self._threads:
            thread.join(10)
