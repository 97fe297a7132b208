"""Client addresses: which are trusted proxies, and how many requests each one sent, counted in this worker's memory.

Does not belong here: the read API's limits, which all workers share.
"""

import ipaddress
import time
from collections.abc import Sequence

from fastapi import Request
from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import FixedWindowRateLimiter

from pipelines.service.http.http_errors import Refused


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
        """Count a request with a valid key.

        Raises:
            Refused: too many of them.
        """
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
            reset_at = self._limiter.get_window_stats(limit, kind, address).reset_time
            wait = max(1, round(reset_at - time.time() + 0.5))
            raise Refused(
                429, "Too many requests; come back later.", outcome="too_many", headers={"retry-after": str(wait)}
            )


def address_group(host: str) -> str:
    """What counts as one client: an IPv4 address, or the /64 of an IPv6 address, which one customer usually gets."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    return str(address) if address.version == 4 else str(ipaddress.ip_network((address, 64), strict=False))  # noqa: PLR2004


def is_trusted(host: str, proxies: Sequence[str]) -> bool:
    """Whether an address is one of the trusted proxies.

    Args:
        host: an address.
        proxies: addresses and networks.
    """
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return any(address in ipaddress.ip_network(proxy, strict=False) for proxy in proxies)
