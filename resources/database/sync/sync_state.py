"""What a sync reads of users before it starts, and what it records of users, failures, deletions and batches.

A fixed number of statements, whatever the number of users.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, Text, any_, bindparam, distinct, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from resources.database.nights.assign import ChangedSession, assign_nights
from resources.database.schema.bookkeeping import sync_batches, sync_failures
from resources.database.schema.tables import users
from resources.database.sync.list_cache import expire_lists
from resources.database.sync.local_zones import settle_local_zones
from resources.load_sql import arrays_of, load_sql

DELETION_HELD_MESSAGE = (
    "The API does not find this session. Too many sessions vanished within 24 hours, so it is not marked as deleted. A "
    "run at least 20 hours later reads it again and believes the answer; `asleep-sync sync --accept-deletions` does so "
    "at once."
)
_DELETION_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('asleep-sync deletions', 0))")
"""Batches of several processes count deletions one after the other."""

DISAGREES = "disagrees"
"""Kind of a failure: the API's statistics and its session, or its averages and ours, contradict each other. Only a
reconciliation can tell that it is resolved."""


DAMAGED = "damaged_stages"
"""Kind of a failure: the stages of a session contradict its statistics. The next run reads it once more and then
believes what it gets."""


class UserToSync(NamedTuple):
    """A registered user, and what failed for them before. A row of `users_to_sync.sql`."""

    user_id: str
    fresh: bool
    """The same window was synced in full so recently that nothing is requested."""
    failure_ids: Sequence[int] = ()
    failed: Sequence[str | None] = ()
    """What failed, in the order of `failure_ids`: a session, or None for a list."""
    failed_window_start: datetime | None = None
    failed_window_end: datetime | None = None
    is_suspected: bool = False
    """The API reported the user as not found, which is not confirmed yet."""
    damaged_session_ids: Sequence[str] = ()
    """Of these sessions the stages contradicted the statistics when they were last read."""
    listed_from: datetime | None = None
    """Start of the window that was last listed to its end."""
    listed_until: datetime | None = None
    """End of that window, exclusive."""
    listed_at: datetime | None = None
    """When that was."""


class Deletions(NamedTuple):
    """What became of sessions that the API did not find."""

    deleted: int
    held: int
    """Not believed: recorded as failures of kind `deletion_held`."""


class NotFound(NamedTuple):
    """What became of users that the API did not find."""

    gone: int
    suspected: int
    """Reported for the first time, or less than 20 hours after it."""


class FinishedUser(NamedTuple):
    """A user whose whole window was synced."""

    user_id: str
    window_start: datetime
    window_end: datetime
    listed_at: datetime


class Failure(NamedTuple):
    """A user, or one session of theirs, that could not be synced."""

    user_id: str
    session_id: str | None
    """None: the user's list, over the window."""
    window_start: datetime | None
    window_end: datetime | None
    kind: str
    message: str
    raw_body: bytes | None


class Deletion(NamedTuple):
    """A session that the API did not find."""

    user_id: str
    session_id: str
    asked_at: datetime
    """When the request was sent."""


def count_users(connection: Connection) -> int:
    """Return how many users a sync without named users includes."""
    return connection.scalar(select(func.count()).select_from(users).where(users.c.is_synced)) or 0


def count_failed_users(connection: Connection) -> int:
    """Return how many users have unresolved failures."""
    failed = select(func.count(distinct(sync_failures.c.user_id))).where(sync_failures.c.resolved_at.is_(None))
    return connection.scalar(failed) or 0


