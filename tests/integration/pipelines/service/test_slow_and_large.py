"""Clients that mean harm: slow, endless, malformed. The service stays there for the others."""

import asyncio
import contextlib
import select
import socket
import time
from collections.abc import Callable, Iterator

import pytest
from serving import KEY, Service, await_truth, served
from sqlalchemy import Engine, text

from pipelines.service.http.protocol import BoundedProtocol

PATIENCE_SECONDS = 30
HEAD = f"POST /webhooks/asleep HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\n".encode()


@pytest.fixture(scope="module")
def service(serve_app: Callable[..., Service], database_url: str) -> Service:
    return serve_app(served(database_url, api_keys=(KEY,), body_seconds=1), Hurried)


class Hurried(BoundedProtocol):
    """As in production, with shorter time-outs, and little room for what a client does not read."""

    head_seconds = 1.0
    unread_seconds = 1.0
    unsent_seconds = 1.0

    def connection_made(self, transport: asyncio.Transport) -> None:
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        super().connection_made(transport)


@contextlib.contextmanager
def connected(service: Service) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", service.port), timeout=PATIENCE_SECONDS) as connection:
        yield connection


def everything(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(65536):
            parts.append(part)
    return b"".join(parts)


def drip(connection: socket.socket, byte: bytes) -> bytes:
    """Send one byte again and again until the server closes; what it said."""
    connection.settimeout(0.1)
    said = b""
    deadline = time.monotonic() + PATIENCE_SECONDS
    with contextlib.suppress(ConnectionError):
        while time.monotonic() < deadline:
            connection.send(byte)
            with contextlib.suppress(TimeoutError):
                part = connection.recv(65536)
                if not part:
                    return said
                said += part
    assert time.monotonic() < deadline, "the server never closed"
    return said


def test_a_slow_body_is_given_up(service: Service):
    """Each byte in time, the whole never."""
    with connected(service) as connection:
        connection.sendall(HEAD + b"content-length: 100000\r\n\r\n{")
        assert b" 408 " in drip(connection, b" ")


def test_a_slow_head_is_given_up(service: Service):
    """A thousand of these would fill every connection."""
    with connected(service) as connection:
        connection.sendall(b"POST /webhooks/asleep HTTP/1.1\r\nx-slow: ")
        assert drip(connection, b"a") == b""


def test_a_silent_client_is_given_up(service: Service):
    """Connecting and saying nothing is the cheapest attack."""
    with connected(service) as connection:
        assert everything(connection) == b""


def test_a_second_slow_head_on_one_connection_is_given_up(service: Service):
    """The deadline holds for every request, not only the first."""
    with connected(service) as connection:
        connection.sendall(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        connection.sendall(b"GET /live HTTP/1.1\r\nx-slow: ")
        assert b"200" not in drip(connection, b"a")


def test_an_unread_body_ends_the_connection(service: Service):
    """A stranger with a wrong key may not keep a connection busy with an endless body."""
    with connected(service) as connection:
        connection.sendall(
            b"POST /webhooks/asleep HTTP/1.1\r\nhost: x\r\nx-api-key: no\r\ntransfer-encoding: chunked\r\n\r\n"
        )
        assert b" 401 " in drip(connection, b"1\r\na\r\n")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64,
        b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /live HTTP/1.1\r\n" + b"x-many: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /live HTTP/1.1\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(20_000)) + b"\r\n",
        HEAD + b"content-length: -1\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n{}",
        HEAD + b"transfer-encoding: chunked\r\n\r\nzz\r\n",
        b"\x00" * 1000 + b"\r\n\r\n",
    ],
    ids=["TLS", "long path", "long header", "many headers", "negative", "two lengths", "bad chunk", "zeros"],
)
def test_what_is_not_http_is_refused_as_json_or_cut_off(service: Service, sent: bytes):
    """And never with a stack trace."""
    with connected(service) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(sent)
        said = everything(connection)
    assert said == b"" or b'{"detail":' in said
    assert b" 500 " not in said
    assert service.get("/live").status_code == 200


def test_a_declared_giant_is_refused_before_it_is_sent(service: Service):
    """Ten gigabytes need not arrive to be too many."""
    with connected(service) as connection:
        connection.sendall(HEAD + b"content-length: 10000000000\r\n\r\n")
        assert b" 413 " in drip(connection, b" " * 1000)


def test_a_body_cut_off_is_not_stored(service: Service, engine: Engine):
    """Half an event is none."""
    with connected(service) as connection:
        connection.sendall(HEAD + b'content-length: 100\r\n\r\n{"half": 1}')
    assert service.event(b'{"whole": 1}').status_code == 200
    with engine.connect() as database:
        bodies = database.scalars(text("SELECT convert_from(body, 'UTF8') FROM asleep.webhook_events")).all()
    assert bodies == ['{"whole": 1}']


