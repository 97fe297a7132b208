"""The read API for the organisation's own backend, answered from Postgres only.

Responses are made from the tables' columns, so that names, types and meanings stand in one place.
"""

import base64
import binascii
import math
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query, Request, Security
from fastapi.security import APIKeyHeader
from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy import ARRAY, Column, Connection, RowMapping

from pipelines.service.database_calls import DatabaseCalls
from pipelines.service.http.clients import Clients, KeyRing
from pipelines.service.http.http_errors import Refused, number_header, problems
from pipelines.settings import Settings
from resources.asleep.identifiers import MAX_ID_LENGTH
from resources.database.service.read_queries import (
    MONTH_COLUMNS,
    OVERVIEW_COLUMNS,
    RECENT_COLUMNS,
    SESSION_COLUMNS,
    Glance,
    Place,
    ReadQueries,
)
from resources.database.service.service_limits import Limit, LimitDecision, take_turn


def _model(name: str, about: str, columns: Iterable[Column[Any]]) -> type[BaseModel]:
    fields: dict[str, Any] = {}
    for column in columns:
        kind: Any = column.type.python_type
        if isinstance(column.type, ARRAY):
            kind = list[column.type.item_type.python_type]  # type: ignore[name-defined]
        fields[column.name] = (kind | None if column.nullable else kind, Field(description=column.comment))
    return create_model(name, __doc__=about, __config__=ConfigDict(extra="forbid"), **fields)


SessionOverview = _model("SessionOverview", "A sleep session without its stages.", OVERVIEW_COLUMNS)
Session = _model("Session", "A sleep session, latest version.", SESSION_COLUMNS)
MonthAverages = _model("MonthAverages", "A user's averages over one local calendar month.", MONTH_COLUMNS)
_RecentFigures = _model("RecentFigures", "Figures of a user's last dates.", RECENT_COLUMNS)


class RecentNights(_RecentFigures):  # type: ignore[misc, valid-type]
    """A user's nights on that many last dates of waking up, up to today (UTC), or to a night of tomorrow's date."""

    sessions: int = Field(description="Sessions whose night is one of these dates, whatever their state")
    days: int = Field(description="7 or 30")
    first_date: date = Field(description="First of these dates")


class SessionPage(BaseModel):
    """One page of a user's sessions, newest first."""

    user_id: str
    sessions: list[SessionOverview]  # type: ignore[valid-type]
    next_cursor: str | None = Field(description="Pass it as `cursor` for the next page; null on the last one")


class Freshness(BaseModel):
    """How current the response is."""

    last_synced_at: datetime | None = Field(description="Last time everything requested for this user was stored")
    newest_change_at: datetime | None = Field(description="Last time one of the user's sessions changed here")
    stale_months: int = Field(description="Months whose averages are about to be computed again")


class UserSummary(BaseModel):
    """A user at a glance."""

    user_id: str
    timezone: str | None = Field(description="Zone of the last session; without sessions the registered one")
    sessions: int = Field(description="Sessions stored, in any state; deleted ones do not count")
    last_session: SessionOverview | None = Field(description="The one that started last")  # type: ignore[valid-type]
    months: list[MonthAverages] = Field(  # type: ignore[valid-type]
        description="Averages of this and the last months that have sessions, newest first"
    )
    recent: list[RecentNights] = Field(description="The last 7 and the last 30 dates")
    freshness: Freshness


MAX_CURSOR_LENGTH = 6 * MAX_ID_LENGTH  # a session id of four-byte characters in base64, and a moment
_Id = Path(min_length=1, max_length=MAX_ID_LENGTH, pattern=r"^[^\x00-\x1f\x7f]+$")
SessionId = Annotated[str, _Id]
UserId = Annotated[str, _Id]
FIRST_YEAR, LAST_YEAR = 2000, 9000
_LIMITS = {
    "RateLimit-Limit": number_header("Requests that the tightest limit permits"),
    "RateLimit-Remaining": number_header("Requests that it still permits"),
    "RateLimit-Reset": number_header("Seconds until it permits another one; while some remain, until its window ends"),
    "RateLimit-Policy": {"description": "All limits, as requests;w=seconds", "schema": {"type": "string"}},
}
_service_key = APIKeyHeader(
    name="x-api-key", scheme_name="ServiceKey", description="A key of this service", auto_error=False
)


def read_routes(settings: Settings, calls: DatabaseCalls, clients: Clients) -> APIRouter:
    """The routes that answer queries about sessions and users.

    Args:
        settings: keys and limits.
        calls: how the tables are read.
        clients: counts requests with a wrong key.
    """
    router = APIRouter(prefix="/api", responses=problems(400, 401, 404, 422, 429, 503))
    keys, reader = KeyRing(settings.service_api_keys), _Reader(calls)
    overall = Limit("all", settings.service_requests_per_hour, 3600)
    sessions = Limit("sessions", settings.service_sessions_per_minute, 60)
    summary = Limit("summary", settings.service_summaries_per_minute, 60)

    def add(path: str, answer: Any, model: Any, limit: Limit, title: str) -> None:
        limits = (limit, overall)

        async def admit(request: Request, _shown: Annotated[str | None, Security(_service_key)]) -> None:
            """Let a request with a valid key pass while its limits last."""
            client = keys.client_of(request.headers.getlist("x-api-key"))
            if client is None:
                raise clients.refuse(request, "The key is missing or not valid.", "wrong_key")
            request.state.client = client
            decision = await calls.run(lambda connection: take_turn(connection, client, limits))
            request.state.headers = _headers(decision, limits)
            if not decision.is_allowed:
                exceeded = decision.limit
                reason = f"More than {exceeded.requests} requests in {exceeded.seconds} seconds; come back later."
                raise Refused(429, reason, outcome="too_many", retry_after=decision.wait_seconds)

        router.add_api_route(
            path,
            answer,
            response_model=model,
            dependencies=[Depends(admit)],
            summary=title,
            responses={200: {"headers": _LIMITS}},
        )

    add("/sessions/{session_id:path}", reader.session, Session, sessions, "Read one session")
    add("/users/{user_id:path}/sessions", reader.user_sessions, SessionPage, sessions, "List a user's sessions")
    add("/users/{user_id:path}/summary", reader.user_summary, UserSummary, summary, "See a user at a glance")
    return router


