"""When may the next request go out? What the transport asks before every single attempt.

Lives here: the protocol, and a gate for one process without a limit.  Not here: the shared state (that is
`resources.database.rate_limit`), HTTP.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Protocol


class Outcome(Enum):
    """What an attempt tells about the health of the API."""

    ANSWERED = "answered"
    """Any answer that is neither throttling nor a failure of the service, 4xx included."""
    THROTTLED = "throttled"
    """403 with `rate limit` in its text, or 429."""
    BROKEN = "broken"
    """5xx, a time-out, a refused, reset or truncated connection."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Permission for exactly one attempt."""

    granted_at: datetime
    """UTC by the clock that all processes share (the database server's): answers can be put in order by it."""
    waited_seconds: float
    is_probe: bool = False
    """True when the circuit is half-open and this is the fleet's only attempt."""


class Gate(Protocol):
    """Rate limit and circuit breaker of all processes that use one API key."""

    def enter(self, *, give_up_at: float) -> Turn:
        """Wait for this thread's turn.

        Args:
            give_up_at: `time.monotonic()` moment after which waiting is pointless.

        Raises:
            Unavailable: no turn before `give_up_at` (rate too low, circuit open, or the database away).
        """
        ...

    def sent(self, turn: Turn) -> None:
        """Say that the turn's request has just been written to its connection: that is when the server counts it."""
        ...

    def leave(self, turn: Turn, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Report what came of the turn; every `enter` is followed by exactly one `leave`."""
        ...


class OpenGate:
    """Lets everybody through at once. For servers without a limit and for tests of other things."""

    def enter(self, *, give_up_at: float) -> Turn:  # noqa: ARG002 the protocol's signature
        """Grant a turn without waiting."""
        return Turn(granted_at=datetime.now(UTC), waited_seconds=0.0)

    def sent(self, turn: Turn) -> None:
        """Nobody counts."""

    def leave(self, turn: Turn, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Forget the turn."""
