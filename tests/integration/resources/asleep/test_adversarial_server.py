"""No response is ever taken for that of another request, whatever a server or gateway sends, plain and over TLS."""

import json
import logging
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from resources.asleep.errors import Malformed, Unavailable
from resources.asleep.http.http_client import HttpClient
from resources.asleep.transport import ApiRequest, RetryPolicy, Transport
from tests.adversary import FAULTS, Gateway, name_of
from tests.bad_server import Request, Server
from tests.unlimited import Unlimited

Serve = Callable[..., Server]

logger = logging.getLogger(__name__)

SHORT = 600
LONG = 10_000
HASTY = RetryPolicy(total_seconds=20, first_pause_seconds=0.001, longest_pause_seconds=0.002)


def echo(request: Request) -> tuple[int, bytes]:
    """The response names the request to which it belongs, at sizes around those of buffers and TLS records."""
    number = int(request.headers["x-user-id"])
    body = {"detail": "OK", "result": {"of": number, "padding": "x" * [10, 5000, 8100, 30_000][number % 4]}}
    return 200, json.dumps(body).encode()


def figures(serve: Serve, authority: Path | None, tls: ssl.SSLContext | None, *, seed: int, questions: int) -> None:
    gateway = Gateway(echo, seed, share=0.4)
    server = serve(gateway, tls)

    with HttpClient(server.url, "key", timeout_seconds=1, max_connections=6, ca_bundle=authority) as client:
        transport = Transport(Unlimited(), client, retry_policy=HASTY)

        def ask(number: int) -> int | None:
            try:
                answer = transport.get(
                    ApiRequest("read_user", f"/users/{number}", str(number), {}, {"x-user-id": str(number)})
                )
            except (Unavailable, Malformed):
                return None
            return int(answer.result["of"])

        with ThreadPoolExecutor(8) as threads:
            received = list(threads.map(ask, range(questions)))
    assert [of for number, of in enumerate(received) if of not in (number, None)] == []
    assert received.count(None) < questions / 20, "most faults are over at the next attempt"
    assert gateway.reused.total() == 0, f"connections in doubt were used again after {gateway.reused}"
    assert set(gateway.played) >= {name_of(fault) for fault in FAULTS}
    logger.info(
        "%d requests for %d questions: %d faults, %d questions failed, %d connections",
        *(len(server.requests), questions, gateway.played.total(), received.count(None), server.connections),
    )


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_no_response_belongs_to_another_request(
    serve: Serve, authority: Path, tls: ssl.SSLContext, mode: str, seed: int
):
    figures(serve, authority, tls if mode == "tls" else None, seed=seed, questions=SHORT)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(3, 6))
@pytest.mark.parametrize("mode", ["plain", "tls"])
def test_no_response_of_many_belongs_to_another_request(
    serve: Serve, authority: Path, tls: ssl.SSLContext, mode: str, seed: int
):
    figures(serve, authority, tls if mode == "tls" else None, seed=seed, questions=LONG)
