"""Postgres goes away under load and comes back: no event that got a 200 is lost, and nobody has to restart anything."""

import collections
import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from serving import KEY, Service, await_truth, served
from sqlalchemy import make_url, text

from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.embedded_postgres import server as embedded

SENDERS = 8


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A server that this module may stop without disturbing others."""
    directory = tmp_path_factory.mktemp("restarted")
    try:
        embedded.start(directory)
        yield directory
    finally:
        embedded.destroy(directory)


def test_a_restart_under_load_costs_refusals_and_no_event(start_service: Callable[..., Service], home: Path):
    """503 while it is away, so that the sender tries again; every 200 is in the inbox exactly once."""
    server = embedded.start(home)
    engine = make_engine(server.url, application_name="tests")
    migrate(engine)
    service = start_service(server.url)
    heard: list[tuple[str, int]] = []
    stop = threading.Event()

    def send(sender: int) -> None:
        number = 0
        while not stop.is_set():
            body = f'{{"sender": {sender}, "number": {number}}}'
            with contextlib.suppress(Exception):
                heard.append((body, service.event(body).status_code))
            number += 1
            time.sleep(0.005)

    senders = [threading.Thread(target=send, args=(sender,)) for sender in range(SENDERS)]
    for sender in senders:
        sender.start()
    try:
        await_truth(lambda: len(heard) > 100)
        embedded.stop(home)
        await_truth(lambda: sum(status == 503 for _, status in heard[-50:]) > 20)
        await_truth(lambda: service.get("/ready").status_code == 503)
        assert service.get("/live").status_code == 200
        restarted = embedded.start(home)
        assert restarted.url == server.url
        before = len(heard)
        await_truth(lambda: sum(status == 200 for _, status in heard[before:]) > 50)
        await_truth(lambda: service.get("/ready").status_code == 200)
    finally:
        stop.set()
        for sender in senders:
            sender.join()
    with engine.connect() as connection:
        stored = collections.Counter(
            connection.scalars(text("SELECT convert_from(body, 'UTF8') FROM asleep.webhook_events"))
        )
    engine.dispose()
    assert {status for _, status in heard} == {200, 503}
    accepted = [body for body, status in heard if status == 200]
    assert all(stored[body] == 1 for body in accepted)


class FreezingProxy:
    """Passes connections to Postgres on, until those of the moment are frozen: nothing answers, nothing closes."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._frozen: set[socket.socket] = set()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def freeze(self) -> None:
        """From now on the connections there are say nothing more; new ones work."""
        self._frozen |= self._open

    def close(self) -> None:
        """Let everything go."""
        self._listener.close()
        for each in self._open:
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
                self._open |= {client, server}
                for source, sink in ((client, server), (server, client)):
                    threading.Thread(target=self._pass_on, args=(source, sink), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while received := source.recv(65536):
                if source not in self._frozen:
                    sink.sendall(received)
            sink.shutdown(socket.SHUT_WR)


def test_a_hanging_connection_costs_one_refusal_and_does_not_delay_the_exit(
    serve_app: Callable[..., Service], database_url: str
):
    """A failover may leave a connection that never answers: it must not stop every event after it, nor the exit."""
    url = make_url(database_url)
    proxy = FreezingProxy(url.port or 0)
    through = url.set(port=proxy.port).render_as_string(hide_password=False)
    service = serve_app(served(through, api_keys=(KEY,), inbox_seconds=3))
    try:
        assert service.event(b'{"number": 1}').status_code == 200
        proxy.freeze()
        assert service.event(b'{"number": 2}').status_code == 503
        assert service.event(b'{"number": 3}').status_code == 200
    finally:
        proxy.close()
