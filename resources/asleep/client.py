"""The questions that can be put to the Asleep API, and the records that answer them.

Lives here: endpoints, parameters, paging.  Not here: retries, the rate limit, HTTP, JSON fields, table rows.
"""

from datetime import date

from resources.asleep.records import AverageStats, ListedSession, SessionList, SleepSession, UserProfile
from resources.asleep.transport import Transport


class AsleepClient:
    """Reads users and their sessions. Safe to share between threads."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def list_page(
        self, user_id: str, first_day: date, last_day: date, *, offset: int, limit: int = 100
    ) -> tuple[ListedSession, ...]:
        """One page of a user's sessions that started on the given UTC days, oldest first."""
        raise NotImplementedError

    def list_sessions(self, user_id: str, first_day: date, last_day: date) -> SessionList:
        """All of a user's sessions that started on the given UTC days, both included."""
        raise NotImplementedError

    def read_session(self, user_id: str, session_id: str) -> SleepSession:
        """One session in full."""
        raise NotImplementedError

    def average_stats(self, user_id: str, first_day: date, last_day: date) -> AverageStats:
        """The API's own averages over at most 100 days."""
        raise NotImplementedError

    def read_user(self, user_id: str) -> UserProfile:
        """A user's profile."""
        raise NotImplementedError
