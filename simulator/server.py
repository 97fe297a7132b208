"""HTTP/1.1 over asyncio, only as much as the simulator needs, and fast."""

import asyncio
import socket
import struct
import time
from collections import deque
from collections.abc import Coroutine, Iterator
from http import HTTPStatus
from typing import Any, cast

import httptools

from simulator.application import Application
from simulator.messages import ApiError, Request, Response, parsed_query

LARGEST_BODY = 16 * 1024 * 1024
DRIP_PIECES = 20
REASON = {status.value: status.phrase for status in HTTPStatus}
INTERIM_HEADERS = {103: ["link: </style.css>; rel=preload"]}
NO_LINGER = struct.pack("ii", 1, 0)


class Listener:
    """Listens on one address, and can be away from it for a while."""

    def __init__(self, application: Application, host: str, port: int) -> None:
        self._application = application
        self._address = (host, port)
        self._connections: set[Connection] = set()
        self._return: asyncio.Task[None] | None = None
        application.control.away_for = self._leave_for

    async def start(self) -> int:
        """Listen; answers the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: Connection(self._application, self._connections), *self._address, backlog=1024
        )
        self._address = (self._address[0], self._server.sockets[0].getsockname()[1])
        return self._address[1]

    def stop(self) -> None:
        """Listen no longer and hang up on everybody."""
        self._server.close()
        for connection in tuple(self._connections):
            connection.reset()

    def _leave_for(self, seconds: float) -> None:
        self._return = asyncio.get_running_loop().create_task(self._be_away(seconds))

    async def _be_away(self, seconds: float) -> None:
        await asyncio.sleep(0.05)  # so that the call that asked for this is answered
        self.stop()
        await asyncio.sleep(seconds)
        await self.start()


class Connection(asyncio.Protocol):
    """One keep-alive connection; its requests are answered one after another."""

    def __init__(self, application: Application, connections: set["Connection"]) -> None:
        self._application = application
        self._connections = connections
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Request] = deque()
        self._busy = False
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """A client has connected."""
        self._transport = cast("asyncio.Transport", transport)
        self._parser = httptools.HttpRequestParser(self)
        self._connections.add(self)
        self._application.traffic.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 (asyncio's signature)
        """The client is gone: stop what is still being sent."""
        self._connections.discard(self)
        self._writable.set()
        if self._task:
            self._task.cancel()

    def pause_writing(self) -> None:
        """The client reads slower than we write."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._writable.set()

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._send(Response(400, b'{"detail":"malformed request"}'), close=True)

    def on_message_begin(self) -> None:
        """A request begins."""
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body = b""

    def on_url(self, url: bytes) -> None:
        """Part of the request target."""
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header.

        Args:
            name: of the header.
            value: of the header.
        """
        self._headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """A client that asks before it sends a body may send it."""
        if self._headers.get("expect", "").lower() == "100-continue":
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Part of the request's body."""
        self._body += body
        if len(self._body) > LARGEST_BODY:
            self._send(Response(413, b'{"detail":"too large"}'), close=True)

    def on_message_complete(self) -> None:
        """The request is there in full."""
        path, _, query = self._url.decode("latin-1").partition("?")
        parameters = parsed_query(query) if query else {}
        method = self._parser.get_method().decode("latin-1")
        request = Request(method, path, parameters, self._headers, self._body, time.monotonic())
        if not self._parser.should_keep_alive():
            request.headers["connection"] = "close"
        self._waiting.append(request)
        if not self._busy:
            self._answer_next()

    def _answer_next(self) -> None:
        while self._waiting and not self._busy and not self._transport.is_closing():
            request = self._waiting.popleft()
            response = self._response_to(request)
            delay = self._application.world.behaviour.latency_seconds
            if delay and not request.path.startswith("/_simulator/"):
                self._later(self._send_later(response, request, delay))
            elif response.chunks or response.work or response.delivery.manner != "whole":
                self._later(self._send_specially(response, request))
            else:
                self._send(response, close=request.headers.get("connection") == "close")

    def _response_to(self, request: Request) -> Response:
        try:
            return self._application.answer(request)
        except Exception as error:  # noqa: BLE001 (a mistake of ours must be seen by the test that caused it)
            message = {"exception": repr(error), "context": f"{request.method} {request.path}"}
            self._loop.call_exception_handler({"message": str(message), "exception": error})
            return ApiError(500, f"the simulator failed: {error!r}").response()

    def _later(self, sending: Coroutine[Any, Any, None]) -> None:
        self._busy = True
        self._task = self._loop.create_task(sending)

    async def _send_later(self, response: Response, request: Request, delay: float) -> None:
        await asyncio.sleep(delay)
        await self._send_specially(response, request)

    async def _send_specially(self, response: Response, request: Request) -> None:
        if response.work:
            response = await asyncio.to_thread(response.work)
        manner = response.delivery.manner
        close = request.headers.get("connection") == "close"
        if manner == "reset":
            self.reset()
        elif manner == "never":
            await asyncio.Event().wait()
        elif manner == "truncated":
            head = _head(response, len(response.body) + 1000, close=True)
            self._transport.write(head + response.body[: len(response.body) // 2])
            self._transport.close()
        elif manner == "drip":
            await self._drip(response, close=close)
        elif manner == "late_body":
            self._transport.write(_head(response, None, close=False))
            await asyncio.sleep(response.delivery.seconds)
            self._transport.write(response.body)
        elif manner == "raw":
            self._transport.write(response.delivery.raw)
        elif response.chunks:
            await self._stream(response, response.chunks, close=close)
        else:
            self._send(response, close=close)
        self._busy = False
        self._answer_next()

    def _send(self, response: Response, *, close: bool) -> None:
        self._transport.write(_head(response, len(response.body), close=close) + response.body)
        if close:
            self._transport.close()

    async def _stream(self, response: Response, chunks: Iterator[bytes], *, close: bool) -> None:
        self._transport.write(_head(response, None, close=close))
        for chunk in chunks:
            if chunk:
                self._transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
            await self._writable.wait()
            await asyncio.sleep(0)
        self._transport.write(b"0\r\n\r\n")
        if close:
            self._transport.close()

    async def _drip(self, response: Response, *, close: bool) -> None:
        body = response.body
        self._transport.write(_head(response, len(body), close=close))
        size = max(1, -(-len(body) // DRIP_PIECES))
        for start in range(0, len(body), size):
            await asyncio.sleep(response.delivery.seconds / DRIP_PIECES)
            self._transport.write(body[start : start + size])
        if close:
            self._transport.close()

    def reset(self) -> None:
        """Hang up so that the client sees a reset, not an end."""
        found = self._transport.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._transport.abort()


def _head(response: Response, length: int | None, *, close: bool) -> bytes:
    """Status line and headers; without a length the body follows in chunks."""
    lines = [f"HTTP/1.1 {response.status} {REASON.get(response.status, 'Unknown')}"]
    for status in reversed(response.delivery.interim):
        lines[:0] = [f"HTTP/1.1 {status} {REASON.get(status, 'Unknown')}", *INTERIM_HEADERS.get(status, ()), ""]
    if response.status not in (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED):
        lines.append(f"content-type: {response.content_type}")
        lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    lines += [f"{name}: {value}" for name, value in response.headers.items()]
    if close:
        lines.append("connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1")
