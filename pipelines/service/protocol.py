"""HTTP/1.1 with a deadline for the head of every request.

Uvicorn waits for ever for a client that connects and sends nothing, or one byte a minute. Bodies are bounded where
they are read; heads are bounded here.

Lives here: the deadline, and bad requests answered as JSON.  Not here: routes, bodies.
"""

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

_BAD_REQUEST = b'{"detail":"The request is not valid HTTP/1.1."}'


class TimedProtocol(H11Protocol):
    """Closes connections that take too long over a request's head, or over a body that nobody waits for."""

    head_seconds = 10.0
    unread_seconds = 3.0
    """So long may a client go on sending a body that was answered before its end."""
    _head_timer: asyncio.TimerHandle | None = None
    _unread_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected and owes us a head."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Bytes of a head or a body; the first bytes after a finished exchange begin a new head."""
        if self._head_timer is None and self._is_between_requests():
            self._expect_head()
        super().data_received(data)
        if not self._is_between_requests():
            self._forget_head_timer()
        if self.conn.their_state is not h11.SEND_BODY:
            self._forget_unread_timer()

    def on_response_complete(self) -> None:
        """Answered; if the body has not ended yet, it has to soon."""
        super().on_response_complete()
        if self.conn.their_state is h11.SEND_BODY and not self.transport.is_closing():
            self._unread_timer = self.loop.call_later(self.unread_seconds, self.transport.close)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._forget_head_timer()
        self._forget_unread_timer()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Refuse what is not HTTP, in JSON like every refusal."""
        del msg
        self._forget_head_timer()
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

    def _forget_head_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _forget_unread_timer(self) -> None:
        if self._unread_timer is not None:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._is_between_requests():
            self.transport.abort()
