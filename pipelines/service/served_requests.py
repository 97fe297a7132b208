"""One frozen event per request served, the listener that logs it, and the ASGI middleware that emits it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog
from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.service.http.http_errors import RETRY_SECONDS

_log = structlog.get_logger("asleep_sync.service")

_TOO_BUSY = JSONResponse(
    {"detail": "Too many requests are in progress; try again."},
    503,
    {"retry-after": str(RETRY_SECONDS), "connection": "close"},
)
_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


@dataclass(frozen=True, slots=True)
class Served:
    """A request and what came of it. Holds no key, no id in clear, no query, no body."""

    route: str
    """The route's pattern, such as `/api/sessions/{session_id}`; `unmatched` when there is none."""
    method: str
    status: int
    duration_seconds: float
    outcome: str
    """`stored`, `duplicate`, or for a refusal its reason; `ok` otherwise."""
    client: str | None
    """Short name of the key that was shown, None without a valid one."""
    user: str | None
    """Pseudonym of the user concerned."""


Listener = Callable[[Served], None]

_QUIET = frozenset({"/live", "/ready", "/health", "/metrics", "/webhooks/asleep"})
"""Requested so often that only their failures are worth a line; stored events are counted and stand in the inbox."""


def log_served(served: Served) -> None:
    """One line per request: who read what is on the record, and every refusal."""
    failed = served.status >= 400  # noqa: PLR2004 the class of errors
    write = _log.warning if failed else _log.debug if served.route in _QUIET else _log.info
    write(
        "request_served",
        route=served.route,
        method=served.method,
        status=served.status,
        outcome=served.outcome,
        client=served.client,
        user=served.user,
        milliseconds=round(served.duration_seconds * 1000, 1),
    )


class ServedRequests:
    """Reports each request to the listeners, adds `request.state.headers` to its response, and bounds how many run.

    Beyond `at_once` requests in progress, each is answered 503, except `/live`.
    """

    def __init__(self, app: ASGIApp, listeners: Sequence[Listener], at_once: int) -> None:
        self._app = app
        self._listeners = listeners
        self._at_once = at_once
        self._in_progress = 0

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

        is_refused = self._in_progress >= self._at_once and scope["path"] != "/live"
        self._in_progress += 1
        try:
            if is_refused:
                state["outcome"] = "too_busy"
                await _TOO_BUSY(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        finally:
            self._in_progress -= 1
            self._report(scope, status, time.perf_counter() - started)

    def _report(self, scope: Scope, status: int, duration_seconds: float) -> None:
        state = scope["state"]
        served = Served(
            route=getattr(scope.get("route"), "path_format", "unmatched"),
            method=scope["method"] if scope["method"] in {"GET", "POST", "HEAD"} else "other",
            status=status,
            duration_seconds=duration_seconds,
            outcome=state.get("outcome", "ok"),
            client=state.get("client"),
            user=state.get("user"),
        )
        for listener in self._listeners:
            listener(served)
