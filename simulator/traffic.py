"""Counters and a log of the requests to the API."""

from collections import Counter, deque
from typing import Any, NamedTuple

from simulator.rate import BusiestSecond

LOG_LENGTH = 200_000


class Exchange(NamedTuple):
    """One request and its status; status 0 means that no answer was given."""

    number: int
    at: float
    endpoint: str
    user: str | None
    session: str | None
    status: int


class Traffic:
    """Counts the requests to the API; those to the control plane are not part of it."""

    def __init__(self) -> None:
        self._number = 0
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.requests: Counter[str] = Counter()
        self.by_status: Counter[int] = Counter()
        self.per_client: Counter[str] = Counter()
        self.throttled = 0
        self.connections = 0
        self.busiest = BusiestSecond()
        self.first_at: float | None = None
        self.last_at: float | None = None
        self.log: deque[Exchange] = deque(maxlen=LOG_LENGTH)

    def note(self, client: str, exchange: Exchange) -> None:
        """One request was answered.

        Args:
            client: its `user-agent`.
            exchange: the request and its outcome.
        """
        self.requests[exchange.endpoint] += 1
        self.by_status[exchange.status] += 1
        self.per_client[client] += 1
        self.busiest.add(exchange.at)
        self.first_at = exchange.at if self.first_at is None else self.first_at
        self.last_at = exchange.at
        self.log.append(exchange)

    def next_number(self) -> int:
        """Numbers of exchanges go on for ever, also across resets."""
        self._number += 1
        return self._number

    def summary(self) -> dict[str, Any]:
        """Everything counted since the last reset."""
        return {
            "requests": dict(self.requests),
            "total": sum(self.requests.values()),
            "throttled": self.throttled,
            "by_status": {str(status): count for status, count in self.by_status.items()},
            "busiest_second": self.busiest.highest,
            "per_client": dict(self.per_client),
            "connections": self.connections,
            "first_at": self.first_at,
            "last_at": self.last_at,
        }
