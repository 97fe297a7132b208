"""Admits requests to the read API by key and limit, and reports in headers how many requests are left."""

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader

from pipelines.service.database_calls import DatabaseCalls
from pipelines.service.http.clients import Clients
from pipelines.service.http.http_errors import Refused
from pipelines.service.keys import KeyRing
from resources.database.service.service_limits import Limit, LimitDecision, take_turn

_service_key = APIKeyHeader(
    name="x-api-key", scheme_name="ServiceKey", description="A key of this service", auto_error=False
)


def admission(
    calls: DatabaseCalls, keys: KeyRing, clients: Clients, limits: Sequence[Limit]
) -> Callable[..., Awaitable[None]]:
    """A dependency that admits a request with a valid key while its limits last.

    Args:
        calls: how the counters are reached.
        keys: that are valid.
        clients: counts requests with a wrong key.
        limits: all of them have to permit the request.

    Raises (when called):
        Refused: 401 or 429.
    """

    async def admit(request: Request, _shown: Annotated[str | None, Security(_service_key)]) -> None:
        client = keys.client_of(request.headers.getlist("x-api-key"))
        if client is None:
            raise clients.refuse(request, "The key is missing or not valid.", "wrong_key")
        request.state.client = client
        verdict = await calls.run(lambda connection: take_turn(connection, client, limits))
        request.state.headers = _headers(verdict, limits)
        if not verdict.is_allowed:
            wait = max(1, math.ceil(verdict.wait_seconds))
            raise Refused(
                429,
                f"More than {verdict.limit.requests} requests in {verdict.limit.seconds} seconds; come back later.",
                outcome="too_many",
                headers={"retry-after": str(wait)},
            )

    return admit


def _headers(verdict: LimitDecision, limits: Sequence[Limit]) -> dict[str, str]:
    """The tightest limit, in the draft standard's names and in the older ones that many clients know."""
    values = {
        "limit": str(verdict.limit.requests),
        "remaining": str(verdict.remaining),
        "reset": str(math.ceil(verdict.reset_seconds)),
    }
    policy = ", ".join(f"{limit.requests};w={limit.seconds}" for limit in limits)
    return {
        **{f"ratelimit-{name}": value for name, value in values.items()},
        **{f"x-ratelimit-{name}": value for name, value in values.items()},
        "ratelimit-policy": policy,
    }
