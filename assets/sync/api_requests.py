"""Requests that the sync of a user makes, their responses, and how steps of a sync run side by side.

A sync is a generator: each `yield` adds requests and receives the next response. It may end only when none of its
requests is open. Errors are values, because a sync with several open requests has no place to raise them.
"""

from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import ParamSpec, TypeVar

from sqlalchemy.exc import SQLAlchemyError

from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Malformed
from resources.asleep.records import AverageStats, SessionList, SleepSession, UserProfile

T = TypeVar("T")
Parameters = ParamSpec("Parameters")


class Endpoint(Enum):
    """The calls of the Asleep API that a sync makes."""

    LIST_SESSIONS = "list_sessions"
    READ_SESSION = "read_session"
    READ_USER = "read_user"
    AVERAGE_STATS = "average_stats"


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One request about one user. Two equal requests are two: each has a response of its own."""

    user_id: str
    endpoint: Endpoint
    session_id: str | None = None
    window: Window | None = None
    until_empty: bool = False  # of a list: end with a page that brings nothing new, whatever page size is known


Result = SessionList | SleepSession | UserProfile | AverageStats | AsleepError


@dataclass(frozen=True, slots=True)
class Response:
    """The result of a request, or its error as a value."""

    request: Request
    sent_at: datetime  # by the database's clock, no later than the moment to which the result belongs
    result: Result


Steps = Generator[Sequence[Request], Response, T]


def together(parts: Iterable[Steps[None]]) -> Steps[None]:
    """Run the parts side by side: all their first requests at once, then each goes on with its own responses."""
    owners: dict[Request, Steps[None]] = {}
    new: list[Request] = []

    def resume(part: Steps[None], response: Response | None) -> None:
        try:
            requests = part.send(response)  # type: ignore[arg-type]  # a generator starts with None
        except StopIteration:
            return
        owners.update(dict.fromkeys(requests, part))
        new.extend(requests)

    for part in parts:
        resume(part, None)
    while owners:
        requests, new = new, []
        response = yield requests
        resume(owners.pop(response.request), response)


def send(api: AsleepClient, request: Request, now: Callable[[], datetime]) -> Response:
    """Send a request to the API; an error that concerns this request alone becomes the response's result.

    Args:
        api: the client of the Asleep API.
        request: the request to send.
        now: the database's clock.

    Raises:
        Rejected: the API refuses the account, so no other request would succeed either.
        SQLAlchemyError: the database, which holds the rate limit, cannot be used.
    """
    sent_at = now()
    try:
        return Response(request, sent_at, _call(api, request))
    except Exception as error:  # noqa: BLE001 it concerns this request alone
        return Response(request, sent_at, error_as_value(error))


def error_as_value(error: Exception) -> AsleepError:
    """The error as the result of its request; one that would meet every other request too is raised again."""
    if isinstance(error, SQLAlchemyError) or (isinstance(error, AsleepError) and error.stops_everything):
        raise error
    return error if isinstance(error, AsleepError) else Malformed(f"the request failed ({type(error).__name__})")


def as_value(call: Callable[Parameters, T], *args: Parameters.args, **options: Parameters.kwargs) -> T | AsleepError:
    """The result of a call of the client, or its error as a value; one that would meet every call too is raised."""
    try:
        return call(*args, **options)
    except AsleepError as error:
        return error_as_value(error)


def _call(api: AsleepClient, request: Request) -> Result:
    if request.endpoint is Endpoint.LIST_SESSIONS and request.window is not None:
        return api.list_sessions(request.user_id, *request.window.days_to_list, until_empty=request.until_empty)
    if request.endpoint is Endpoint.AVERAGE_STATS and request.window is not None:
        first, last = request.window.start.date(), (request.window.end - timedelta(microseconds=1)).date()
        return api.average_stats(request.user_id, first, last)
    if request.endpoint is Endpoint.READ_SESSION and request.session_id is not None:
        return api.read_session(request.user_id, request.session_id)
    return api.read_user(request.user_id)
