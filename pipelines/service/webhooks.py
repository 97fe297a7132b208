"""Receives Asleep's events: checks key, signature and form, and puts them into the inbox."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from fastapi import APIRouter, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, Field, SecretStr

from pipelines.service.bounds import Bounds
from pipelines.service.http.body import BodyMemory, decompressed, is_deeper_than, read_body
from pipelines.service.http.clients import Clients, KeyRing
from pipelines.service.http.http_errors import Refused, database_unavailable, problems
from pipelines.service.inbox_writer import InboxUnavailable, InboxWriter
from pipelines.settings import Settings
from resources.database.service.inbox import IncomingEvent
from resources.json_decoding import decode
from resources.notifications.signature import verify

_SECRET_HEADERS = frozenset({"x-api-key", "x-signature", "authorization", "proxy-authorization", "cookie"})
_MAX_HEADERS, _MAX_HEADER = 50, 1024
_MAX_LEVELS = 100
"""No real event comes near; thousands would exhaust the stack of a later reader."""

_asleep_key = APIKeyHeader(
    name="x-api-key", scheme_name="AsleepKey", description="A key of the Asleep environment", auto_error=False
)

_BODY = {
    "requestBody": {
        "required": True,
        "description": "An event of version V1, V2 or V3; any JSON object of at most 100 levels is stored. "
        "The body may be compressed with gzip.",
        "content": {"application/json": {"schema": {"type": "object"}}},
    }
}


class EventAccepted(BaseModel):
    """The event is safe with us."""

    status: Literal["stored", "duplicate"] = Field(description="duplicate: this body had arrived before")


def webhook_routes(settings: Settings, bounds: Bounds, clients: Clients, inbox: InboxWriter) -> APIRouter:
    """The route that receives events.

    Args:
        settings: keys and secrets.
        bounds: of bodies.
        clients: counts requests per address.
        inbox: where events are stored.
    """
    router = APIRouter()
    keys, memory = KeyRing(settings.asleep_api_key), BodyMemory(bounds.unfinished_bodies_bytes)

    @router.post(
        "/webhooks/asleep",
        summary="Receive an event from Asleep",
        openapi_extra=_BODY,
        responses=problems(400, 401, 408, 413, 429, 503),
    )
    async def receive_event(
        request: Request,
        _shown: Annotated[str | None, Security(_asleep_key)],
    ) -> EventAccepted:
        """Store an event in the inbox; it is handled later. Responds after the commit."""
        request.state.client = keys.client_of(request.headers.getlist("x-api-key"))
        if request.state.client is None:
            raise clients.refuse(request, "The key is missing or not valid.", "wrong_key")
        clients.admit(request)
        sent = await read_body(request, limit_bytes=bounds.body_limit_bytes, seconds=bounds.body_seconds, memory=memory)
        body = decompressed(sent, limit_bytes=bounds.body_limit_bytes)
        if not any(_is_signed_well(settings.webhook_secret, request, signed) for signed in (sent, body)):
            raise clients.refuse(request, "The signature is missing or not valid.", "wrong_signature")
        _require_object(body)
        headers = _without_secrets(request.headers, keys)
        try:
            is_new = await inbox.put(IncomingEvent(body, headers))
        except InboxUnavailable:
            raise database_unavailable() from None
        request.state.outcome = "stored" if is_new else "duplicate"
        return EventAccepted(status="stored" if is_new else "duplicate")

    return router


def _is_signed_well(secrets: Sequence[SecretStr], request: Request, body: bytes) -> bool:
    """A signature that cannot be checked counts as a wrong one; without a secret none is expected."""
    shown = request.headers.getlist("x-signature")
    if not secrets:
        return not shown
    signature = shown[0].encode("latin-1", "replace") if len(shown) == 1 else b""
    matches = [verify(secret.get_secret_value(), body, signature) for secret in secrets]
    return any(matches)


def _require_object(body: bytes) -> None:
    try:
        value = decode(body)
    except ValueError:
        raise Refused(400, "The body is not JSON.", outcome="not_json") from None
    if not isinstance(value, dict):
        raise Refused(400, "The body is not a JSON object.", outcome="not_an_object")
    if is_deeper_than(_MAX_LEVELS, value):
        raise Refused(400, f"The body has more than {_MAX_LEVELS} levels.", outcome="too_deep")


def _without_secrets(headers: Mapping[str, str], keys: KeyRing) -> dict[str, str]:
    """The headers worth keeping: never a key, even one that strayed into another header."""
    kept = [
        (name, _text(value)[:_MAX_HEADER])
        for name, value in headers.items()
        if name not in _SECRET_HEADERS and keys.client_of([value]) is None
    ]
    return dict(kept[:_MAX_HEADERS])


def _text(value: str) -> str:
    """A header's value that was sent as UTF-8; the server decodes every value as Latin-1."""
    try:
        return value.encode("latin-1").decode()
    except UnicodeError:
        return value