def hashes_of_batch(batch: int, batches: int) -> tuple[int, int]:
    """Return the first and the last hash of the user ids in a batch: equal shares of all 64-bit numbers.

    Args:
        batch: its number, from 0.
        batches: how many there are.
    """
    first, after = ((number << 64) // batches - (1 << 63) for number in (batch, batch + 1))
    return first, after - 1


def users_to_sync(  # noqa: PLR0913 each is a condition of its own
    connection: Connection,
    *,
    batch: int,
    batches: int,
    window: tuple[datetime, datetime],
    cache_ttl_seconds: float,
    detail: str,
    pseudonyms: Sequence[str] | None = None,
    failed_only: bool = False,
    contradictions: bool = False,
) -> list[UserToSync]:
    """The users of one batch, those with unresolved failures first.

    Args:
        connection: to read with.
        batch: number of the batch, from 0.
        batches: how many there are; a user's batch follows from the hash of the id, which is indexed.
        window: start and end (exclusive) of what is synced.
        cache_ttl_seconds: a user synced for the same window within this time is `fresh`; 0 for never.
        detail: `full` or `statistics`.
        pseudonyms: only these users, synced even when inactive or gone.
        failed_only: only users with unresolved failures.
        contradictions: the failures meant are those of kind `DISAGREES`; else all others.
    """
    first_hash, last_hash = hashes_of_batch(batch, batches)
    values = {
        "first_hash": first_hash, "last_hash": last_hash, "window_start": window[0], "window_end": window[1],
        "cache_ttl_seconds": cache_ttl_seconds, "detail": detail, "failed_only": failed_only,
        "pseudonyms": None if pseudonyms is None else list(pseudonyms), "contradictions": contradictions,
    }  # fmt: skip
    return [UserToSync(*row) for row in connection.execute(load_sql(__package__, "users_to_sync"), values)]


def mark_deleted(
    connection: Connection,
    deleted: Sequence[Deletion],
    *,
    window: tuple[datetime, datetime],
    accept: bool = False,
) -> Deletions:
    """Mark sessions as deleted at the source, or hold them back when they are too many to be plausible.

    Args:
        connection: in a transaction.
        deleted: sessions that the API did not find.
        window: start and end (exclusive); more than max(20, 10 % of the sessions stored in it) within 24 hours, or all
            sessions of more than 3 users, are held back.
        accept: believe the API whatever the number.
    """
    if not deleted:
        return Deletions(0, 0)
    connection.execute(_DELETION_LOCK)
    choices = {"window_start": window[0], "window_end": window[1], "accept": accept, "message": DELETION_HELD_MESSAGE}
    found = connection.execute(load_sql(__package__, "mark_deleted"), arrays_of(deleted) | choices).one()
    settle_local_zones(connection, {each.user_id for each in deleted})
    assign_nights(connection, [ChangedSession(session_id) for session_id in found.deleted])
    return Deletions(len(found.deleted), found.held)


def finish_users(connection: Connection, finished: Sequence[FinishedUser], *, detail: str) -> None:
    """Remember users whose whole window was synced.

    Args:
        connection: in a transaction.
        finished: the users.
        detail: `full` or `statistics`.
    """
    if finished:
        connection.execute(load_sql(__package__, "finish_users"), arrays_of(finished) | {"detail": detail})


def users_not_found(connection: Connection, user_ids: Sequence[str]) -> NotFound:
    """Note users whom list and user endpoint report as not found; believed when noted again at least 20 hours later.

    Args:
        connection: in a transaction.
        user_ids: the users.
    """
    if not user_ids:
        return NotFound(0, 0)
    found = connection.execute(load_sql(__package__, "users_not_found"), {"user_ids": list(user_ids)}).one()
    return NotFound(found.gone, found.suspected)


def users_found(connection: Connection, user_ids: Sequence[str]) -> None:
    """Forget the suspicion about users whom the API has listed.

    Args:
        connection: in a transaction.
        user_ids: the users.
    """
    if user_ids:
        connection.execute(
            update(users)
            .where(users.c.user_id == any_(bindparam("ids", list(user_ids), ARRAY(Text))))
            .where(users.c.not_found_since.is_not(None))
            .values(not_found_since=None)
        )


def record_failures(connection: Connection, failures: Sequence[Failure]) -> None:
    """Record failures; the same failure again counts as one more attempt. Its user will be listed anew next time.

    Args:
        connection: in a transaction.
        failures: of this run.
    """
    if unique := list({(f.user_id, f.session_id): f for f in failures}.values()):
        connection.execute(load_sql(__package__, "record_failures"), arrays_of(unique))
        expire_lists(connection, {f.user_id for f in unique})


def resolve_failures(connection: Connection, failure_ids: Sequence[int], not_found: Iterable[str] = ()) -> None:
    """Close failures that were not met again.

    Args:
        connection: in a transaction.
        failure_ids: of the users whose sync has ended.
        not_found: sessions that the API did not find; a deletion of one of these may still be held back.
    """
    if failure_ids:
        values = {"failure_ids": list(failure_ids), "not_found": list(not_found)}
        connection.execute(load_sql(__package__, "resolve_failures"), values)


def begin_batch(
    connection: Connection, run_id: str, batch: int, window: tuple[datetime, datetime], *, batches: int = 1
) -> None:
    """Note that a batch began; a batch begun again (a retried step) starts from nothing.

    Args:
        connection: in a transaction.
        run_id: the Dagster run.
        batch: its number in the run, from 0.
        window: of the run.
        batches: how many batches the run has.
    """
    values = {
        "batches": batches, "window_start": window[0], "window_end": window[1],
        "started_at": func.clock_timestamp(), "finished_at": None, "counts": {},
    }  # fmt: skip
    connection.execute(
        insert(sync_batches)
        .values(run_id=run_id, batch=batch, **values)
        .on_conflict_do_update(index_elements=["run_id", "batch"], set_=values)
    )


def note_progress(connection: Connection, run_id: str, batch: int, counts: dict[str, Any], *, finished: bool) -> None:
    """Note what a batch has done so far, and whether that was all.

    Args:
        connection: in a transaction.
        run_id: the Dagster run.
        batch: its number in the run.
        counts: to be added to, or to replace, those noted.
        finished: the batch has ended.
    """
    values: dict[str, Any] = {"counts": sync_batches.c.counts.op("||")(counts)}
    if finished:
        values["finished_at"] = func.clock_timestamp()
    connection.execute(
        update(sync_batches).where(sync_batches.c.run_id == run_id, sync_batches.c.batch == batch).values(values)
    )


def are_others_finished(connection: Connection, run_id: str, batch: int) -> bool:
    """Whether every other batch of a run has ended.

    Args:
        connection: to read with.
        run_id: the Dagster run.
        batch: number of the batch that is about to end.
    """
    ended = func.count(sync_batches.c.finished_at).filter(sync_batches.c.batch != batch)
    query = select(ended + 1 == func.max(sync_batches.c.batches)).where(sync_batches.c.run_id == run_id)
    return bool(connection.scalar(query))


def counts_of_run(connection: Connection, run_id: str) -> list[dict[str, Any]]:
    """What the batches of a run have done so far.

    Args:
        connection: to read with.
        run_id: the Dagster run.
    """
    found = connection.scalars(
        select(sync_batches.c.counts).where(sync_batches.c.run_id == run_id).order_by(sync_batches.c.batch)
    )
    return list(found)


def has_due_failures(connection: Connection) -> bool:
    """Whether a failure is due to be tried again."""
    return bool(connection.scalar(load_sql(__package__, "failures_due")))


def remove_old_batches(connection: Connection, before: datetime) -> int:
    """Remove the notes of batches that finished before that moment; returns how many.

    Args:
        connection: in a transaction.
        before: aware.
    """
    return connection.execute(load_sql(__package__, "remove_old_batches"), {"before": before}).rowcount
