"""The service, running for real on a free port."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator

import pytest
import uvicorn
from serving import KEY, SECOND_KEY, Options, Service, answers, await_truth, free_port

from pipelines.service.app import create_app
from pipelines.service.http.protocol import BoundedProtocol


@pytest.fixture(scope="module")
def serve_app() -> Iterator[Callable[..., Service]]:
    """Serves an application from a thread of this process, over real HTTP."""
    servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def serve(
        options: Options,
        protocol: type[BoundedProtocol] = BoundedProtocol,
        trusted_proxies: tuple[str, ...] = (),
    ) -> Service:
        port = free_port()
        config = uvicorn.Config(
            create_app(*options),
            port=port,
            http=protocol,
            ws="none",
            log_config=None,
            timeout_graceful_shutdown=5,
            timeout_keep_alive=60,  # a busy machine must not close what a test holds open
            proxy_headers=bool(trusted_proxies),
            forwarded_allow_ips=list(trusted_proxies),
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, daemon=True)
        thread.start()
        servers.append((server, thread))
        await_truth(lambda: server.started)
        return Service(f"http://127.0.0.1:{port}")

    yield serve
    for server, _ in servers:
        server.should_exit = True
    for _, thread in servers:
        thread.join(20)


@pytest.fixture(scope="module")
def start_service() -> Iterator[Callable[..., Service]]:
    """Starts the service as people do, in a process of its own."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(database_url: str, *, workers: int = 1, **environment: str) -> Service:
        port = free_port()
        options = ["--port", str(port), "--workers", str(workers)]
        command = [sys.executable, "-m", "pipelines.cli.main", "serve", *options]
        settings = {"DATABASE_URL": database_url, "ASLEEP_API_KEY": f"{KEY},{SECOND_KEY}", **environment}
        process = subprocess.Popen(command, env={**os.environ, **settings}, start_new_session=True)
        processes.append(process)
        service = Service(f"http://127.0.0.1:{port}", process)
        await_truth(lambda: answers(service.url))
        return service

    yield start
    for process in processes:
        process.terminate()
    for process in processes:
        process.wait(40)
