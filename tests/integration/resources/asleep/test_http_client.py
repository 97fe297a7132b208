"""One request over a real connection: with good servers, bad ones and hostile ones."""

import base64
import gzip
import logging
import socket
import ssl
import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.asleep.errors import AsleepError, InterimResponse, Malformed, RequestRefused, Unavailable
from resources.asleep.http.http_client import HttpClient, HttpResponse
from tests.bad_server import Behaviour, Request, Server, Wire

KEY = "key-that-nobody-may-see"
USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"
PATH = f"/ai/v1/users/{USER}"

Serve = Callable[..., Server]


def ask(client: HttpClient) -> HttpResponse:
    return client.get(PATH, {"date_gte": "2026-03-07"}, {"x-user-id": USER})


def fail(client: HttpClient) -> AsleepError:
    with pytest.raises(AsleepError) as caught:
        ask(client)
    return caught.value


def answering(status: int = 200, body: bytes = b"{}", *headers: str) -> Behaviour:
    return lambda wire, _: wire.answer(status, body, *headers)


def test_a_request_carries_the_key_and_what_it_was_given(serve: Serve):
    server = serve(answering(200, b'{"a": 1}', "Retry-After: 7", "Date: Mon, 23 Nov 2026 15:00:00 GMT"))
    with HttpClient(server.url + "/prefix/", KEY) as client:
        reply = ask(client)

    assert reply == HttpResponse(200, b'{"a": 1}', "7", "Mon, 23 Nov 2026 15:00:00 GMT")
    (request,) = server.requests
    assert request.target == f"/prefix{PATH}?date_gte=2026-03-07"
    assert request.headers["x-api-key"] == KEY
    assert request.headers["x-user-id"] == USER
    assert request.headers["accept-encoding"] == "gzip"


@pytest.mark.parametrize("status", [201, 204, 301, 403, 404, 429, 500])
def test_every_status_comes_back_as_it_is(serve: Serve, status: int):
    """The exchange has no opinion; redirects above all are not followed."""
    elsewhere = serve(answering())
    server = serve(answering(status, b"" if status == 204 else b"body", f"Location: {elsewhere.url}/"))
    with HttpClient(server.url, KEY) as client:
        assert ask(client).status == status
    assert elsewhere.requests == []
    assert len(server.requests) == 1


def test_connections_are_used_again(serve: Serve):
    """A TLS handshake per request would cost more than the request."""
    server = serve(answering())
    with HttpClient(server.url, KEY) as client:
        for _ in range(20):
            ask(client)
    assert server.connections == 1


def test_threads_share_connections_and_answers_do_not_mix(serve: Serve):
    """Up to 64 threads ask through one pool; each must get its own answer."""
    server = serve(lambda wire, request: wire.answer(200, request.headers["x-user-id"].encode()))
    with HttpClient(server.url, KEY, max_connections=8) as client, ThreadPoolExecutor(64) as threads:
        users = [f"user-{number}" for number in range(640)]
        replies = threads.map(lambda user: client.get("/", {}, {"x-user-id": user}).body.decode(), users)
        assert list(replies) == users
    assert server.connections <= 8


def test_a_connection_that_the_server_closed_is_replaced(serve: Serve):
    """Servers close idle connections between two syncs; that is no failure."""

    def answer_and_close(wire: Wire, _: Request) -> None:
        wire.answer(200, b"{}", "Connection: close")
        wire.hang_up()

    server = serve(answer_and_close)
    with HttpClient(server.url, KEY) as client:
        for _ in range(3):
            assert ask(client).status == 200
    assert server.connections == 3


def reset(wire: Wire, _: Request) -> None:
    wire.reset()


