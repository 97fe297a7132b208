"""HTTP/1.1 with deadlines for heads and unread responses, and bounds for open connections.

Uvicorn sets no deadline for a client that connects and sends nothing, or one byte a minute, or reads nothing. Bodies
are bounded where they are read.
"""

import asyncio
from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from pipelines.service.http.clients import address_group

_BAD_REQUEST = b'{"detail":"The request is not valid HTTP/1.1."}'


class BoundedProtocol(H11Protocol):
    """Closes connections that take too long over a head, a body that nothing reads, or a response; and idle ones.

    A client that connects and sends nothing costs almost nothing to it. So the idle connections of one address (of
    IPv6 one /64 network), and all connections together, are bounded: the one that has been idle longest is closed. A
    trusted proxy carries many clients: only the total bounds its connections. Requests in progress are never closed
    for this.
    """

    head_seconds = 10.0
    unread_seconds = 3.0
    """For a client that goes on sending a body that was answered before its end."""
    unsent_seconds = 30.0
    """For a client that does not read its response."""
    max_connections = 2000
    max_idle_per_address = 200

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self.address = ""
        self._is_trusted = False
        self.idle_since: float | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: its head has to arrive in time."""
        super().connection_made(transport)
        host = self.client[0] if self.client else "unknown"
        self.address = address_group(host)
        self._is_trusted = _is_among(host, self.config.forwarded_allow_ips or [])
        self._expect_head()
        self._become_idle()
        if len(self.connections) > self.max_connections:
            self._close_longest_idle(self._idle_connections())

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body; the first bytes after a finished exchange begin a new head."""
        if "head" not in self._timers and self._is_between_requests():
            self._expect_head()
        super().data_received(data)
        if not self._is_between_requests():
            self._stop("head")
            self.idle_since = None
        if self.conn.their_state is not h11.SEND_BODY:
            self._stop("unread")

    def on_response_complete(self) -> None:
        """Answered; if the body has not ended yet, it has to soon."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY:
            self._start("unread", self.unread_seconds, self.transport.close)
        elif self._is_between_requests():
            self._become_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        for name in list(self._timers):
            self._stop(name)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self._start("unsent", self.unsent_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        self._stop("unsent")
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in JSON like every refusal."""
        del msg
        self._stop("head")
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(_BAD_REQUEST)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=_BAD_REQUEST),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _is_between_requests(self) -> bool:
        return bool(self.conn.their_state is h11.IDLE)

    def _expect_head(self) -> None:
        self._start("head", self.head_seconds, self._give_up)

    def _give_up(self) -> None:
        self._stop("head")
        if self._is_between_requests():
            self.transport.abort()

    def _start(self, name: str, seconds: float, action: Callable[[], None]) -> None:
        self._stop(name)
        self._timers[name] = self.loop.call_later(seconds, action)

    def _stop(self, name: str) -> None:
        if name in self._timers:
            self._timers.pop(name).cancel()

    def _become_idle(self) -> None:
        self.idle_since = self.loop.time()
        theirs = [each for each in self._idle_connections() if each.address == self.address]
        if len(theirs) > self.max_idle_per_address and not self._is_trusted:
            self._close_longest_idle(theirs)

    def _idle_connections(self) -> "list[BoundedProtocol]":
        return [each for each in self.connections if isinstance(each, BoundedProtocol) and each.idle_since is not None]

    def _close_longest_idle(self, idle: "list[BoundedProtocol]") -> None:
        if idle:
            longest = min(idle, key=lambda each: each.idle_since or 0)
            longest.idle_since = None
            longest.transport.abort()


def _is_among(host: str, networks: list[str] | str) -> bool:
    try:
        address = ip_address(host)
    except ValueError:
        return False
    among = networks.split(",") if isinstance(networks, str) else networks
    return any(address in ip_network(network, strict=False) for network in among)
