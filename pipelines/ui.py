"""Dagster's webserver behind a guard: `python -m pipelines.ui`, or `asleep-sync ui`.

The guard keeps web pages of other sites from controlling the UI, which has no login.
A page that a browser opens can send requests to any address the browser reaches, the UI's included. So the guard
refuses unknown names of this server (`Host`), requests that another site's page sends (`Origin`), and GraphQL by GET,
which needs no consent of any kind. No page may show the UI in a frame.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import click
import dagster as dg
import uvicorn
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import WorkspaceFileTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.settings import load_settings

STATEMENT_TIMEOUT_MILLISECONDS = 15_000
_POOL_RECYCLE_SECONDS = 3600
_POOL_OVERFLOW = 20
LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_FORM_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
"""What a page may send to another site without a preflight request."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class UiGuard:
    """An ASGI application around Dagster's webserver.

    `hosts` are the names under which people open the UI, each `name` (any port) or `name:port`; loopback is always one.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        self._app = app
        self._named = frozenset(host.lower() for host in hosts)
        self._hosts = self._named | frozenset(LOOPBACK_HOSTS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        reason = self._why_refused(scope)
        if reason is None:
            await self._app(scope, receive, _without_frames(send) if scope["type"] == "http" else send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": 1008})
        else:
            await JSONResponse({"detail": reason}, 403)(scope, receive, send)

    def _why_refused(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        host = hosts[0].lower() if len(hosts) == 1 else ""
        if not {host, _name_of(host)} & self._hosts:
            return "This server has another name. Name it in UI_HOSTS if people open the UI under this one."
        if any(not self._is_own(origin.lower(), host) for origin in origins):
            return "The request comes from a page of another site."
        if scope["type"] == "websocket":
            return None
        is_graphql = scope["path"].rstrip("/").endswith("/graphql")
        if is_graphql and scope["method"] in _READING and scope["query_string"]:
            return "GraphQL is answered by POST only."
        may_be_a_form = headers.get("content-type", "").lower().startswith(_FORM_TYPES)
        if scope["method"] not in _READING and not origins and may_be_a_form:
            return "A form must name its origin."
        return None

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page of this origin was served here: under the same name and port, or under one that is named."""
        try:
            parts = urlsplit(origin)
        except ValueError:
            return False
        default_port = _DEFAULT_PORTS.get(parts.scheme)
        if default_port is None:
            return False
        netloc = parts.netloc.removesuffix(default_port)
        return netloc == host.removesuffix(default_port) or bool({netloc, _name_of(netloc)} & self._named)


def _name_of(host: str) -> str:
    """A host without its port; an IPv6 address keeps its brackets."""
    name, _, port = host.rpartition(":")
    return name if port.isdecimal() and name else host


def _without_frames(send: Send) -> Send:
    async def send_with_header(message: Message) -> None:
        if message["type"] == "http.response.start":
            MutableHeaders(scope=message)["x-frame-options"] = "DENY"
        await send(message)

    return send_with_header


@asynccontextmanager
async def _lifespan(_app: Starlette) -> AsyncIterator[None]:
    """The UI's websockets wait for events; at the end of the process they are cancelled."""
    with suppress(asyncio.CancelledError):
        yield


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=3000, show_default=True, help="Port to listen on.")
@click.option("--workspace", type=click.Path(path_type=Path, exists=True), required=True, help="A workspace.yaml.")
def main(host: str, port: int, workspace: Path) -> None:
    """Serve Dagster's UI."""
    hosts = load_settings().ui_hosts
    with dg.DagsterInstance.get() as instance:
        instance.optimize_for_webserver(STATEMENT_TIMEOUT_MILLISECONDS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW)
        with WorkspaceProcessContext(instance, WorkspaceFileTarget([str(workspace)])) as context:
            app = create_app_from_workspace_process_context(context, lifespan=_lifespan)
            click.echo(f"Dagster's UI: http://{host}:{port} (Ctrl-C ends it)")
            uvicorn.run(UiGuard(app, hosts), host=host, port=port, log_level="warning", proxy_headers=False)


if __name__ == "__main__":
    main()
