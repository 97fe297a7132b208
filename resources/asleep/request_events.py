"""One frozen event per attempt to talk to the Asleep API; logs and metrics listen to them.

Lives here: the event and how a user is named in it.  Not here: decisions, log formats, metric names.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass


def pseudonym(user_id: str) -> str:
    """A stable short name for a user that is safe in logs, run config and UI metadata.

    The first 16 hexadecimal digits of SHA-256 over the id's UTF-8 bytes; SQL can compute the same with
    `left(encode(sha256(convert_to(user_id, 'UTF8')), 'hex'), 16)`.
    """
    return hashlib.sha256(user_id.encode()).hexdigest()[:16]


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
