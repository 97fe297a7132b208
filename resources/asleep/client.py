"""The requests that the Asleep API takes, and the records that it returns.

Does not belong here: retries and the rate limit (`transport`), JSON fields (`parse_…`), the order of pages (`paging`).
"""

from contextlib import suppress
from datetime import date, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Protocol
from urllib.parse import quote

from resources.asleep.errors import RAW_BYTES_KEPT, IdentifierRefused, Malformed, RequestRefused
from resources.asleep.identifiers import can_be_sent
from resources.asleep.paging import PAGE_ROWS, Pager, PageSize
from resources.asleep.parsing import parse_average_stats, parse_session_list, parse_session_result, parse_user
from resources.asleep.records import AverageStats, ListedSession, SessionList, SleepSession, UserProfile
from resources.asleep.transport import ApiRequest, ApiResult

MAX_DAYS = 100
"""Of one request for averages; whether the API allows 101 dates is unknown."""

_UTC = {"timezone": "UTC"}


class Requests(Protocol):
    """Sends requests; see `resources.asleep.transport.Transport`."""

    def get(self, request: ApiRequest) -> ApiResult:
        """Send a request and return its result."""
        ...


class AsleepClient:
    """Reads users and their sessions. Safe to share between threads.

    Days are UTC days of sessions' starts, both included. Each method `get_…` returns what the API returns, and the
    method beside it, with the same arguments, the records that it holds.
    """

    def __init__(self, requests: Requests, *, account: str = "") -> None:
        self.requests = requests
        self.account = account
        """Stands for base URL and key for which facts about the API are stored."""
        self.page_size = PageSize()
        self._pager = Pager(self.page_size)
        self._last_moments: tuple[datetime, str | None] | None = None

    def get_page(
        self, user_id: str, first_day: date, last_day: date, *, offset: int, limit: int = PAGE_ROWS
    ) -> ApiResult:
        """One page of a user's sessions, oldest first.

        Args:
            user_id: the user.
            first_day: first UTC day of starts.
            last_day: last UTC day of starts.
            offset: rows to skip.
            limit: most rows of the page.
        """
        params = {
            "date_gte": first_day.isoformat(),
            "date_lte": last_day.isoformat(),
            "order_by": "ASC",
            "offset": str(offset),
            "limit": str(limit),
        }
        headers = {"x-user-id": _checked(user_id), **_UTC}
        return self._noting_clock(ApiRequest("list_sessions", "/data/v1/sessions", user_id, params, headers))

    def list_page(self, *page: Any, **options: Any) -> tuple[ListedSession, ...]:
        """The rows of a page; the arguments are those of `get_page`."""
        return parse_session_list(self.get_page(*page, **options).result)

    def list_sessions(self, user_id: str, first_day: date, last_day: date, *, until_empty: bool = False) -> SessionList:
        """All of a user's sessions.

        Args:
            user_id: the user.
            first_day: first UTC day of starts.
            last_day: last UTC day of starts.
            until_empty: end with a page that brings nothing new, whatever page size is known.

        Raises:
            Unavailable: the list kept changing while it was read.
        """
        return self._pager.read_all(
            lambda offset: self.list_page(user_id, first_day, last_day, offset=offset), until_empty=until_empty
        )

    def get_session(self, user_id: str, session_id: str) -> ApiResult:
        """One session in full.

        Args:
            user_id: the user.
            session_id: one of the user's sessions.
        """
        path = f"/data/v3/sessions/{quote(_checked(session_id), safe='')}"
        headers = {"x-user-id": _checked(user_id), **_UTC}
        return self.requests.get(ApiRequest("read_session", path, user_id, headers=headers))

    def read_session(self, user_id: str, session_id: str) -> SleepSession:
        """One session in full.

        Args:
            user_id: the user.
            session_id: one of the user's sessions.

        Raises:
            SessionGone: deleted at the source.
            Malformed: the response is about another session, or not a session at all.
        """
        response = self.get_session(user_id, session_id)
        session = parse_session_result(response.result, user_id=user_id, asked_at=response.asked_at)
        if session.session_id != session_id:
            raise Malformed("session.id: not the session requested", raw=session.raw[:RAW_BYTES_KEPT])
        return session

    def get_average_stats(self, user_id: str, first_day: date, last_day: date) -> ApiResult:
        """The API's own averages over at most 100 days.

        Args:
            user_id: the user.
            first_day: first UTC day of starts.
            last_day: last UTC day of starts.
        """
        if not 0 <= (last_day - first_day).days < MAX_DAYS:
            raise ValueError(f"averages cover 1 to {MAX_DAYS} days")
        path = f"/data/v1/users/{quote(_checked(user_id), safe='')}/average-stats"
        params = {"start_date": first_day.isoformat(), "end_date": last_day.isoformat()}
        return self._noting_clock(ApiRequest("average_stats", path, user_id, params, _UTC))

    def average_stats(self, user_id: str, first_day: date, last_day: date) -> AverageStats:
        """The API's own averages over at most 100 days, as records.

        Args:
            user_id: the user.
            first_day: first UTC day of starts.
            last_day: last UTC day of starts.
        """
        response = self.get_average_stats(user_id, first_day, last_day)
        return parse_average_stats(response.result, asked_at=response.asked_at)

    def get_user(self, user_id: str) -> ApiResult:
        """A user's profile."""
        path = f"/ai/v1/users/{quote(_checked(user_id), safe='')}"
        return self.requests.get(ApiRequest("read_user", path, user_id))

    def read_user(self, user_id: str) -> UserProfile:
        """A user's profile.

        Raises:
            UserGone: deleted at the source.
        """
        return parse_user(self.get_user(user_id).result, user_id=user_id)

    def _noting_clock(self, request: ApiRequest) -> ApiResult:
        response = self.requests.get(request)
        self._last_moments = response.asked_at, response.date
        return response

    def clock_ahead(self) -> timedelta | None:
        """By how much the API's clock was ahead of ours in the last list or average-stats, up to a request's duration.

        None when there was none, or its `Date` cannot be read.
        """
        asked_at, date_header = self._last_moments or (None, None)
        try:
            return parsedate_to_datetime(date_header) - asked_at if asked_at and date_header else None
        except (TypeError, ValueError):
            return None

    def check_key(self) -> None:
        """Send one request that names no user: the API refuses it, but a wrong key it refuses first.

        Raises:
            KeyRejected: the key is wrong.
            AsleepError: the account is refused, or the API does not respond.
        """
        with suppress(RequestRefused):
            self.requests.get(ApiRequest("list_sessions", "/data/v1/sessions", "", {"limit": "1"}, _UTC))


def _checked(identifier: str) -> str:
    """An identifier that can be sent."""
    if not can_be_sent(identifier):
        raise IdentifierRefused("this identifier cannot be sent: it is empty, or holds characters that no id has")
    return identifier
