"""Servers that behave as badly as a test wants."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest
from bad_server import Behaviour, Server


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Start servers that a test describes; they stop with the test."""
    with ExitStack() as stack:

        def start(behaviour: Behaviour, tls: ssl.SSLContext | None = None) -> Server:
            server = Server(behaviour, tls)
            stack.callback(server.stop)
            return server

        yield start
