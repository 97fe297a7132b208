"""The read API's queries: one session, a user's sessions page by page, a user at a glance."""

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

from sqlalchemy import Column, Connection, RowMapping, and_, exists, func, select, tuple_

from resources.database.schema.bookkeeping import stale_months
from resources.database.schema.tables import monthly_averages, sleep_sessions, users
from resources.load_sql import load_sql

_STAGES = ("sleep_stages", "breath_stages", "snoring_stages")
_INTERNAL = frozenset({"payload_hash", "contract_violations", "fetched_at", "created_at", "deleted_at"})

SESSION_COLUMNS: tuple[Column[Any], ...] = tuple(
    c for c in sleep_sessions.c if c.computed is None and c.name not in _INTERNAL
)
"""A session as a client sees it."""
OVERVIEW_COLUMNS: tuple[Column[Any], ...] = tuple(c for c in SESSION_COLUMNS if c.name not in _STAGES)
"""The same without its stages."""
MONTH_COLUMNS: tuple[Column[Any], ...] = tuple(c for c in monthly_averages.c if c.name != "user_id")
RECENT_COLUMNS: tuple[Column[Any], ...] = tuple(
    monthly_averages.c[name]
    for name in (
        "sessions", "nights", "valid_nights", "naps", "avg_time_in_sleep_of_date", "avg_onset_of_night",
        "avg_wake_of_night", "avg_efficiency_of_night", "avg_latency_of_night", "avg_waso_of_night",
    )
)  # fmt: skip
"""Figures of the last days: what they mean in a month they mean here."""


class Place(NamedTuple):
    """Where a page ended: the next one begins below."""

    session_start_time: datetime
    session_id: str


@dataclass(frozen=True, slots=True)
class Glance:
    """A user at a glance."""

    sessions: int
    last_session: RowMapping | None
    months: list[RowMapping]
    """Newest first."""
    recent: list[RowMapping]
    """The last 7 and 30 dates up to today (UTC), or up to a night of tomorrow's date."""
    timezone: str | None
    """The zone by which the last session counts; without sessions the registered one."""
    last_synced_at: datetime | None
    newest_change_at: datetime | None
    stale_months: int
    """Months whose averages are being computed again."""


class ReadQueries:
    """The queries, over a connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def session(self, session_id: str) -> RowMapping | None:
        """One session with its stages; None when there is none, or it was deleted at the source."""
        s = sleep_sessions.c
        statement = select(*SESSION_COLUMNS).where(s.session_id == session_id, s.deleted_at.is_(None))
        return self._connection.execute(statement).mappings().one_or_none()

    def page(
        self, user_id: str, *, first_day: date | None, last_day: date | None, after: Place | None, limit: int
    ) -> list[RowMapping]:
        """A user's sessions whose local date is in the range, newest first, without stages.

        Args:
            user_id: whose.
            first_day: first local date, included; None for no bound.
            last_day: last local date, included; None for no bound.
            after: where the page before ended; None for the first page.
            limit: how many at most.
        """
        s = sleep_sessions.c
        statement = select(*OVERVIEW_COLUMNS).where(s.user_id == user_id, s.deleted_at.is_(None))
        if first_day is not None:
            statement = statement.where(s.local_date >= first_day)
        if last_day is not None:
            statement = statement.where(s.local_date <= last_day)
        if after is not None:
            is_below = tuple_(s.session_start_time, s.session_id) < tuple_(*after)
            statement = statement.where(s.session_start_time <= after.session_start_time, is_below)
        ordered = statement.order_by(s.session_start_time.desc(), s.session_id.desc()).limit(limit)
        return list(self._connection.execute(ordered).mappings())

    def pseudonym(self, user_id: str) -> str:
        """The user's short name, for the log. The database computes it: the service may not read the key."""
        return str(self._connection.scalar(select(func.asleep.pseudonym(user_id))))

    def is_registered(self, user_id: str) -> bool:
        """Whether a user is in the registry."""
        return bool(self._connection.scalar(select(exists().where(users.c.user_id == user_id))))

    def glance(self, user_id: str, *, months: int, today: date) -> Glance | None:
        """A user's last session, last dates, newest months and freshness; None when the user is not registered.

        Args:
            user_id: whose.
            months: how many months with sessions, newest first.
            today: the current UTC date; the next date counts instead where the user, in the east, has a night of it.
        """
        s, m, t = sleep_sessions.c, monthly_averages.c, stale_months.c
        is_theirs = and_(s.user_id == user_id, s.deleted_at.is_(None))
        counted = {
            "sessions": select(func.count()).where(is_theirs),
            "newest_change_at": select(func.max(s.updated_at)).where(is_theirs),
            "stale_months": select(func.count()).where(t.user_id == user_id),
        }
        counts = (query.scalar_subquery().label(name) for name, query in counted.items())
        statement = select(users.c.timezone, users.c.last_synced_at, *counts).where(users.c.user_id == user_id)
        user = self._connection.execute(statement).mappings().one_or_none()
        if user is None:
            return None
        newest = select(*OVERVIEW_COLUMNS).where(is_theirs).order_by(s.session_start_time.desc(), s.session_id.desc())
        averages = select(*MONTH_COLUMNS).where(m.user_id == user_id).order_by(m.month.desc()).limit(months)
        last = self._connection.execute(newest.limit(1)).mappings().one_or_none()
        days = {"user_id": user_id, "today": today}
        return Glance(
            **{**user, "timezone": last["local_zone"] if last else user["timezone"]},
            last_session=last,
            months=list(self._connection.execute(averages).mappings()),
            recent=list(self._connection.execute(load_sql(__package__, "recent_nights"), days).mappings()),
        )
