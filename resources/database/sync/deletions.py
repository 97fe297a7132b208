"""Sessions that the API no longer finds: marked as deleted, or held back while they are too many to be plausible."""

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, case, func, select, text, update

from resources.database.nights.assign import ChangedSession, assign_nights
from resources.database.schema.bookkeeping import sync_failures
from resources.database.schema.tables import sleep_sessions
from resources.database.sync.local_zones import settle_local_zones
from resources.database.sync.sync_state import DELETION_HELD, Failure, SyncState
from resources.load_sql import any_of, as_table

MAX_PLAUSIBLE = 20
MAX_PLAUSIBLE_SHARE = 0.1  # of the sessions stored in the window; the larger of the two counts
MAX_EMPTIED_USERS = 3  # users of whom no session is left
COUNTED = timedelta(hours=24)
CONFIRMED_AFTER = timedelta(hours=20)
HELD_MESSAGE = (
    "The API does not find this session. Too many sessions vanished within 24 hours, so it is not marked as deleted. A "
    "run at least 20 hours later reads it again and accepts the answer; `asleep-sync sync --accept-deletions` does so "
    "at once."
)
_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('asleep-sync deletions', 0))")
"""Batches of several processes count deletions one after the other."""
_S, _F = sleep_sessions.c, sync_failures.c


class Deletion(NamedTuple):
    """A session that the API did not find."""

    user_id: str
    session_id: str
    asked_at: datetime  # when the request was sent


def mark_deleted(
    connection: Connection, gone: Sequence[Deletion], *, window: tuple[datetime, datetime], accept: bool = False
) -> Counter[str]:
    """Mark sessions as deleted at the source, or hold them back as failures when they are too many to be plausible.

    More than max(20, 10 % of the sessions stored in the window) within 24 hours, or all sessions of more than 3 users,
    are held back until they are read again at least 20 hours later, or a person accepts them. A session that is marked
    already has now been read a second time.

    Args:
        connection: in the caller's transaction.
        gone: sessions that the API did not find.
        window: start and end (exclusive) of the days that were synced.
        accept: mark them however many they are.

    Returns:
        Counts: `sessions_deleted`, `deletions_held`.
    """
    if not gone:
        return Counter(sessions_deleted=0, deletions_held=0)
    connection.execute(_LOCK)
    vanished = _vanished(connection, gone)
    are_accepted = accept or _are_plausible(connection, vanished, window)
    deleted = [row for row in vanished if are_accepted or row.is_confirmed]
    held = [row for row in vanished if not (are_accepted or row.is_confirmed)]
    _mark(connection, deleted)
    settle_local_zones(connection, {each.user_id for each in gone})
    assign_nights(connection, [ChangedSession(row.session_id) for row in deleted])
    SyncState(connection).record_failures(
        [Failure(row.user_id, row.session_id, None, None, DELETION_HELD, HELD_MESSAGE, None) for row in held]
    )
    return Counter(sessions_deleted=len(deleted), deletions_held=len(held))


def _vanished(connection: Connection, gone: Sequence[Deletion]) -> Sequence[Row[Any]]:
    """The sessions that are not marked yet, and whether each is missing for the second time; notes the others' second.

    A newer answer is not overruled, nor is another owner: a session that moved is missing with the first and lives on.
    """
    found = as_table((_S.session_id, _S.user_id, _S.fetched_at), [(g.session_id, g.user_id, g.asked_at) for g in gone])
    is_theirs = (_S.session_id == found.c.session_id) & (_S.user_id == found.c.user_id)
    is_marked_long_ago = (_S.deleted_at <= func.now() - CONFIRMED_AFTER) & _S.deletion_checked_at.is_(None)
    second_time = update(sleep_sessions).where(is_theirs, is_marked_long_ago)
    connection.execute(second_time.values(deletion_checked_at=func.now()))
    is_held = (_F.session_id == _S.session_id) & (_F.user_id == _S.user_id)
    is_held &= (_F.kind == DELETION_HELD) & _F.resolved_at.is_(None)
    is_confirmed = func.coalesce(_F.first_failed_at <= func.now() - CONFIRMED_AFTER, False)
    query = select(
        _S.session_id, _S.user_id, found.c.fetched_at.label("asked_at"), is_confirmed.label("is_confirmed")
    ).select_from(sleep_sessions.join(found, is_theirs).outerjoin(sync_failures, is_held))
    return connection.execute(query.where(_S.deleted_at.is_(None), _S.fetched_at <= found.c.fetched_at)).all()


def _are_plausible(connection: Connection, vanished: Sequence[Row[Any]], window: tuple[datetime, datetime]) -> bool:
    is_recent = _S.deleted_at > func.now() - COUNTED
    marked = select(_S.session_id, _S.user_id).where(is_recent, _S.deletion_checked_at.is_(None))
    recent = dict(connection.execute(marked).all()) | {v.session_id: v.user_id for v in vanished if not v.is_confirmed}
    in_window = (_S.session_start_time >= window[0]) & (_S.session_start_time < window[1])
    stored = select(func.count()).where(in_window, _S.deleted_at.is_(None) | is_recent)
    if len(recent) > max(MAX_PLAUSIBLE, MAX_PLAUSIBLE_SHARE * (connection.scalar(stored) or 0)):
        return False
    users = set(recent.values())
    still_there = (_S.deleted_at.is_(None), _S.session_id.not_in([v.session_id for v in vanished]))
    left = select(_S.user_id).where(any_of(_S.user_id, users), *still_there).distinct()
    emptied = users - set(connection.scalars(left))
    return len(emptied) <= MAX_EMPTIED_USERS


def _mark(connection: Connection, deleted: Sequence[Row[Any]]) -> None:
    if not deleted:
        return
    given = as_table((_S.session_id, _S.fetched_at), [(row.session_id, row.asked_at) for row in deleted]).c
    is_confirmed = any_of(_S.session_id, [row.session_id for row in deleted if row.is_confirmed])
    values = {
        "deleted_at": func.now(), "updated_at": func.now(), "fetched_at": given.fetched_at,
        "deletion_checked_at": case((is_confirmed, func.now())),
    }  # fmt: skip
    connection.execute(update(sleep_sessions).where(_S.session_id == given.session_id).values(values))
    is_settled = any_of(_F.session_id, [row.session_id for row in deleted]) & (_F.kind == DELETION_HELD)
    connection.execute(update(sync_failures).where(is_settled, _F.resolved_at.is_(None)).values(resolved_at=func.now()))
