"""Runs the service under uvicorn for `asleep-sync serve`. Each worker calls the factory `build`."""

import contextlib
import logging
import os
import tempfile
from collections.abc import Sequence

import uvicorn
from fastapi import FastAPI

from pipelines.observability import LOGGER, set_up_logs
from pipelines.service.app import create_app
from pipelines.service.database_watch import DatabaseWatch
from pipelines.service.http.protocol import BoundedProtocol
from pipelines.service.metrics import SHARED_DIRECTORY
from pipelines.settings import Settings, load_settings

FACTORY = "pipelines.service.program:build"
GRACEFUL_SECONDS = 30
KEEP_ALIVE_SECONDS = 15
WORKER_SECONDS = 60
"""A worker that does not start or respond within this time is replaced. With uvicorn's own 5 s, a busy machine replaces
every worker before it has started."""
_MAX_HEAD_BYTES = 32 * 1024


def build() -> FastAPI:
    """The application of one worker."""
    settings = load_settings()
    set_up_logs(settings)
    uvicorn_log, ours = logging.getLogger("uvicorn"), logging.getLogger(LOGGER)
    uvicorn_log.handlers, uvicorn_log.propagate = ours.handlers, False
    uvicorn_log.setLevel(ours.level)
    return create_app(settings)


def run_service(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT, and alert of outages of the database meanwhile.

    Args:
        settings: the environment.
        host: address to listen on.
        port: port to listen on.
        workers: processes.
    """
    set_up_logs(settings)
    DatabaseWatch(settings, host, port).start()
    with tempfile.TemporaryDirectory(prefix="asleep-sync-metrics-") as directory:
        if workers > 1:
            os.environ[SHARED_DIRECTORY] = directory
        serve(FACTORY, host=host, port=port, workers=workers, trusted_proxies=settings.trusted_proxies)


def serve(factory: str, *, host: str, port: int, workers: int = 1, trusted_proxies: Sequence[str] = ()) -> None:
    """Serve until SIGTERM or SIGINT: then finish what was accepted and end.

    Args:
        factory: `module:function` that makes the application; each worker calls it in a process of its own.
        host: address to listen on.
        port: port to listen on.
        workers: processes; a worker that dies is replaced.
        trusted_proxies: addresses and networks whose `X-Forwarded-For` names the client.
    """
    _allow_open_files(2 * BoundedProtocol.max_connections)
    uvicorn.run(
        factory,
        factory=True,
        host=host,
        port=port,
        workers=workers,
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=_MAX_HEAD_BYTES,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
        timeout_worker_healthcheck=WORKER_SECONDS,
    )


def _allow_open_files(wanted: int) -> None:
    """Raise the soft limit of open files to what our connections need, as far as the hard one permits."""
    with contextlib.suppress(ImportError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
