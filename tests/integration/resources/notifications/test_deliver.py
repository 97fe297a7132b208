"""A short message goes out; what the other side sends back costs neither memory nor time."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from resources.notifications.deliver import deliver

PIECE = b"x" * 65_536
MANY = 1024
"""Pieces of 64 KiB: more than the buffers of two sockets hold."""


class Talkative(ThreadingHTTPServer):
    """Accepts a message and answers with a body of 64 MiB; `written` counts the pieces that could be sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.written = 0
        self.is_over = threading.Event()


class _Handler(BaseHTTPRequestHandler):
    server: Talkative

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            for self.server.written in range(1, MANY + 1):
                self.wfile.write(PIECE)
        except OSError:
            pass
        finally:
            self.server.is_over.set()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def talkative() -> Iterator[Talkative]:
    with Talkative() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_the_body_of_a_response_is_not_read(talkative: Talkative):
    """A monitor that answers without end would fill the memory of the process that sends heartbeats."""
    deliver(f"http://127.0.0.1:{talkative.server_port}/heartbeat")

    assert talkative.is_over.wait(60)
    assert talkative.written < MANY
