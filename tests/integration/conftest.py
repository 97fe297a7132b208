"""Servers that behave as badly as a test wants, and a certificate authority for them."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trustme

from tests.bad_server import Behaviour, Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that a test describes; they stop with the test."""
    with ExitStack() as stack:

        def start(behaviour: Behaviour, tls: ssl.SSLContext | None = None, greeting: bytes = b"") -> Server:
            server = Server(behaviour, tls, greeting)
            stack.callback(server.stop)
            return server

        yield start


@pytest.fixture(scope="session")
def issuer() -> trustme.CA:
    """A certificate authority of this test session's own."""
    return trustme.CA()


@pytest.fixture(scope="session")
def authority(issuer: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of its certificate."""
    path = tmp_path_factory.mktemp("tls") / "authority.pem"
    issuer.cert_pem.write_to_path(str(path))
    return path


@pytest.fixture(scope="session")
def tls(issuer: trustme.CA) -> ssl.SSLContext:
    """A server's side of TLS for 127.0.0.1."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    issuer.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def secure(tls: ssl.SSLContext, authority: Path) -> tuple[ssl.SSLContext, Path]:
    """Both sides of TLS."""
    return tls, authority
