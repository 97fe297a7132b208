"""What the tests of the rate limit ask for."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from rate_limit_fleet import Fleet
from sqlalchemy import Engine, event


@pytest.fixture
def fleet(engine: Engine) -> Iterator[Fleet]:
    """A fleet with a key of its own."""
    with ExitStack() as stack:
        yield Fleet(engine, stack)


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Every statement that any engine of this process sends during the test."""
    seen: list[str] = []

    def listen(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        seen.append(statement)

    event.listen(Engine, "before_cursor_execute", listen)
    yield seen
    event.remove(Engine, "before_cursor_execute", listen)


@pytest.fixture
def unused_port() -> int:
    """A port of this machine without a listener."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
