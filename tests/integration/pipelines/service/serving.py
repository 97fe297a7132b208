"""How tests talk to a running service, and wait for it."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import requests
from pydantic import SecretStr

from pipelines.service.bounds import Bounds
from pipelines.settings import Settings

KEY, SECOND_KEY, READ_KEY = "asleep-key-0001", "asleep-key-0002", "read-key-0001"


_SETTINGS = {
    "api_keys": "asleep_api_key",
    "webhook_secrets": "webhook_secret",
    "read_requests_per_hour": "service_requests_per_hour",
    "session_requests_per_minute": "service_sessions_per_minute",
    "summary_requests_per_minute": "service_summaries_per_minute",
}
Options = tuple[Settings, Bounds, Any]


def served(database_url: str, *, statsd: Any = None, **options: Any) -> Options:
    """Settings and bounds of a service, by short names, whatever the environment says."""
    bounds = {name: options.pop(name) for name in list(options) if name in Bounds.__dataclass_fields__}
    settings = {_SETTINGS.get(name, name): value for name, value in options.items()}
    defaults = {"asleep_api_key": "", "webhook_secret": "", "service_api_keys": "", "enable_metrics": False}
    found = Settings(_env_file=None, database_url=SecretStr(database_url), **{**defaults, **settings})  # type: ignore[call-arg]
    return found, Bounds(**bounds), statsd


@dataclass(frozen=True)
class Service:
    """A running service."""

    url: str
    process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    def event(self, body: bytes | str, **headers: str) -> requests.Response:
        """Send an event with a valid key, or with the headers given."""
        sent = {"x-api-key": KEY} | {name.replace("_", "-"): value for name, value in headers.items()}
        return requests.post(f"{self.url}/webhooks/asleep", data=body, headers=sent, timeout=30)

    def get(self, path: str, key: str | None = None, **parameters: object) -> requests.Response:
        """Ask, with or without a key."""
        headers = {"x-api-key": key} if key else {}
        return requests.get(f"{self.url}{path}", headers=headers, params=parameters, timeout=30)


def free_port() -> int:
    """A port that nobody uses."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def await_truth(question: Callable[[], object], *, seconds: float = 30) -> None:
    """Ask until the answer is yes."""
    deadline = time.monotonic() + seconds
    while not question():
        assert time.monotonic() < deadline, "it did not become true in time"
        time.sleep(0.05)


def answers(url: str) -> bool:
    """Whether somebody answers there."""
    with contextlib.suppress(requests.ConnectionError):
        return requests.get(f"{url}/live", timeout=5).ok
    return False


class Receiver(ThreadingHTTPServer):
    """The organisation's backend; answers with `status`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = 200
        self.on_post: Callable[[], None] = lambda: None
        self.heard: list[tuple[dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/hook"


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.on_post()
        self.server.heard.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.server.status)
        self.send_header("location", f"{self.server.url}/elsewhere")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@contextlib.contextmanager
def frozen(postmaster: int) -> Iterator[None]:
    """Stop a Postgres server and its backends as SIGSTOP does: connections stay open, and nothing is answered."""
    os.kill(postmaster, signal.SIGSTOP)
    children = Path(f"/proc/{postmaster}/task/{postmaster}/children").read_text("ascii").split()
    for child in children:
        os.kill(int(child), signal.SIGSTOP)
    try:
        yield
    finally:
        for process in (*map(int, children), postmaster):
            os.kill(process, signal.SIGCONT)
