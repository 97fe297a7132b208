"""Connections that carry another request only after a response that left no doubt.

A subclass of urllib3's connections. It reads each response before a deadline and up to a size, refuses interim
responses and ambiguous framing before the body is read, and closes a connection on which anything unexpected arrived.
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from http import HTTPStatus
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.wait import wait_for_read

CONNECT_TIMEOUT_SECONDS = 5.0
MAX_FRAMING_BYTES = 256 * 1024
"""Of a response's head and chunk sizes, beside its body."""
MAX_LENGTH_DIGITS = 12


class Interim(http.client.HTTPException):
    """A gateway sent an interim response; the argument is its status."""


class Ambiguous(http.client.HTTPException):
    """The headers do not say where the response ends."""


class TooLarge(http.client.HTTPException):
    """The response is larger than allowed; the argument is its beginning."""


class Exchange:
    """One request on its way: its limits, its callbacks and how far it has come."""

    def __init__(
        self, timeout_seconds: float, max_body_bytes: int, before_sending: Callable[[], None], sent: Callable[[], None]
    ) -> None:
        self.timeout_seconds = timeout_seconds
        self.max_bytes = max_body_bytes + MAX_FRAMING_BYTES
        self.is_written = False
        self.callback_error: Exception | None = None
        self._callbacks = [sent, before_sending]

    def prepare(self) -> None:
        """Call `before_sending`, once."""
        if len(self._callbacks) == 2:  # noqa: PLR2004 not called yet
            self._call(self._callbacks.pop())

    def written(self) -> None:
        """Note that the request is on its way."""
        self.is_written = True
        self._call(self._callbacks.pop())

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            callback()
        except Exception as error:
            self.callback_error = error
            raise


current_exchange: ContextVar[Exchange | None] = ContextVar("asleep_exchange", default=None)


class CheckedHttpConnection(HTTPConnection):
    """A connection for one exchange after another, as long as each response ends where its headers say."""

    is_clean = True
    """False from a request to the end of its response, and from then on when the response left doubts."""
    is_new = True
    """True until the first request is sent."""
    deadline: float | None = None
    """`time.monotonic()` moment for the last byte of the awaited response; None between two exchanges."""

    @property
    def is_connected(self) -> bool:
        """False when closed, in doubt, or when bytes arrived that belong to no request."""
        sock = self.sock
        if not self.is_clean or not isinstance(sock, socket.socket):
            return False  # TLS within TLS is no `socket.socket`; it does not report what it has received
        if not isinstance(sock, ssl.SSLSocket):
            return super().is_connected
        if self.is_new:
            return _has_only_handshake_messages(sock)
        return super().is_connected and not sock.pending()

    def connect(self) -> None:
        """Open the connection."""
        super().connect()
        self.is_clean = self.is_new = True

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send the request that belongs to the current exchange."""
        exchange = current_exchange.get()
        assert exchange is not None  # noqa: S101 HttpClient sets it
        if self.is_closed:
            self.connect()
        exchange.prepare()
        if not self.is_connected and isinstance(self.sock, socket.socket):
            raise ConnectionResetError  # by the server, while `before_sending` waited
        self.is_clean = self.is_new = False
        try:
            super().request(*args, **kwargs)
        finally:
            self.deadline = time.monotonic() + exchange.timeout_seconds
            exchange.written()

    def response_class(self, sock: Any, debuglevel: int = 0, method: str | None = None) -> "CheckedResponse":  # type: ignore[override] # a factory serves as well as a class
        """Make the response that `http.client` reads; also for a proxy's response to CONNECT.

        Args:
            sock: the connected socket.
            debuglevel: of `http.client`.
            method: of the request.
        """
        return CheckedResponse(self, sock, debuglevel, method)

    def end_response(self, *, may_be_reused: bool) -> None:
        """Keep the connection for the next exchange, or close it."""
        if self.deadline is None:
            return  # a proxy's response to CONNECT
        self.deadline = None
        self.is_clean = may_be_reused
        if not may_be_reused:
            self.close()


class CheckedHttpsConnection(CheckedHttpConnection, HTTPSConnection):
    """The same over TLS."""


class CheckedResponse(http.client.HTTPResponse):
    """A response with one clear end."""

    is_reusable = False
    """True when another response may follow on the connection."""

    def __init__(self, connection: CheckedHttpConnection, sock: Any, debuglevel: int, method: str | None) -> None:
        self._connection = connection
        self._socket = sock
        super().__init__(self, debuglevel, method=method)  # type: ignore[arg-type] # it only calls `makefile`

    def makefile(self, _mode: str) -> io.BufferedReader:
        """Called by `http.client` as it would call a socket's."""
        return _ResponseFile(_Receiver(self._socket, self._connection.deadline), self)

    def begin(self) -> None:
        """Read the head.

        Raises:
            Interim: it is not the final response.
            Ambiguous: the end of the body is not clear.
        """
        super().begin()
        if (
            HTTPStatus.CONTINUE <= self.status < HTTPStatus.OK
        ):  # `http.client` reads past 100, and takes others as final
            raise Interim(self.status)
        headers = self.headers
        lengths = {part.strip() for value in headers.get_all("content-length", ()) for part in value.split(",")}
        codings = [value.strip().lower() for value in headers.get_all("transfer-encoding", ())]
        if len(lengths) > 1 or not all(map(_is_length, lengths)) or codings not in ([], ["chunked"]):
            raise Ambiguous
        has_body = self.status not in {HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED}
        self.is_reusable = has_body and not self.will_close and not (lengths and codings)

    def file_closed(self, *, has_more: bool) -> None:
        """The response has been read, or given up."""
        self._connection.end_response(may_be_reused=self.is_reusable and not has_more)


class _ResponseFile(io.BufferedReader):
    """The bytes of one response. When it is closed it reports whether more were received than the response has."""

    def __init__(self, receiver: "_Receiver", response: CheckedResponse) -> None:
        super().__init__(receiver)
        self._receiver = receiver
        self._response = response

    def close(self) -> None:
        if not self.closed:
            self._receiver.is_over = True
            has_more = bool(self.peek(1))
            super().close()
            self._response.file_closed(has_more=has_more)


class _Receiver(io.RawIOBase):
    """Receives from a socket until a deadline, and no more bytes than the exchange allows."""

    is_over = False

    def __init__(self, sock: Any, deadline: float | None) -> None:
        super().__init__()
        exchange = current_exchange.get()
        assert exchange is not None  # noqa: S101 HttpClient sets it
        self._socket = sock
        self._bytes = sock.makefile("rb", buffering=0)
        self._deadline = deadline or time.monotonic() + CONNECT_TIMEOUT_SECONDS
        self._bytes_left = exchange.max_bytes

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self.is_over:
            return None
        seconds = self._deadline - time.monotonic()
        if seconds <= 0:
            raise TimeoutError
        self._socket.settimeout(seconds)
        received: int = self._bytes.readinto(buffer)
        self._bytes_left -= received
        if self._bytes_left < 0:
            raise TooLarge(b"")
        return received

    def close(self) -> None:
        self._bytes.close()
        super().close()


def _has_only_handshake_messages(sock: ssl.SSLSocket) -> bool:
    """True when neither data nor an end was received on a new connection; servers send session tickets early."""
    sock.settimeout(0)
    try:
        while sock.pending() or wait_for_read(sock, timeout=0):
            with suppress(ssl.SSLWantReadError):
                sock.recv(1)
                return False
    except OSError:
        return False
    return True


def _is_length(value: str) -> bool:
    return value.isascii() and value.isdecimal() and len(value) <= MAX_LENGTH_DIGITS
