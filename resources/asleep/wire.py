"""One whole answer off a socket, before a deadline.

Lives here: HTTP's framing.  Not here: connections, compression, names of failures.

An ordinary answer (HTTP/1.1 with a content-length) is taken apart here, in a tenth of the processor time that
`http.client` takes; every other one is handed on to `http.client` from its first byte.
"""

import io
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPResponse, IncompleteRead
from socket import socket
from typing import Any

RECEIVE_BYTES = 64 * 1024
_WITHOUT_BODY = ("1", "204", "304")


class TooLarge(Exception):
    """A body is larger than allowed. Its only argument is the beginning."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    """By lower-case name; of a name that comes several times, one of them."""
    body: bytes = field(repr=False)
    """Perhaps compressed."""
    is_last: bool
    """Nothing more will come over this connection."""


def read_answer(sock: socket, *, deadline: float, most_bytes: int) -> Answer:
    """Wait for an answer and read it to its end.

    Args:
        sock: with a time limit for its first bytes.
        deadline: `time.monotonic()` moment for the last byte; a socket's own limit starts anew with every byte.
        most_bytes: of the body.

    Raises:
        TooLarge: the body has more.
        OSError, http.client.HTTPException: not a whole answer.
    """
    received = sock.recv(RECEIVE_BYTES)
    head, blank_line, begun = received.partition(b"\r\n\r\n")
    status_and_headers = _ordinary(head) if blank_line else None
    if status_and_headers is None or (length := int(status_and_headers[1]["content-length"])) > most_bytes:
        return _read_by_the_book(_Replay(received, sock, deadline), most_bytes)
    status, headers = status_and_headers
    pieces, missing = [begun], length - len(begun)
    while missing > 0:
        piece = _receive(sock, min(missing, RECEIVE_BYTES), deadline)
        if not piece:
            raise IncompleteRead(b"", missing)
        pieces.append(piece)
        missing -= len(piece)
    body = b"".join(pieces) if len(pieces) > 1 else begun
    is_last = missing < 0 or headers.get("connection", "").lower() == "close"
    return Answer(status, headers, body[:length], is_last)


def _ordinary(head: bytes) -> tuple[int, dict[str, str]] | None:
    """Status and headers of an answer whose body has a plain length; None for all others."""
    status_line, *lines = head.decode("latin-1").split("\r\n")
    version, _, status = status_line[:12].partition(" ")
    if version != "HTTP/1.1" or len(status) != 3 or not status.isdecimal() or status.startswith(_WITHOUT_BODY):  # noqa: PLR2004
        return None
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    length = headers.get("content-length", "")
    is_ordinary = (
        length.isdecimal() and length.isascii() and "transfer-encoding" not in headers and len(headers) == len(lines)
    )
    return (int(status), headers) if is_ordinary else None


def _receive(sock: socket, most_bytes: int, deadline: float) -> bytes:
    remaining = deadline - time.monotonic()
    if remaining <= 0:
        raise TimeoutError
    sock.settimeout(remaining)
    return sock.recv(most_bytes)


class _Replay(io.RawIOBase):
    """What was received already, then what the socket delivers until the deadline; in the form `http.client` wants."""

    def __init__(self, received: bytes, sock: socket, deadline: float) -> None:
        super().__init__()
        self._received = received
        self._socket = sock
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self._received = self._received[: len(buffer)], self._received[len(buffer) :]
        data = data or _receive(self._socket, len(buffer), self._deadline)
        buffer[: len(data)] = data
        return len(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)


def _read_by_the_book(stream: Any, most_bytes: int) -> Answer:
    response = HTTPResponse(stream, method="GET")
    response.begin()
    chunks, size = [], 0
    while chunk := response.read(RECEIVE_BYTES):
        chunks.append(chunk)
        size += len(chunk)
        if size > most_bytes:
            raise TooLarge(b"".join(chunks))
    if response.length:
        raise IncompleteRead(b"", response.length)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status, headers, b"".join(chunks), is_last=response.will_close)
