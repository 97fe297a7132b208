"""A first contact that fails ends within seconds, with address and reason; a known address is retried as usual."""

import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from resources.asleep.client import AsleepClient
from resources.asleep.errors import KeyRejected, NoContact, Unavailable, UserGone
from resources.asleep.http.http_client import HttpClient
from resources.asleep.transport import FIRST_CONTACT_SECONDS, RetryPolicy, Transport
from tests.bad_server import Behaviour, Request, Server, Wire
from tests.unlimited import Unlimited

USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"
Serve = Callable[..., Server]


class Clock:
    """Time that passes with pauses only."""

    now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Pass."""
        self.now += seconds


@contextmanager
def first_contact(url: str, clock: Clock, answers: list[str], ca_bundle: Path | None = None) -> Iterator[AsleepClient]:
    with HttpClient(url, "key", timeout_seconds=10, ca_bundle=ca_bundle) as http:
        note = partial(answers.append, url)
        yield AsleepClient(Transport(Unlimited(), http, note_contact=note, clock=clock, sleep=clock.sleep))


def page(wire: Wire, _: Request) -> None:
    wire.answer(200, b"<html>Please log in to the network</html>")


def redirect(wire: Wire, _: Request) -> None:
    wire.answer(302, b"", "Location: https://portal.example/login")


def cut(wire: Wire, _: Request) -> None:
    wire.hang_up()


@pytest.mark.parametrize(
    ("behaviour", "reason"),
    [(page, "HTTP 200 with something"), (redirect, "HTTP 302 with something"), (cut, "the connection was reset")],
)
def test_without_a_single_answer_the_contact_ends_with_address_and_reason(
    serve: Serve, behaviour: Behaviour, reason: str
):
    """A captive portal answers everything; each of a thousand users would fail on it for minutes."""
    server, clock, answers = serve(behaviour), Clock(), list[str]()
    with first_contact(server.url, clock, answers) as client:
        for _ in range(2):
            with pytest.raises(NoContact) as caught:
                client.read_user(USER)
            assert f"does not answer at {server.url}: {reason}" in str(caught.value)
    assert FIRST_CONTACT_SECONDS <= clock.now < 8
    assert len(server.requests) <= 5, "the second is refused without a request"
    assert answers == []


def test_a_refused_connection_an_unknown_host_and_a_strange_certificate_are_named(serve: Serve, tls: ssl.SSLContext):
    """What a newcomer can mend: the address, the network, the certificate authorities."""
    gone = serve(page)
    gone.stop()
    strange = serve(page, tls)
    for url, reason in (
        (gone.url, "no connection could be made (Connection refused)"),
        ("http://asleep.invalid", "no connection could be made ("),
        (strange.url, "no trusted TLS connection could be made (unable to get local issuer certificate)"),
    ):
        clock, began_at = Clock(), time.monotonic()
        with first_contact(url, clock, []) as client, pytest.raises(NoContact) as caught:
            client.read_user(USER)
        assert f"does not answer at {url}: {reason}" in str(caught.value)
        assert clock.now + time.monotonic() - began_at < 15


@pytest.mark.parametrize(
    ("status", "detail", "error"), [(404, "user does not exist", UserGone), (401, "Unauthorized", KeyRejected)]
)
def test_a_refusal_is_an_answer_as_well(serve: Serve, status: int, detail: str, error: type[Exception]):
    answers: list[str] = []
    server = serve(lambda wire, _: wire.answer(status, f'{{"detail": "{detail}"}}'.encode()))
    with first_contact(server.url, Clock(), answers) as client:
        for _ in range(2):
            with pytest.raises(error):
                client.read_user(USER)
    assert answers == [server.url], "it is noted once"


def test_after_one_answer_outages_are_waited_out(serve: Serve):
    """A connection that breaks in the middle of a sync is no wrong address."""

    def gone_then_nothing(wire: Wire, request: Request) -> None:
        if request.number == 1:
            wire.answer(404, b'{"detail": "user does not exist"}', "Connection: close")
        wire.hang_up()

    server, clock = serve(gone_then_nothing), Clock()
    with first_contact(server.url, clock, []) as client:
        for error in (UserGone, Unavailable):
            with pytest.raises(error):
                client.read_user(USER)
    assert len(server.requests) == 1 + RetryPolicy().broken_attempts
