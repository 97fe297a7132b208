"""Who sends a request: the keys that are valid, and the addresses whose requests this worker counts in its memory.

Does not belong here: the read API's limits, which all workers share.
"""

import hashlib
import hmac
import ipaddress
import time
from collections.abc import Iterable, Sequence

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter
from pydantic import SecretStr

from pipelines.service.http.http_errors import Refused


class KeyRing:
    """The keys that are valid. Holds digests only, so that it cannot leak a key."""

    def __init__(self, keys: Iterable[SecretStr]) -> None:
        self._digests = tuple(hashlib.sha256(key.get_secret_value().encode()).digest() for key in keys if key)

    def client_of(self, shown: Sequence[str]) -> str | None:
        """A stable short name of the key that was shown, None when it is not valid.

        All keys are compared whatever the first ones say, and digests are compared, not keys: the time taken
        tells neither which key nor how much of one was right.

        Args:
            shown: every value of the header, as the server decoded it (Latin-1); exactly one is expected.
        """
        digest = hashlib.sha256(shown[0].encode("latin-1", "replace")).digest() if len(shown) == 1 else b""
        matches = [hmac.compare_digest(digest, known) for known in self._digests]
        return digest.hex()[:16] if any(matches) else None


class Clients:
    """Counts requests per client address.

    A valid key is let in however many wrong ones came from the same address, so that a stranger behind the same proxy
    cannot shut the real sender out.
    """

    def __init__(self, *, admitted_per_minute: int, refused_per_minute: int) -> None:
        self._limiter = FixedWindowRateLimiter(MemoryStorage())
        self._admitted = RateLimitItemPerMinute(admitted_per_minute)
        self._refused = RateLimitItemPerMinute(refused_per_minute)

    def admit(self, request: Request) -> None:
        """Count a request with a valid key; raises `Refused` when there were too many."""
        self._count(self._admitted, "admitted", request)

    def refuse(self, request: Request, detail: str, outcome: str) -> Refused:
        """Return the refusal of a wrong key or signature: 401, or 429 for a client that keeps trying.

        Args:
            request: of the client.
            detail: why, for the client.
            outcome: why, for log and metrics.
        """
        self._count(self._refused, "refused", request)
        return Refused(401, detail, outcome=outcome, headers={"www-authenticate": "ApiKey"})

    def _count(self, limit: RateLimitItemPerMinute, kind: str, request: Request) -> None:
        address = address_group(request.client.host if request.client else "unknown")
        if not self._limiter.hit(limit, kind, address):
            wait = self._limiter.get_window_stats(limit, kind, address).reset_time - time.time()
            raise Refused(429, "Too many requests; come back later.", outcome="too_many", retry_after=wait)


def address_group(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which one customer usually gets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))  # noqa: PLR2004
