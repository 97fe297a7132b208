"""What is stored of sessions, as far as it decides about requests, and what other answers than a session's own add."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from resources.database.schema.bookkeeping import event_only_sessions
from resources.database.schema.session_columns import STAT
from resources.database.schema.tables import sleep_sessions
from resources.load_sql import any_of, load_sql

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


def sessions_in_windows(
    connection: sa.Connection, windows: Sequence[tuple[str, datetime, datetime]], *, with_analysis: bool = False
) -> Sessions:
    """Stored sessions of each user's window, and older ones that were not final or are to be requested once more.

    Args:
        connection: reads; writes nothing.
        windows: user id, start and end (exclusive) of each.
        with_analysis: return the statistics as well.
    """
    spans = {"user_ids": [w[0] for w in windows], "starts": [w[1] for w in windows], "ends": [w[2] for w in windows]}
    known = load_sql(__package__, "sessions_in_windows").bindparams(**spans).columns(sa.column("session_id", sa.Text))
    condition = _S.session_id.in_(sa.select(known.subquery().c.session_id))
    return _sessions(connection, condition, _ANALYSIS if with_analysis else ())


def sessions_without_stages(connection: sa.Connection, user_ids: Iterable[str]) -> Sessions:
    """Finished sessions of these users that are stored from statistics only.

    Args:
        connection: reads; writes nothing.
        user_ids: whose sessions to return.
    """
    return _sessions(connection, sa.and_(_of(user_ids), ~_S.is_final, _S.state == "COMPLETE"))


def named_sessions(connection: sa.Connection, user_ids: Iterable[str], pseudonyms: Iterable[str]) -> Sessions:
    """Stored sessions by their pseudonyms.

    Args:
        connection: reads; writes nothing.
        user_ids: owners of the sessions.
        pseudonyms: of the sessions.
    """
    is_named = any_of(sa.func.asleep.pseudonym(_S.session_id), pseudonyms)
    return _sessions(connection, sa.and_(_of(user_ids), is_named))


def _of(user_ids: Iterable[str]) -> sa.ColumnElement[bool]:
    return sa.and_(any_of(_S.user_id, user_ids), _S.deleted_at.is_(None))


def _sessions(
    connection: sa.Connection, condition: sa.ColumnElement[bool], analysis: tuple[sa.ColumnElement[Any], ...] = ()
) -> Sessions:
    events = event_only_sessions.c.session_id
    source = sleep_sessions.outerjoin(event_only_sessions, events == _S.session_id)
    query = sa.select(*_COLUMNS, *analysis).select_from(source).where(condition).order_by(_S.session_id)
    by_user: Sessions = {}
    for row in connection.execute(query):
        session = StoredSession(*row[: len(_COLUMNS)])
        if analysis:
            completed, fetched, never_slept, *stat = row[len(_COLUMNS) :]
            session = session._replace(analysis=Analysis(completed, fetched, never_slept, tuple(stat)))
        by_user.setdefault(session.user_id, {})[session.session_id] = session
    return by_user


def known_sessions(connection: sa.Connection, session_ids: Iterable[str]) -> dict[str, KnownSession]:
    """Return those of the sessions that are stored.

    Args:
        connection: reads; writes nothing.
        session_ids: sessions to look up.
    """
    query = sa.select(_S.session_id, _S.user_id, _S.is_final, _S.deleted_at.is_not(None))
    found = connection.execute(query.where(any_of(_S.session_id, session_ids)))
    return {session_id: KnownSession(*known) for session_id, *known in found}


_EVENT_ONLY = sa.text("""
INSERT INTO asleep.event_only_sessions (session_id)
SELECT session_id FROM unnest(CAST(:ids AS text[])) AS of_events (session_id) ORDER BY session_id
ON CONFLICT (session_id) DO NOTHING
""")


def note_event_only(connection: sa.Connection, session_ids: Iterable[str]) -> None:
    """Note sessions that were stored from an event: the next sync reads them once from the API.

    Args:
        connection: in the caller's transaction.
        session_ids: sessions to mark.
    """
    if wanted := sorted(set(session_ids)):
        connection.execute(_EVENT_ONLY, {"ids": wanted})


def note_verified(connection: sa.Connection, session_ids: Iterable[str]) -> None:
    """Note sessions that were read from the API.

    Args:
        connection: in the caller's transaction.
        session_ids: sessions to mark.
    """
    if wanted := sorted(set(session_ids)):
        connection.execute(sa.delete(event_only_sessions).where(any_of(event_only_sessions.c.session_id, wanted)))


def note_completed_times(connection: sa.Connection, known: Sequence[tuple[str, datetime]]) -> None:
    """Store when sessions were analysed.

    Args:
        connection: in the caller's transaction.
        known: pairs of session id and `completed_time` (UTC).
    """
    if known:
        parameters = {"session_ids": [k[0] for k in known], "completed_times": [k[1] for k in known]}
        connection.execute(load_sql(__package__, "note_completed_times"), parameters)


def note_last_chunks(connection: sa.Connection, known: Sequence[tuple[str, int | None]]) -> None:
    """Store the last chunk of sessions that were read before any list contained them.

    Args:
        connection: in the caller's transaction.
        known: pairs of session id and `last_received_seq_num`.
    """
    if known:
        parameters = {"session_ids": [k[0] for k in known], "numbers": [k[1] for k in known]}
        connection.execute(load_sql(__package__, "note_last_chunks"), parameters)
