"""What is stored of sessions, as far as it decides about requests, and what other answers than a session's own add."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import event_only_sessions
from resources.database.schema.session_columns import STAT
from resources.database.schema.tables import sleep_sessions
from resources.load_sql import any_of, as_table, load_sql

_S = sleep_sessions.c
_UNCHECKED = sa.and_(_S.deleted_at <= sa.func.now() - sa.text("interval '20 hours'"), _S.deletion_checked_at.is_(None))
_COLUMNS: tuple[sa.ColumnElement[Any], ...] = (
    *(_S.session_id, _S.user_id, _S.state, _S.session_start_time, _S.session_end_time, _S.unexpected_end_time),
    *(_S.created_timezone, _S.last_received_seq_num),
    sa.and_(_S.payload_hash.is_not(None), event_only_sessions.c.session_id.is_(None)).label("in_full"),
    _S.deleted_at.is_not(None).label("deleted"),
    sa.func.coalesce(_UNCHECKED, sa.literal(False)).label("deletion_is_unchecked"),
)
_ANALYSIS: tuple[sa.ColumnElement[Any], ...] = (
    _S.completed_time,
    _S.fetched_at,
    sa.func.coalesce(sa.literal("NEVER_SLEPT") == sa.any_(_S.peculiarities), sa.literal(False)).label("never_slept"),
    *(_S[name] for name, _, _ in STAT),
)


class Analysis(NamedTuple):
    """What is stored of a session's analysis, without its stages."""

    completed_time: datetime | None  # when what is stored was analysed; None when that is not known
    fetched_at: datetime
    never_slept: bool
    stat: tuple[Any, ...]  # statistics in the order of `STAT`


class StoredSession(NamedTuple):
    """What is stored of a session."""

    session_id: str
    user_id: str
    state: str
    session_start_time: datetime
    session_end_time: datetime | None
    unexpected_end_time: datetime | None
    created_timezone: str | None
    last_received_seq_num: int | None
    in_full: bool  # read from the API, not known from an event or from statistics alone
    deleted: bool
    deletion_is_unchecked: bool = False  # marked as deleted at least 20 hours ago and not requested since
    analysis: Analysis | None = None  # None unless it was selected as well


class KnownSession(NamedTuple):
    """A session as far as an event is concerned with it."""

    user_id: str
    is_final: bool  # COMPLETE and read in full
    is_deleted: bool  # found deleted at the source


Sessions = dict[str, dict[str, StoredSession]]  # by user, by id


class StoredSessions:
    """The table `asleep.sleep_sessions`, over a connection that is in a transaction when something is written."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection

    def in_windows(self, windows: Sequence[tuple[str, datetime, datetime]], *, with_analysis: bool = False) -> Sessions:
        """Sessions of each user's window, and older ones that were not final or are to be requested once more.

        Args:
            windows: user id, start and end (exclusive) of each.
            with_analysis: return the statistics as well.
        """
        user_ids, starts, ends = (list(column) for column in zip(*windows, strict=True)) if windows else ([], [], [])
        statement = load_sql(__package__, "sessions_in_windows").bindparams(user_ids=user_ids, starts=starts, ends=ends)
        known = statement.columns(sa.column("session_id", sa.Text)).subquery()
        return self._sessions(_S.session_id.in_(sa.select(known.c.session_id)), _ANALYSIS if with_analysis else ())

    def without_stages(self, user_ids: Iterable[str]) -> Sessions:
        """Finished sessions of these users that are stored from statistics only."""
        return self._sessions(sa.and_(_of(user_ids), ~_S.is_final, _S.state == "COMPLETE"))

    def named(self, user_ids: Iterable[str], pseudonyms: Iterable[str]) -> Sessions:
        """Sessions by their pseudonyms.

        Args:
            user_ids: owners of the sessions.
            pseudonyms: of the sessions.
        """
        return self._sessions(sa.and_(_of(user_ids), any_of(sa.func.asleep.pseudonym(_S.session_id), pseudonyms)))

    def known(self, session_ids: Iterable[str]) -> dict[str, KnownSession]:
        """Return those of the sessions that are stored."""
        query = sa.select(_S.session_id, _S.user_id, _S.is_final, _S.deleted_at.is_not(None))
        found = self._connection.execute(query.where(any_of(_S.session_id, session_ids)))
        return {session_id: KnownSession(*known) for session_id, *known in found}

    def note_event_only(self, session_ids: Iterable[str]) -> None:
        """Note sessions that were stored from an event: the next sync reads them once from the API."""
        if rows := [{"session_id": each} for each in sorted(set(session_ids))]:
            self._connection.execute(insert(event_only_sessions).on_conflict_do_nothing(), rows)

    def note_verified(self, session_ids: Iterable[str]) -> None:
        """Note sessions that were read from the API."""
        are_read = any_of(event_only_sessions.c.session_id, session_ids)
        self._connection.execute(sa.delete(event_only_sessions).where(are_read))

    def note_completed_times(self, known: Sequence[tuple[str, datetime]]) -> None:
        """Store when sessions (by id) were analysed, without calling it a change of the session."""
        self._note(_S.completed_time, known, sa.true())

    def note_last_chunks(self, known: Sequence[tuple[str, int | None]]) -> None:
        """Store the last chunk of sessions (by id) that were read before any list contained them."""
        self._note(_S.last_received_seq_num, known, _S.last_received_seq_num.is_(None))

    def _note(self, column: sa.Column[Any], known: Sequence[tuple[str, Any]], only: sa.ColumnElement[bool]) -> None:
        if known:
            given = as_table((_S.session_id, column), known).c
            is_news = sa.and_(_S.session_id == given.session_id, column.is_distinct_from(given[column.name]), only)
            self._connection.execute(sa.update(sleep_sessions).where(is_news).values({column: given[column.name]}))

    def _sessions(
        self, condition: sa.ColumnElement[bool], analysis: tuple[sa.ColumnElement[Any], ...] = ()
    ) -> Sessions:
        events = event_only_sessions.c.session_id
        source = sleep_sessions.outerjoin(event_only_sessions, events == _S.session_id)
        query = sa.select(*_COLUMNS, *analysis).select_from(source).where(condition).order_by(_S.session_id)
        by_user: Sessions = {}
        for row in self._connection.execute(query):
            session = StoredSession(*row[: len(_COLUMNS)])
            if analysis:
                completed, fetched, never_slept, *stat = row[len(_COLUMNS) :]
                session = session._replace(analysis=Analysis(completed, fetched, never_slept, tuple(stat)))
            by_user.setdefault(session.user_id, {})[session.session_id] = session
        return by_user


def _of(user_ids: Iterable[str]) -> sa.ColumnElement[bool]:
    return sa.and_(any_of(_S.user_id, user_ids), _S.deleted_at.is_(None))
