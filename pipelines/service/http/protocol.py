"""HTTP/1.1 with deadlines for heads and unread responses, and bounds for open connections.

Uvicorn sets no deadline for a client that connects and sends nothing, or one byte a minute, or reads nothing. Bodies
are bounded where they are read.
"""

import asyncio
from collections import defaultdict
from ipaddress import ip_address, ip_network
from weakref import WeakKeyDictionary

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from pipelines.service.http.clients import address_group

_BAD_REQUEST = b'{"detail":"The request is not valid HTTP/1.1."}'


class _OpenConnections:
    """The connections of one worker. Requests in progress are never closed here.

    A client that connects and sends nothing costs almost nothing to it. So the connections of one address (of IPv6
    one /64 network), and of all together, are bounded: the one that has been idle longest is closed. A trusted proxy
    carries many clients: only the total bounds its connections.
    """

    def __init__(self, protocol: "BoundedProtocol") -> None:
        allowed = protocol.config.forwarded_allow_ips or []
        proxies = allowed.split(",") if isinstance(allowed, str) else allowed
        self._trusted_proxies = [ip_network(proxy, strict=False) for proxy in proxies]
        self._max_connections = protocol.max_connections
        self._max_idle_per_address = protocol.max_idle_per_address
        self._open = 0
        self._idle: dict[asyncio.Transport, str] = {}
        self._idle_of: defaultdict[str, dict[asyncio.Transport, None]] = defaultdict(dict)

    def opened(self, connection: asyncio.Transport, host: str) -> None:
        self._open += 1
        self.became_idle(connection, host)
        if self._open > self._max_connections:
            self._close_longest_idle(self._idle)

    def became_idle(self, connection: asyncio.Transport, host: str) -> None:
        address = address_group(host)
        self._idle[connection] = address
        theirs = self._idle_of[address]
        theirs[connection] = None
        if len(theirs) > self._max_idle_per_address and not self._is_trusted(host):
            self._close_longest_idle(theirs)

    def became_busy(self, connection: asyncio.Transport) -> None:
        address = self._idle.pop(connection, None)
        if address is not None:
            theirs = self._idle_of[address]
            theirs.pop(connection, None)
            if not theirs:
                del self._idle_of[address]

    def closed(self, connection: asyncio.Transport) -> None:
        self._open -= 1
        self.became_busy(connection)

    def _close_longest_idle(self, among: dict[asyncio.Transport, None] | dict[asyncio.Transport, str]) -> None:
        longest = next(iter(among), None)
        if longest is not None:
            self.became_busy(longest)
            longest.abort()

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ip_address(host)
        except ValueError:
            return False
        return any(address in proxy for proxy in self._trusted_proxies)


_OPEN: WeakKeyDictionary[ServerState, _OpenConnections] = WeakKeyDictionary()
"""Of each server in this process: one, except in tests."""


class BoundedProtocol(H11Protocol):
    """Closes connections that take too long over a head, a body that nothing reads, or a response; and idle ones."""

    head_seconds = 10.0
    unread_seconds = 3.0
    """For a client that goes on sending a body that was answered before its end."""
    unsent_seconds = 30.0
    """For a client that does not read its response."""
    max_connections = 2000
    max_idle_per_address = 200
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None
    _unsent_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected: its head has to arrive in time."""
        super().connection_made(transport)
        self._expect_head()
        self._open_connections().opened(self.transport, self._host())

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body; the first bytes after a finished exchange begin a new head."""
        if self._head_timer is None and self._is_between_requests():
            self._expect_head()
        super().data_received(data)
        if not self._is_between_requests():
            self._head_timer = _cancelled(self._head_timer)
            self._open_connections().became_busy(self.transport)
        if self.conn.their_state is not h11.SEND_BODY:
            self._unread_timer = _cancelled(self._unread_timer)

    def on_response_complete(self) -> None:
        """Answered; if the body has not ended yet, it has to soon."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        if self.conn.their_state is h11.SEND_BODY:
            self._unread_timer = self.loop.call_later(self.unread_seconds, self.transport.close)
        elif self._is_between_requests():
            self._open_connections().became_idle(self.transport, self._host())

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        for timer in (self._head_timer, self._unread_timer, self._unsent_timer):
            _cancelled(timer)
        self._open_connections().closed(self.transport)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read as fast as we write."""
        super().pause_writing()
        self._unsent_timer = _cancelled(self._unsent_timer)
        self._unsent_timer = self.loop.call_later(self.unsent_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        """The client has read."""
        self._unsent_timer = _cancelled(self._unsent_timer)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in JSON like every refusal."""
        del msg
        self._head_timer = _cancelled(self._head_timer)
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
        self._head_timer = self.loop.call_later(self.head_seconds, self._give_up)

    def _give_up(self) -> None:
        self._head_timer = None
        if self._is_between_requests():
            self.transport.abort()

    def _host(self) -> str:
        return self.client[0] if self.client else "unknown"

    def _open_connections(self) -> _OpenConnections:
        if self.server_state not in _OPEN:
            _OPEN[self.server_state] = _OpenConnections(self)
        return _OPEN[self.server_state]


def _cancelled(timer: asyncio.TimerHandle | None) -> asyncio.TimerHandle | None:
    if timer is not None:
        timer.cancel()
    return None