def reset_in_the_body(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{")
    wire.reset()


def truncate(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}")
    wire.hang_up()


def truncate_chunks(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n")
    wire.hang_up()


def speak_another_protocol(wire: Wire, _: Request) -> None:
    wire.send(b"220 mail.example ESMTP\r\n")
    wire.hang_up()


def endless_header(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n")
    wire.hang_up()


@pytest.mark.parametrize(
    "behaviour", [reset, reset_in_the_body, truncate, truncate_chunks, speak_another_protocol, endless_header]
)
def test_half_an_answer_is_none(serve: Serve, behaviour: Behaviour):
    """A truncated list would look like deleted sessions."""
    with HttpClient(serve(behaviour).url, KEY, max_connections=1) as client:
        for _ in range(3):
            assert type(fail(client)) is Unavailable


def test_a_closed_port_is_unavailable(serve: Serve):
    server = serve(answering())
    server.stop()
    with HttpClient(server.url, KEY) as client:
        assert str(fail(client)) == "no connection could be made (Connection refused)"


def say_nothing(wire: Wire, _: Request) -> None:
    wire.next_head()


def drip_header(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nX-Slow: ")
    while True:
        time.sleep(0.05)
        wire.send(b"x")


def drip_body(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while True:
        time.sleep(0.05)
        wire.send(b"x")


def drip_chunks(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while True:
        time.sleep(0.05)
        wire.send(b"1\r\nx\r\n")


@pytest.mark.parametrize("behaviour", [say_nothing, drip_header, drip_body, drip_chunks])
def test_an_answer_that_does_not_end_in_time_is_given_up(serve: Serve, behaviour: Behaviour):
    """A time-out per read never strikes while single bytes keep coming: a thread would hang for hours."""
    with HttpClient(serve(behaviour).url, KEY, timeout_seconds=0.5, max_connections=1) as client:
        for _ in range(2):
            assert str(fail(client)) == "no complete response within 0.5 seconds"


def test_the_deadline_is_for_one_exchange_not_for_a_connection(serve: Serve):
    """A connection older than the time-out must still serve."""
    server = serve(answering())
    with HttpClient(server.url, KEY, timeout_seconds=1) as client:
        until = time.monotonic() + 1.3
        while time.monotonic() < until:
            assert ask(client).status == 200
            time.sleep(0.05)
    assert server.connections == 1


def test_compressed_answers_are_unpacked(serve: Serve):
    body = b'{"a": "' + b"x" * 300_000 + b'"}'
    with HttpClient(serve(answering(200, gzip.compress(body), "Content-Encoding: gzip")).url, KEY) as client:
        assert ask(client).body == body


def test_chunked_answers_are_put_together(serve: Serve):
    def chunked(wire: Wire, _: Request) -> None:
        wire.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n3\r\n   \r\n0\r\n\r\n")

    server = serve(chunked)
    with HttpClient(server.url, KEY) as client:
        assert [ask(client).body for _ in range(3)] == [b"{}   "] * 3
    assert server.connections == 1


def in_pieces(wire: Wire, _: Request) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nX-Long: " + b"x" * 100:
        wire.send(bytes([byte]))
    wire.send(b"\r\n\r\n{")
    time.sleep(0.02)
    wire.send(b"}  ")


def chunked_and_with_a_length(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{}  \r\n0\r\n\r\n")


def with_two_lengths(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\ncontent-length: 4\r\n\r\n{}  ")


def after_a_provisional_one(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    wire.answer(200, b"{}  ")


def until_the_end(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.0 200 OK\r\n\r\n{}  ")
    wire.hang_up()


@pytest.mark.parametrize(
    "behaviour", [in_pieces, chunked_and_with_a_length, with_two_lengths, after_a_provisional_one, until_the_end]
)
def test_unusual_answers_are_read_to_their_end(serve: Serve, behaviour: Behaviour):
    """Proxies re-frame what the API sends; each of these is allowed."""
    with HttpClient(serve(behaviour).url, KEY) as client:
        assert [ask(client).body for _ in range(3)] == [b"{}  "] * 3


def test_what_comes_after_an_answer_is_not_taken_for_the_next_one(serve: Serve):
    """Otherwise one user would be shown what was said about another."""

    def say_too_much(wire: Wire, request: Request) -> None:
        answer = b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n"
        wire.send(answer + str(request.number).encode() + answer + b"x")

    server = serve(say_too_much)
    with HttpClient(server.url, KEY, max_connections=1) as client:
        assert [ask(client).body for _ in range(3)] == [b"1", b"2", b"3"]
    assert server.connections == 3


def test_a_compressed_answer_that_is_cut_short_is_malformed(serve: Serve):
    packed = gzip.compress(b"{}" * 1000)[:-5]
    with HttpClient(serve(answering(200, packed, "Content-Encoding: gzip")).url, KEY) as client:
        assert type(fail(client)) is Malformed


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r"])
def test_a_header_cannot_smuggle_in_another(serve: Serve, end: str):
    server = serve(answering())
    with HttpClient(server.url, KEY) as client, pytest.raises(RequestRefused, match="line break"):
        client.get(PATH, {}, {"x-user-id": f"a{end}x-user-id: b"})
    assert server.requests == []


def endless(wire: Wire, _: Request) -> None:
    wire.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        wire.send(b"x" * 65536)


BOMB = gzip.compress(b"x" * 50_000_000)


@pytest.mark.parametrize(
    "behaviour",
    [endless, answering(200, b"x" * 1_000_001), answering(200, BOMB, "Content-Encoding: gzip")],
    ids=["endless", "large", "bomb"],
)
def test_an_answer_larger_than_allowed_is_not_read(serve: Serve, behaviour: Behaviour):
    """A small answer that unpacks to gigabytes must not take the process down."""
    with HttpClient(serve(behaviour).url, KEY, max_body_bytes=1_000_000, max_connections=2) as client:
        for _ in range(5):
            error = fail(client)
            assert type(error) is Malformed
            assert len(error.raw or b"") == 65536


def test_an_answer_of_just_the_size_allowed_is_read(serve: Serve):
    with HttpClient(serve(answering(200, b"x" * 1_000_000)).url, KEY, max_body_bytes=1_000_000) as client:
        assert len(ask(client).body) == 1_000_000


def test_a_response_with_a_wrong_content_encoding_is_malformed(serve: Serve):
    with HttpClient(serve(answering(200, b"plain", "Content-Encoding: gzip")).url, KEY, max_connections=1) as client:
        for _ in range(3):
            assert type(fail(client)) is Malformed


def raw(name: str) -> bytes:
    return (Path(__file__).parent / "cases" / f"{name}.http").read_bytes()


def sending(name: str, *, pause: bool = False) -> Behaviour:
    """Sends a recorded response to the first request of a connection, with a pause after its head; then a right one."""
    seen: set[Wire] = set()

    def behave(wire: Wire, request: Request) -> None:
        if wire in seen:
            wire.answer(200, b"another request's response")
            return
        seen.add(wire)
        if request.number > 1:
            wire.answer(200, b"right")
            return
        head, blank, rest = raw(name).partition(b"\r\n\r\n")
        for part in (head + blank, rest) if pause else (raw(name),):
            wire.send(part)
            time.sleep(0.01)

    return behave


@pytest.mark.parametrize("over_tls", [False, True])
@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("interim_103", InterimResponse),
        ("no_content_late_body", b""),
        ("two_responses_one_record", b'{"detail":"ONE"}'),
        ("content_length_5000_digits", Malformed),
        ("negative_chunk", Malformed),
    ],
)
def test_a_recorded_bad_response_concerns_its_request_only(
    serve: Serve, secure: tuple[ssl.SSLContext, Path], *, over_tls: bool, name: str, first: bytes | type[AsleepError]
):
    """Each of these once reached the next request, or ended the run."""
    tls, authority = secure
    server = serve(sending(name, pause=name == "no_content_late_body"), tls if over_tls else None)
    with HttpClient(server.url, KEY, max_connections=1, ca_bundle=authority) as client:
        if isinstance(first, bytes):
            assert ask(client).body == first
        else:
            assert type(fail(client)) is first
        assert ask(client).body == b"right"
    assert server.connections == 2


@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_bytes_that_arrive_before_the_request_are_not_its_response(
    serve: Serve, authority: Path, tls: ssl.SSLContext, mode: str
):
    """While a request waits for its turn, a server may send something on the open connection."""
    server = serve(answering(200, b"right"), tls if mode == "tls" else None, answer_of(b"unsolicited"))
    with HttpClient(server.url, KEY, ca_bundle=authority) as client:
        assert client.get(PATH, {}, {}, before_sending=lambda: wait_for(server)).body == b"right"
    assert (len(server.requests), server.connections) == (1, 2)


def wait_for(server: Server) -> str:
    assert server.ready.wait(10)
    return "open"


def answer_of(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


def test_the_turn_is_taken_when_the_connection_is_open_and_once_only(serve: Serve):
    """A turn taken before connecting is late by the time of the handshake; the rate limit counts on the moment."""
    server = serve(answering())
    events: list[str] = []
    with HttpClient(server.url, KEY) as client:
        client.get(
            PATH,
            {},
            {},
            before_sending=lambda: events.append(f"turn, connection {wait_for(server)}"),
            sent=lambda: events.append("sent"),
        )
    assert events == ["turn, connection open", "sent"]
    server.stop()
    with HttpClient(server.url, KEY) as client, pytest.raises(Unavailable):
        client.get(PATH, {}, {}, before_sending=lambda: events.append("turn"), sent=lambda: events.append("sent"))
    assert events[2:] == ["turn"]


@pytest.mark.parametrize("callback", ["before_sending", "sent"])
def test_what_a_callback_raises_is_raised_as_it_is(serve: Serve, callback: str):
    """A lost database must not be taken for a failure of the API."""
    error = OSError("the database is away")

    def fail() -> None:
        raise error

    with HttpClient(serve(answering()).url, KEY, max_connections=1) as client:
        with pytest.raises(OSError, match="database") as caught:
            client.get(PATH, {}, {}, **{callback: fail})
        assert caught.value is error
        assert ask(client).body == b"{}"


BAD = [reset, truncate, say_nothing, endless, speak_another_protocol]


@pytest.mark.parametrize("behaviour", BAD)
def test_no_failure_contains_the_key_or_the_user(serve: Serve, behaviour: Behaviour, caplog: pytest.LogCaptureFixture):
    """Errors, tracebacks with local variables and library logs end up in event logs, tickets and chats."""
    caplog.set_level(logging.DEBUG)
    with HttpClient(serve(behaviour).url, KEY, timeout_seconds=0.3, max_body_bytes=100) as client:
        error = fail(client)
        report = traceback.TracebackException.from_exception(error, capture_locals=True)
        shown = repr(client) + repr(error) + str(error) + caplog.text
        shown += "".join(f"{frame.locals}" for frame in report.stack if "resources" in Path(frame.filename).parts[-3:])

    assert any(frame.filename.endswith("http_client.py") for frame in report.stack)
    assert error.__cause__ is None
    assert error.__context__ is None
    assert KEY not in shown
    assert USER not in shown


def test_the_libraries_logs_do_not_name_users(serve: Serve, caplog: pytest.LogCaptureFixture):
    """At level DEBUG urllib3 writes every path; and paths name users and sessions."""
    caplog.set_level(logging.DEBUG)
    server = serve(answering(200, b"{}", "Broken header without colon"))
    with HttpClient(server.url, KEY) as client:
        ask(client)
    assert USER not in caplog.text


def test_a_closed_exchange_leaves_the_libraries_logs_alone(serve: Serve):
    before = [list(logging.getLogger(name).filters) for name in ("urllib3.connectionpool", "urllib3.connection")]
    with HttpClient(serve(answering()).url, KEY):
        pass
    after = [list(logging.getLogger(name).filters) for name in ("urllib3.connectionpool", "urllib3.connection")]
    assert before == after


def test_the_environment_is_not_read(serve: Serve, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A proxy variable, or a .netrc, left over on a machine must not see or replace the key."""
    proxy = serve(answering(200, b"proxy"))
    server = serve(answering(200, b"direct"))
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login someone password something\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    with HttpClient(server.url, KEY) as client:
        assert ask(client).body == b"direct"
    assert proxy.requests == []
    assert "authorization" not in server.requests[0].headers


def test_a_server_that_cannot_prove_who_it_is_gets_no_key(serve: Serve, tls: ssl.SSLContext):
    """Whoever sits in between must not learn the key."""
    server = serve(answering(), tls)
    with HttpClient(server.url, KEY) as client:
        assert str(fail(client)) == "no trusted TLS connection could be made (unable to get local issuer certificate)"
    assert server.requests == []


def test_certificate_authorities_of_ones_own_are_accepted(serve: Serve, tls: ssl.SSLContext, authority: Path):
    """Organisations that inspect their traffic have their own."""
    server = serve(answering(200, b"x" * 200_000), tls)
    with HttpClient(server.url, KEY, ca_bundle=authority) as client:
        assert [len(ask(client).body) for _ in range(3)] == [200_000] * 3
    assert server.connections == 1


@pytest.mark.parametrize("behaviour", [drip_header, drip_body])
def test_the_deadline_holds_under_tls_too(serve: Serve, tls: ssl.SSLContext, authority: Path, behaviour: Behaviour):
    server = serve(behaviour, tls)
    with HttpClient(server.url, KEY, ca_bundle=authority, timeout_seconds=0.5) as client:
        assert str(fail(client)) == "no complete response within 0.5 seconds"


def tunnel(wire: Wire, request: Request) -> None:
    """A proxy's answer to CONNECT: bytes pass both ways."""
    host, _, port = request.target.partition(":")
    with socket.create_connection((host, int(port))) as target:
        wire.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
        wire.splice(target)


def test_requests_pass_through_a_proxy_that_does_not_see_them(serve: Serve, authority: Path, tls: ssl.SSLContext):
    """The proxy learns the host alone; its password does not reach the API, nor the key the proxy."""
    server, proxy = serve(answering(200, b"right"), tls), serve(tunnel)
    with HttpClient(server.url, KEY, ca_bundle=authority, proxy=proxy.url.replace("//", "//me:hunter%202@")) as client:
        assert [ask(client).body for _ in range(3)] == [b"right"] * 3
    (connect,) = proxy.requests
    assert connect.target == server.url.removeprefix("https://")
    assert base64.b64decode(connect.headers["proxy-authorization"].removeprefix("Basic ")) == b"me:hunter 2"
    assert "x-api-key" not in connect.headers
    assert len(server.requests) == 3
    assert "proxy-authorization" not in server.requests[0].headers


def test_a_plain_request_is_forwarded_by_the_proxy(serve: Serve):
    proxy = serve(answering(200, b"forwarded"))
    with HttpClient("http://asleep.invalid/prefix", KEY, proxy=proxy.url) as client:
        assert ask(client).body == b"forwarded"
    assert proxy.requests[0].target.startswith(f"http://asleep.invalid/prefix{PATH}?")
    assert proxy.requests[0].headers["host"] == "asleep.invalid"


def test_a_proxy_that_refuses_is_named_without_its_password(serve: Serve):
    """The reason is the proxy, not the API."""
    url = serve(answering(407)).url.replace("//", "//me:hunter2@")
    with HttpClient("https://asleep.invalid", KEY, proxy=url, max_connections=1) as client:
        for _ in range(2):
            error = fail(client)
            assert str(error) == "no connection through the proxy of ASLEEP_PROXY (it answered CONNECT with HTTP 407)"
            report = traceback.TracebackException.from_exception(error, capture_locals=True)
            assert not any("hunter2" in f"{frame.locals}" for frame in report.stack if "resources" in frame.filename)


def test_a_proxy_that_is_away_or_unwilling_to_forward_is_named(serve: Serve):
    gone = serve(answering())
    gone.stop()
    with HttpClient("https://asleep.invalid", KEY, proxy=gone.url) as client:
        assert str(fail(client)) == "no connection through the proxy of ASLEEP_PROXY (Connection refused)"
    with HttpClient("http://asleep.invalid", KEY, proxy=serve(answering(407)).url) as client:
        assert str(fail(client)) == "the proxy of ASLEEP_PROXY demands another user name or password (HTTP 407)"


@pytest.mark.parametrize(
    "url", ["", "asleep.ai", "ftp://asleep.ai", "http://", "https://user:pass@asleep.ai", "https://asleep.ai/?a=b"]
)
def test_a_base_url_that_cannot_work_is_refused_at_once(url: str):
    """Otherwise each of a thousand requests would fail on its own."""
    with pytest.raises(ValueError, match="base URL"):
        HttpClient(url, KEY)


def test_more_threads_than_connections_wait_for_each_other(serve: Serve):
    """The pool must neither open more connections nor fail."""
    busy = threading.Semaphore(2)
    overbooked = threading.Event()

    def one_of_two(wire: Wire, _: Request) -> None:
        if not busy.acquire(blocking=False):
            overbooked.set()
        time.sleep(0.01)
        busy.release()
        wire.answer(200, b"{}")

    server = serve(one_of_two)
    with HttpClient(server.url, KEY, max_connections=2) as client, ThreadPoolExecutor(10) as threads:
        list(threads.map(lambda _: ask(client), range(50)))
    assert not overbooked.is_set()
    assert server.connections == 2
