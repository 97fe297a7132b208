"""A page of another site cannot reach Dagster's UI, under whatever name and by whatever method."""

import asyncio
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from pipelines.ui import UiGuard

OWN = {"host": "127.0.0.1:3000", "origin": "http://127.0.0.1:3000"}
MUTATION = "query=mutation+%7B+terminateRun(runId%3A%221%22)+%7B+__typename+%7D+%7D"


async def dagster(scope: Scope, receive: Receive, send: Send) -> None:
    """Stands for Dagster's webserver: whatever reaches it is done."""
    await receive()
    if scope["type"] == "websocket":
        await send({"type": "websocket.accept"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def answer(method: str, path: str, headers: dict[str, str], hosts: tuple[str, ...] = ()) -> Message:
    sent: list[Message] = []
    path, _, query = path.partition("?")
    scope: dict[str, Any] = {
        "type": "websocket" if method == "WEBSOCKET" else "http",
        "method": method,
        "path": path,
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Message:
        return {"type": "websocket.connect" if method == "WEBSOCKET" else "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    asyncio.run(UiGuard(dagster, hosts)(scope, receive, send))
    return sent[0]


def is_let_through(*request: Any, hosts: tuple[str, ...] = ()) -> bool:
    first = answer(*request, hosts=hosts)
    return first["type"] == "websocket.accept" or first.get("status") == 200


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", f"/graphql?{MUTATION}", OWN),
        ("GET", f"/graphql/?{MUTATION}", {"host": "127.0.0.1:3000"}),
        ("HEAD", f"/prefix/graphql?{MUTATION}", {"host": "127.0.0.1:3000"}),
        ("POST", "/graphql", {**OWN, "origin": "https://evil.example"}),
        ("POST", "/graphql", {**OWN, "origin": "null"}),
        ("POST", "/graphql", {**OWN, "origin": ""}),
        ("POST", "/graphql", {**OWN, "origin": "http://[broken"}),
        ("POST", "/graphql", {**OWN, "origin": "http://127.0.0.1:8000"}),
        ("POST", "/graphql", {**OWN, "origin": "http://127.0.0.1:3000.evil.example"}),
        ("POST", "/graphql", {"host": "127.0.0.1:3000", "content-type": "text/plain; x=application/json"}),
        ("POST", "/report_asset_materialization/users", {**OWN, "origin": "https://evil.example"}),
        ("GET", "/", {"host": "evil.example:3000"}),
        ("GET", "/", {"host": "127.0.0.1.evil.example"}),
        ("GET", "/", {}),
        ("GET", "/server_info", {**OWN, "origin": "https://evil.example"}),
        ("WEBSOCKET", "/graphql", {**OWN, "origin": "https://evil.example"}),
        ("WEBSOCKET", "/graphql", {"host": "evil.example", "origin": "http://evil.example"}),
    ],
)
def test_what_a_foreign_page_can_send_is_refused(method: str, path: str, headers: dict[str, str]):
    """A mutation by GET needs no consent from any browser; a name that resolves to us makes a foreign page ours."""
    assert not is_let_through(method, path, headers)
    assert not is_let_through(method, path, headers, hosts=("dagster.example.org",))


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("GET", "/runs/1?tab=logs", {"host": "localhost:3000"}),
        ("GET", "/graphql", {"host": "[::1]:3000"}),
        ("POST", "/graphql", OWN),
        ("POST", "/graphql", {"host": "127.0.0.1:3000", "content-type": "application/json"}),
        ("POST", "/graphql", {"host": "dagster.example.org", "origin": "https://dagster.example.org"}),
        ("POST", "/graphql", {"host": "127.0.0.1:3000", "origin": "https://dagster.example.org"}),
        ("POST", "/graphql", {"host": "ui.example.org:8443", "origin": "https://ui.example.org:8443"}),
        ("WEBSOCKET", "/graphql", OWN),
    ],
)
def test_the_ui_itself_and_programs_are_served(method: str, path: str, headers: dict[str, str]):
    """Under loopback names, under those of UI_HOSTS, and behind a proxy that changes the Host header."""
    assert is_let_through(method, path, headers, hosts=("dagster.example.org", "ui.example.org:8443"))


def test_no_page_shows_the_ui_in_a_frame():
    """A click on a page above an invisible frame would be a click in the UI."""
    assert (b"x-frame-options", b"DENY") in answer("GET", "/", OWN)["headers"]
