"""Who may read, and how often: keys, limits, and the headers that tell what is left.

Lives here: a dependency for the read API's routes.  Not here: counting (`resources.database.service_limits`).
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader
from sqlalchemy import Engine

from pipelines.service.clients import Clients
from pipelines.service.http_errors import Refused
from pipelines.service.keys import KeyRing
from resources.database.service_limits import Limit, Verdict, take_turn

_service_key = APIKeyHeader(
    name="x-api-key", scheme_name="ServiceKey", description="A key of this service", auto_error=False
)


def admission(engine: Engine, keys: KeyRing, clients: Clients, limits: Sequence[Limit]) -> Callable[..., None]:
    """A dependency that lets a request with a valid key in while its limits last.

    Raises (when called):
        Refused: 401 or 429.
    """

    def admit(request: Request, _shown: Annotated[str | None, Security(_service_key)]) -> None:
        client = keys.client_of(request.headers.getlist("x-api-key"))
        if client is None:
            raise clients.refuse(request, "The key is missing or not valid.", "wrong_key")
        request.state.client = client
        with engine.begin() as connection:
            verdict = take_turn(connection, client, limits)
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


def _headers(verdict: Verdict, limits: Sequence[Limit]) -> dict[str, str]:
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