def _headers(decision: LimitDecision, limits: Sequence[Limit]) -> dict[str, str]:
    """The tightest limit, in the draft standard's names and in the older ones that many clients know."""
    values = {
        "limit": str(decision.limit.requests),
        "remaining": str(decision.remaining),
        "reset": str(math.ceil(decision.reset_seconds)),
    }
    policy = ", ".join(f"{limit.requests};w={limit.seconds}" for limit in limits)
    return {
        **{f"ratelimit-{name}": value for name, value in values.items()},
        **{f"x-ratelimit-{name}": value for name, value in values.items()},
        "ratelimit-policy": policy,
    }


class _Reader:
    """The responses, each from one transaction."""

    def __init__(self, calls: DatabaseCalls) -> None:
        self._calls = calls

    async def session(self, request: Request, session_id: SessionId) -> Any:
        """A session with its stages, latest version."""

        def read(connection: Connection) -> tuple[RowMapping | None, str | None]:
            found = ReadQueries(connection).session(session_id)
            return found, ReadQueries(connection).pseudonym(found["user_id"]) if found else None

        found, request.state.user = await self._calls.run(read)
        if found is None:
            raise _unknown("session")
        return dict(found)

    async def user_sessions(  # noqa: PLR0913, PLR0917 a route's parameters are arguments
        self,
        request: Request,
        user_id: UserId,
        first_day: Annotated[date | None, Query(alias="from", description="First local date, included")] = None,
        last_day: Annotated[date | None, Query(alias="to", description="Last local date, included")] = None,
        limit: Annotated[int, Query(ge=1, le=100, description="Sessions on a page")] = 20,
        cursor: Annotated[
            str | None, Query(max_length=MAX_CURSOR_LENGTH, description="`next_cursor` of the page before")
        ] = None,
    ) -> Any:
        """Newest first, without stages. A page stays valid while sessions arrive: none is skipped or repeated."""
        if first_day and last_day and first_day > last_day:
            raise Refused(422, "from: must not be later than to", outcome="invalid")
        after = _place_of(cursor) if cursor is not None else None

        def read(connection: Connection) -> tuple[list[RowMapping], bool, str]:
            queries = ReadQueries(connection)
            rows = queries.page(user_id, first_day=first_day, last_day=last_day, after=after, limit=limit + 1)
            return rows, bool(rows) or queries.is_registered(user_id), queries.pseudonym(user_id)

        rows, is_known, request.state.user = await self._calls.run(read)
        if not is_known:
            raise _unknown("user")
        page = rows[:limit]
        return {
            "user_id": user_id,
            "sessions": [dict(row) for row in page],
            "next_cursor": _cursor_of(page[-1]) if len(rows) > limit else None,
        }

    async def user_summary(
        self,
        request: Request,
        user_id: UserId,
        months: Annotated[int, Query(ge=1, le=24, description="Months with sessions, newest first")] = 2,
    ) -> Any:
        """The last session, the last 7 and 30 dates, averages of the last months, and how fresh all that is."""

        def read(connection: Connection) -> tuple[Glance | None, str]:
            today = datetime.now(UTC).date()
            glance = ReadQueries(connection).glance(user_id, months=months, today=today)
            return glance, ReadQueries(connection).pseudonym(user_id)

        glance, request.state.user = await self._calls.run(read)
        if glance is None:
            raise _unknown("user")
        return {
            "user_id": user_id,
            "timezone": glance.timezone,
            "sessions": glance.sessions,
            "last_session": dict(glance.last_session) if glance.last_session else None,
            "months": [dict(row) for row in glance.months],
            "recent": [dict(row) for row in glance.recent],
            "freshness": {
                "last_synced_at": glance.last_synced_at,
                "newest_change_at": glance.newest_change_at,
                "stale_months": glance.stale_months,
            },
        }


def _unknown(thing: str) -> Refused:
    return Refused(404, f"There is no such {thing}.", outcome="unknown")


def _cursor_of(row: Any) -> str:
    place = f"{row['session_start_time'].isoformat()} {row['session_id']}"
    return base64.urlsafe_b64encode(place.encode()).decode().rstrip("=")


def _place_of(cursor: str) -> Place:
    """The place that a cursor names.

    Raises:
        Refused: it is not one of ours.
    """
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        start, _, session_id = base64.b64decode(padded, b"-_", validate=True).decode().partition(" ")
        moment = datetime.fromisoformat(start)
        place = Place(moment.astimezone(UTC), session_id)
    except (UnicodeError, binascii.Error, ValueError, OverflowError):
        raise Refused(400, "cursor: not one of ours", outcome="invalid") from None
    is_possible = moment.tzinfo is not None and FIRST_YEAR <= moment.year <= LAST_YEAR
    if not is_possible or not session_id or "\x00" in session_id:
        raise Refused(400, "cursor: not one of ours", outcome="invalid")
    return place
