"""Keeps web pages of other sites from controlling Dagster's UI, which has no login.

A page that a browser opens can send requests to any address the browser reaches, the UI's included. So the guard
refuses unknown names of this server (`Host`), requests that another site's page sends (`Origin`), and GraphQL by GET,
which needs no consent of any kind. No page may show the UI in a frame.
"""

from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_FORM_TYPES = ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data")
"""What a page may send to another site without a preflight request."""
_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


class UiGuard:
    """An ASGI application around another one."""

    def __init__(self, app: ASGIApp, hosts: Iterable[str]) -> None:
        """Wrap an application.

        Args:
            app: Dagster's webserver.
            hosts: names under which people open the UI, each `name` (any port) or `name:port`; loopback is always one.
        """
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
