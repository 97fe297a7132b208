"""Runs the service under uvicorn: its settings there."""

import contextlib
from collections.abc import Sequence

import uvicorn

from pipelines.service.http.protocol import BoundedProtocol

GRACEFUL_SECONDS = 30
KEEP_ALIVE_SECONDS = 15
_MAX_HEAD_BYTES = 32 * 1024


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
    )


def _allow_open_files(wanted: int) -> None:
    """Raise the soft limit of open files to what our connections need, as far as the hard one permits."""
    with contextlib.suppress(ImportError):
        import resource

        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            target = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
