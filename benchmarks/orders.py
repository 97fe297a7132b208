"""The order that a contender carries out: addresses, days and users, read from the command line."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date

KEY = "simulated-key"
Work = Callable[[], int]
"""Returns how many sessions were stored."""


@dataclass(frozen=True)
class Order:
    """What a contender is told."""

    api_url: str
    database_url: str
    days: tuple[date, date]
    connections: int

    def list_url(self) -> str:
        """One page holds all sessions of a user: the benchmark has at most 100 each."""
        first, last = self.days
        query = f"date_gte={first}&date_lte={last}&order_by=ASC&offset=0&limit=100"
        return f"{self.api_url}/data/v1/sessions?{query}"

    def session_url(self, session_id: str) -> str:
        """One session in full."""
        return f"{self.api_url}/data/v3/sessions/{session_id}"

    def headers(self, user_id: str) -> dict[str, str]:
        """What every request carries."""
        return {"x-api-key": KEY, "x-user-id": user_id, "timezone": "UTC", "accept-encoding": "gzip"}
