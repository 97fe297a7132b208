"""A web server that notes what it is sent: a chat's webhook, or a monitor."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any


class Listener:
    """A chat's webhook, and a monitor that is requested by GET."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        """Bodies posted."""
        self.requested: list[str] = []
        """Paths requested by GET."""
        self.status = 200
        self.first: list[int] = []
        """Answers before that."""
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                outer.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self._answer()

            def do_GET(self) -> None:
                outer.requested.append(self.path)
                self._answer()

            def _answer(self) -> None:
                self.send_response(outer.first.pop() if outer.first else outer.status)
                self.send_header("location", "http://127.0.0.1:9/")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Silence."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def listening() -> Iterator[Listener]:
    """A listener, until the block ends."""
    listener = Listener()
    thread = threading.Thread(target=listener.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield listener
    finally:
        listener.server.shutdown()
        thread.join()
        listener.server.server_close()
