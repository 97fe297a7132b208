"""What the rate limit and the circuit breaker are doing now, for people.

Lives here: reading.  Not here: taking part (`rate_limit.py`), printing.
"""

from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import Connection

from resources.database.rate_limit_row import Tuning, statement


@dataclass(frozen=True, slots=True)
class RateLimitState:
    """One API key's rate limit and circuit breaker."""

    key_id: str
    """First 16 hexadecimal digits of SHA-256 over the key."""
    requests_per_second: float
    """The lowest rate that a process announced in the last minute."""
    rate_in_force: float
    """That rate, cut by throttling and not yet recovered."""
    throttled_at: datetime | None
    """Last time the API throttled us and the rate was cut."""
    paused_until: datetime | None
    """Nobody asks before this moment; None when not paused."""
    circuit: str
    """`closed`: requests flow; `open`: none; `half_open`: one probe is under way."""
    open_since: datetime | None
    next_probe_at: datetime | None
    failures_in_row: int
    last_failure_at: datetime | None
    updated_at: datetime


def read_state(connection: Connection, *, tuning: Tuning | None = None) -> list[RateLimitState]:
    """Every key's state, the one used last first."""
    rows = connection.execute(statement("read"), asdict(tuning or Tuning())).mappings()
    return [RateLimitState(**row) for row in rows]
