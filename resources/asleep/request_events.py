"""One frozen event per attempt to talk to the Asleep API; logs and metrics listen to them.

Lives here: the event and how a user is named in it.  Not here: decisions, log formats, metric names.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Attempt:
    """One request to the Asleep API and what came of it. Holds no key, no id in clear, no payload."""

    endpoint: str
    """`list_sessions`, `read_session`, `average_stats` or `read_user`."""
    user: str
    """Pseudonym of the user asked about."""
    number: int
    """1 for the first attempt at a request, 2 for its first repetition, …"""
    status: int | None
    """HTTP status, None when no answer came."""
    outcome: str
    """`ok`, `throttled`, or the `kind` of the error in `resources.asleep.errors`."""
    waited_seconds: float
    """Time spent waiting for permission of the rate limit."""
    duration_seconds: float
    """Time from sending to the last byte."""
    received_bytes: int


Listener = Callable[[Attempt], None]
