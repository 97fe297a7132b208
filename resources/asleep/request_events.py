"""One frozen event for each attempt at a request; logs and metrics listen to them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to the Asleep API and what came of it. Holds no key, no id in clear, no payload."""

    endpoint: str
    """`list_sessions`, `read_session`, `average_stats` or `read_user`."""
    user: str
    """Pseudonym of the user concerned."""
    number: int
    """1 for the first attempt at a request, 2 for its first repetition, …"""
    status: int | None
    """HTTP status, None without a response."""
    outcome: str
    """`ok`, `throttled`, or the `kind` of the error in `resources.asleep.errors`."""
    waited_seconds: float
    """Time spent waiting for a permit of the rate limiter."""
    duration_seconds: float
    """Time from sending to the last byte."""
    received_bytes: int


Listener = Callable[[Attempt], None]
