"""What is stored of sessions, as far as it decides about requests, and what other answers than a session's own add."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Text,
    and_,
    any_,
    bindparam,
    column,
    delete,
    func,
    literal,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from resources.database.schema.bookkeeping import event_only_sessions
from resources.database.schema.session_columns import STAT
from resources.database.schema.tables import sleep_sessions
from resources.load_sql import load_sql

_S = sleep_sessions.c
_UNCHECKED = and_(_S.deleted_at <= func.now() - text("interval '20 hours'"), _S.deletion_checked_at.is_(None))
_COLUMNS: tuple[ColumnElement[Any], ...] = (
    *(_S.session_id, _S.user_id, _S.state, _S.session_start_time, _S.session_end_time, _S.unexpected_end_time),
    *(_S.created_timezone, _S.last_received_seq_num),
    and_(_S.payload_hash.is_not(None), event_only_sessions.c.session_id.is_(None)).label("in_full"),
    _S.deleted_at.is_not(None).label("deleted"),
    func.coalesce(_UNCHECKED, literal(False)).label("deletion_is_unchecked"),
)
_ANALYSIS: tuple[ColumnElement[Any], ...] = (
    _S.completed_time,
    _S.fetched_at,
    func.coalesce(literal("NEVER_SLEPT") == any_(_S.peculiarities), literal(False)).label("never_slept"),
    *(_S[name] for name, _, _ in STAT),
)


class Analysis(NamedTuple):
    """What is stored of a session's analysis, without its stages."""

    completed_time: datetime | None
    """When what is stored was analysed; None when that is not known."""
    fetched_at: datetime
    never_slept: bool
    stat: tuple[Any, ...]
    """Statistics in the order of `STAT`."""


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
    in_full: bool
    """Read from the API, not known from an event or from statistics alone."""
    deleted: bool
    deletion_is_unchecked: bool = False
    """Marked as deleted at least 20 hours ago and not requested since."""
    analysis: Analysis | None = None
    """None unless it was selected as well."""


class KnownSession(NamedTuple):
    """A session as far as an event is concerned with it."""

    user_id: str
    is_final: bool
    """COMPLETE and read in full."""
    is_deleted: bool
    """Found deleted at the source."""


Sessions = dict[str, list[StoredSession]]
"""By user."""


def sessions_in_windows(
    connection: Connection, windows: Sequence[tuple[str, datetime, datetime]], *, with_analysis: bool = False
) -> Sessions:
    """Stored sessions of each user's window, and older ones that were not final or are to be requested once more.

    Args:
        connection: to read with.
        windows: user id, start and end (exclusive).
        with_analysis: return the statistics as well.
    """
    spans = {"user_ids": [w[0] for w in windows], "starts": [w[1] for w in windows], "ends": [w[2] for w in windows]}
    known = load_sql(__package__, "sessions_in_windows").bindparams(**spans).columns(column("session_id", Text))
    condition = _S.session_id.in_(select(known.subquery().c.session_id))
    return _sessions(connection, condition, _ANALYSIS if with_analysis else ())


def sessions_without_stages(connection: Connection, user_ids: Iterable[str]) -> Sessions:
    """Finished sessions of these users that are stored from statistics only.

    Args:
        connection: to read with.
        user_ids: whose sessions.
    """
    return _sessions(connection, and_(_of(user_ids), ~_S.is_final, _S.state == "COMPLETE"))


def named_sessions(connection: Connection, user_ids: Iterable[str], pseudonyms: Iterable[str]) -> Sessions:
    """Stored sessions, of those named.

    Args:
        connection: to read with.
        user_ids: whose sessions.
        pseudonyms: of session ids.
    """
    is_named = func.asleep.pseudonym(_S.session_id) == any_(bindparam("named", list(pseudonyms), ARRAY(Text)))
    return _sessions(connection, and_(_of(user_ids), is_named))


def _of(user_ids: Iterable[str]) -> ColumnElement[bool]:
    return and_(_S.user_id == any_(bindparam("user_ids", list(user_ids), ARRAY(Text))), _S.deleted_at.is_(None))


def _sessions(
    connection: Connection, condition: ColumnElement[bool], analysis: tuple[ColumnElement[Any], ...] = ()
) -> Sessions:
    events = event_only_sessions.c.session_id
    source = sleep_sessions.outerjoin(event_only_sessions, events == _S.session_id)
    query = select(*_COLUMNS, *analysis).select_from(source).where(condition).order_by(_S.session_id)
    by_user: Sessions = {}
    for row in connection.execute(query):
        session = StoredSession(*row[: len(_COLUMNS)])
        if analysis:
            completed, fetched, never_slept, *stat = row[len(_COLUMNS) :]
            session = session._replace(analysis=Analysis(completed, fetched, never_slept, tuple(stat)))
        by_user.setdefault(session.user_id, []).append(session)
    return by_user


def known_sessions(connection: Connection, session_ids: Iterable[str]) -> dict[str, KnownSession]:
    """Return those of the sessions that are stored.

    Args:
        connection: to read with.
        session_ids: as events name them.
    """
    query = select(_S.session_id, _S.user_id, _S.is_final, _S.deleted_at.is_not(None))
    found = connection.execute(query.where(_S.session_id == any_(bindparam("ids", [*session_ids], ARRAY(Text)))))
    return {session_id: KnownSession(*known) for session_id, *known in found}


_EVENT_ONLY = text("""
INSERT INTO asleep.event_only_sessions (session_id)
SELECT session_id FROM unnest(CAST(:ids AS text[])) AS of_events (session_id) ORDER BY session_id
ON CONFLICT (session_id) DO NOTHING
""")


def note_event_only(connection: Connection, session_ids: Iterable[str]) -> None:
    """Note sessions that were stored from an event: the next sync reads them once from the API.

    Args:
        connection: in a transaction.
        session_ids: the sessions.
    """
    if wanted := sorted(set(session_ids)):
        connection.execute(_EVENT_ONLY, {"ids": wanted})


def note_verified(connection: Connection, session_ids: Iterable[str]) -> None:
    """Note sessions that were read from the API.

    Args:
        connection: in a transaction.
        session_ids: the sessions.
    """
    if wanted := sorted(set(session_ids)):
        events = event_only_sessions.c.session_id
        connection.execute(delete(event_only_sessions).where(events == any_(bindparam("ids", wanted, ARRAY(Text)))))


def note_completed_times(connection: Connection, known: Sequence[tuple[str, datetime]]) -> None:
    """Note when sessions were analysed, given as session id and time.

    Args:
        connection: in a transaction.
        known: session id, and when the session was analysed.
    """
    if known:
        parameters = {"session_ids": [k[0] for k in known], "completed_times": [k[1] for k in known]}
        connection.execute(load_sql(__package__, "note_completed_times"), parameters)


def note_last_chunks(connection: Connection, known: Sequence[tuple[str, int | None]]) -> None:
    """Note the last chunk of sessions that were read before they were ever listed.

    Args:
        connection: in a transaction.
        known: session id, and `last_received_seq_num` of the list.
    """
    if known:
        parameters = {"session_ids": [k[0] for k in known], "numbers": [k[1] for k in known]}
        connection.execute(load_sql(__package__, "note_last_chunks"), parameters)
