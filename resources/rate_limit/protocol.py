"""What a sender of requests needs of a rate limiter."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, Protocol


class Outcome(Enum):
    """What one attempt shows about the API's health."""

    ANSWERED = "answered"  # any response that is neither of the others, 4xx included
    THROTTLED = "throttled"  # refused because there were too many requests
    BROKEN = "broken"  # 5xx, a time-out, or a refused, reset or truncated connection


@dataclass(frozen=True, slots=True)
class Permit:
    """Permission for one attempt, given at a moment of the database's clock, which all processes share."""

    granted_at: datetime
    waited_seconds: float
    is_probe: bool = False  # the circuit is half-open, and this is the only attempt of all processes
    slot: Any = field(default=None, repr=False)  # the limiter's own


class PermitUnavailable(Exception):
    """No permit in time. The message names the reason: the rate, throttling, the open circuit or the database."""


class RateLimiter(Protocol):
    """Rate limit and circuit breaker of all processes that use one API key. Its methods are called in this order."""

    def acquire(self, *, give_up_at: float) -> Permit:
        """Wait for a permit until `give_up_at` (`time.monotonic()`), or raise `PermitUnavailable`. Connect before."""

    def sent(self, permit: Permit) -> None:
        """Record that the request has just been written to its connection, which is when the server counts it."""

    def report(self, permit: Permit, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Report the result of the attempt; exactly once for each permit, sent or not.

        Args:
            permit: of the attempt.
            outcome: what came of it.
            retry_after_seconds: as the response names it.
        """
