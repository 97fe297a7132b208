"""Around every request: headers that every answer carries, and one event for the listeners.

Lives here: an ASGI middleware.  Not here: what listeners do, routes.
"""

import time
from collections.abc import Sequence

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.service.events import Listener, Served

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


class Watch:
    """Tells the listeners about each request; adds `request.state.headers` to its answer."""

    def __init__(self, app: ASGIApp, listeners: Sequence[Listener]) -> None:
        self._app = app
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500
        state = scope.setdefault("state", {})

        async def send_with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message).update({**_HEADERS, **state.get("headers", {})})
            await send(message)

        try:
            await self._app(scope, receive, send_with_headers)
        finally:
            self._tell(scope, status, time.perf_counter() - started)

    def _tell(self, scope: Scope, status: int, duration_seconds: float) -> None:
        state = scope["state"]
        served = Served(
            route=getattr(scope.get("route"), "path", "unmatched"),
            method=scope["method"] if scope["method"] in {"GET", "POST", "HEAD"} else "other",
            status=status,
            duration_seconds=duration_seconds,
            outcome=state.get("outcome", "ok"),
            client=state.get("client"),
            user=state.get("user"),
        )
        for listener in self._listeners:
            listener(served)