def test_honest_clients_are_served_beside_many_slow_ones(service: Service):
    """The slow ones wait in the event loop, not in threads."""
    with contextlib.ExitStack() as stack:
        for _ in range(300):
            connection = stack.enter_context(connected(service))
            connection.sendall(HEAD + b"content-length: 1000\r\n\r\n{")
        for number in range(20):
            assert service.event(f'{{"honest": {number}}}').status_code == 200


class Crowded(BoundedProtocol):
    """As in production, with fewer connections."""

    max_connections = 30
    max_idle_per_address = 10


def idle_connection(service: Service, source: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS, source_address=(source, 0))
    connection.sendall(b"GET /live HTTP/1.1\r\nhost: x\r\n\r\n")
    received = b""
    while not received.endswith(b'{"status":"live"}'):  # until then the connection is not idle
        received += connection.recv(65536)
        assert received.startswith(b"HTTP/1.1 200 OK")
    return connection


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_idle_connections_of_one_address_are_bounded(serve_app: Callable[..., Service], database_url: str):
    """The one that is idle longest makes room, so that an address can neither block others nor itself."""
    service = serve_app(served(database_url, api_keys=(KEY,)), Crowded)
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(idle_connection(service, "127.0.0.2"))
        crowd = [stack.enter_context(idle_connection(service, "127.0.0.3")) for _ in range(25)]
        assert service.get("/live").status_code == 200
        kept = [number for number, connection in enumerate(crowd) if is_open(connection)]
        assert len(kept) == 10
        assert kept[-8:] == list(range(17, 25))  # neighbours may become idle in another order
        assert is_open(other)


def test_silent_connections_of_many_addresses_are_bounded(serve_app: Callable[..., Service], database_url: str):
    """Also those that have not sent a byte, and those of trusted proxies, which carry many clients."""
    service = serve_app(served(database_url, api_keys=(KEY,)), Crowded, trusted_proxies=("127.0.0.0/29",))
    with contextlib.ExitStack() as stack:
        for number in range(100):
            source = (f"127.0.0.{2 + number % 5}", 0)
            stack.enter_context(socket.create_connection(("127.0.0.1", service.port), PATIENCE_SECONDS, source))
        assert service.get("/live").status_code == 200
        trusted = [stack.enter_context(idle_connection(service, "127.0.0.3")) for _ in range(25)]
        assert all(map(is_open, trusted))


def test_unfinished_bodies_take_bounded_memory(serve_app: Callable[..., Service], database_url: str):
    """Hundreds of bodies that never end would fill a worker's memory."""
    options = served(database_url, api_keys=(KEY,), unfinished_bodies_bytes=300_000)
    service = serve_app(options)
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(connected(service)) for _ in range(6)]
        for connection in slow:
            connection.sendall(HEAD + b"content-length: 200000\r\n\r\n" + b" " * 100_000)
        answers = [everything(connection) for connection in ready_to_read(slow, at_least=3)]
        assert len(answers) == 3
        for answer in answers:
            assert all(part in answer for part in (b" 503 ", b"retry-after: ", b'{"detail":'))
    await_truth(lambda: service.event(b'{"n": "%s"}' % (b" " * 250_000)).status_code == 200)


def ready_to_read(connections: list[socket.socket], *, at_least: int) -> list[socket.socket]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(ready := select.select(connections, [], [], 0.2)[0]) < at_least:
        assert time.monotonic() < deadline
    return ready


def test_too_many_requests_in_progress_are_refused_and_the_process_is_still_live(
    serve_app: Callable[..., Service], database_url: str
):
    """A process that is busy must not be restarted for it."""
    service = serve_app(served(database_url, api_keys=(KEY,), requests_at_once=3))
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            connection = stack.enter_context(connected(service))
            connection.sendall(HEAD + b"content-length: 1000\r\n\r\n{")
        await_truth(lambda: service.event(b"{}").status_code == 503)
        answer = service.event(b"{}")
        assert (list(answer.json()), int(answer.headers["retry-after"]) > 0) == (["detail"], True)
        assert service.get("/live").status_code == 200
    await_truth(lambda: service.event(b"{}").status_code == 200)


def test_a_client_that_does_not_read_its_answers_is_given_up(service: Service):
    """Answers that are not read fill memory, and their request never ends."""
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(0.1)
        connection.connect(("127.0.0.1", service.port))
        request = b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 20
        await_truth(lambda: is_refused(connection, request), seconds=3 * PATIENCE_SECONDS)


def is_refused(connection: socket.socket, data: bytes) -> bool:
    """Whether the other side has closed the connection; it hears of us only when we send."""
    try:
        connection.send(data)
    except TimeoutError:
        return False
    except ConnectionError:
        return True
    return False


def test_the_deadlines_are_short():
    """What the tests above do not wait for."""
    assert BoundedProtocol.head_seconds <= 10
    assert BoundedProtocol.unread_seconds <= 10
    assert BoundedProtocol.unsent_seconds <= 60
