"""The read API's responses, made from the tables' columns, so that names, types and meanings stand in one place."""

from collections.abc import Iterable
from datetime import date, datetime, time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, create_model
from sqlalchemy import ARRAY, Boolean, Column, Date, DateTime, Double, Integer, Text, Time

from resources.database.service.read_queries import MONTH_COLUMNS, OVERVIEW_COLUMNS, RECENT_COLUMNS, SESSION_COLUMNS

_TYPES: tuple[tuple[type[Any], type[Any]], ...] = (
    (DateTime, datetime),
    (Date, date),
    (Time, time),
    (Double, float),
    (Integer, int),
    (Boolean, bool),
    (Text, str),
)


def _type_of(kind: Any) -> Any:
    if isinstance(kind, ARRAY):
        return list[_type_of(kind.item_type)]  # type: ignore[misc]
    return next(ours for theirs, ours in _TYPES if isinstance(kind, theirs))


def _model(name: str, about: str, columns: Iterable[Column[Any]]) -> type[BaseModel]:
    fields: dict[str, Any] = {
        column.name: (_type_of(column.type) | None if column.nullable else _type_of(column.type),
                      Field(description=column.comment))
        for column in columns
    }  # fmt: skip
    return create_model(name, __doc__=about, __config__=ConfigDict(extra="forbid"), **fields)


SessionOverview = _model("SessionOverview", "A sleep session without its stages.", OVERVIEW_COLUMNS)
Session = _model("Session", "A sleep session, latest version.", SESSION_COLUMNS)
MonthAverages = _model("MonthAverages", "A user's averages over one local calendar month.", MONTH_COLUMNS)


_RecentFigures = _model("RecentFigures", "Figures of a user's last dates.", RECENT_COLUMNS)


class RecentNights(_RecentFigures):  # type: ignore[misc, valid-type]
    """A user's nights on that many last dates of waking up, today (UTC) included."""

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
