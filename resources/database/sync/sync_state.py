"""What a sync reads of users before it starts, and what it records of users, failures, deletions and batches.

A fixed number of statements, whatever the number of users.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import Connection, CursorResult, and_, delete, func, select, true, update
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import sync_batches, sync_failures
from resources.database.schema.tables import users
from resources.load_sql import any_of, arrays_of, load_sql

DELETION_HELD = "deletion_held"
"""Kind of a failure: the API does not find a session, and too many vanished at once to believe it."""

DISAGREES = "disagrees"
"""Kind of a failure: the API's statistics and its session, or its averages and ours, contradict each other. Only a
reconciliation can tell that it is resolved."""

DAMAGED = "damaged_stages"
"""Kind of a failure: the stages of a session contradict its statistics. The next run reads it once more and then
accepts the response."""


class UserToSync(NamedTuple):
    """A registered user, and what failed for them before. A row of `users_to_sync.sql`."""

    user_id: str
    fresh: bool  # the same window was synced in full so recently that nothing is requested
    failure_ids: Sequence[int] = ()
    failed: Sequence[str | None] = ()  # what failed, in the order of `failure_ids`: a session, or None for a list
    failed_window_start: datetime | None = None  # of days to sync beside the run's
    failed_window_end: datetime | None = None
    is_suspected: bool = False  # the API reported the user as not found, which is not confirmed yet
    damaged_session_ids: Sequence[str] = ()  # whose stages contradicted the statistics when last read
    listed_from: datetime | None = None  # start of the window that was last listed to its end
    listed_until: datetime | None = None  # end of that window, exclusive
    listed_at: datetime | None = None  # when that was


class FinishedUser(NamedTuple):
    """A user whose whole window was synced."""

    user_id: str
    window_start: datetime
    window_end: datetime
    listed_at: datetime


class Failure(NamedTuple):
    """A user, or one session of theirs, that could not be synced."""

    user_id: str
    session_id: str | None  # None: the user's list, over the window
    window_start: datetime | None
    window_end: datetime | None
    kind: str
    message: str
    raw_body: bytes | None
    times: int = 1  # that it has failed


def hashes_of_batch(batch: int, batches: int) -> tuple[int, int]:
    """First and last hash of the ids in a batch: equal shares of all 64-bit numbers.

    Args:
        batch: its number, from 0.
        batches: number of batches.
    """
    first, after = ((number << 64) // batches - (1 << 63) for number in (batch, batch + 1))
    return first, after - 1


class SyncState:
    """What a sync reads of users and records, over a connection that is in a transaction when something is written."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def count_users(self, *, failed_only: bool = False) -> int:
        """How many users a sync without named users includes, all or those with unresolved failures."""
        failed = select(sync_failures.c.user_id).where(sync_failures.c.resolved_at.is_(None))
        chosen = users.c.user_id.in_(failed) if failed_only else true()
        return self._connection.scalar(select(func.count()).select_from(users).where(users.c.is_synced, chosen)) or 0

    def users_to_sync(  # noqa: PLR0913 each is a condition of its own
        self,
        *,
        batch: int,
        batches: int,
        window: tuple[datetime, datetime],
        cache_ttl_seconds: float,
        detail: str,
        pseudonyms: Sequence[str] | None = None,
        failed_only: bool = False,
        contradictions: bool = False,
        catch_up: bool = False,
    ) -> list[UserToSync]:
        """The users of one batch, those with unresolved failures first; a user's batch follows from a hash of the id.

        Args:
            batch: number of the batch, from 0.
            batches: number of batches.
            window: start and end (exclusive) of the days to sync.
            cache_ttl_seconds: age in seconds up to which a list of the same window makes a user `fresh`.
            detail: mode of the sync; only a list of this mode, or of `full`, makes a user `fresh`.
            pseudonyms: only these users, also when inactive or gone; None for all active ones.
            failed_only: only users with unresolved failures.
            contradictions: the failures meant are contradictions, for a reconciliation; else all others.
            catch_up: in a window that includes today, users registered later start on the same day as the others.
        """
        first_hash, last_hash = hashes_of_batch(batch, batches)
        values = {
            "first_hash": first_hash, "last_hash": last_hash, "window_start": window[0], "window_end": window[1],
            "cache_ttl_seconds": cache_ttl_seconds, "detail": detail, "failed_only": failed_only,
            "pseudonyms": None if pseudonyms is None else list(pseudonyms), "contradictions": contradictions,
            "catch_up": catch_up,
        }  # fmt: skip
        return [UserToSync(*row) for row in self._execute("users_to_sync", values)]

    def finish_users(self, finished: Sequence[FinishedUser], *, detail: str) -> None:
        """Remember users whose whole window was synced.

        Args:
            finished: the users, with window and time of the list.
            detail: `full` or `statistics`.
        """
        if finished:
            self._execute("finish_users", arrays_of(finished) | {"detail": detail})

    def users_not_found(self, user_ids: Sequence[str]) -> Counter[str]:
        """Note users whom list and user endpoint report as not found; the second note, at least 20 hours later, counts.

        Returns:
            Counts: `users_gone` of users noted twice, `users_not_found` of the others.
        """
        if not user_ids:
            return Counter(users_gone=0, users_not_found=0)
        found = self._execute("users_not_found", {"user_ids": list(user_ids)}).one()
        return Counter(users_gone=found.gone, users_not_found=found.suspected)

    def users_found(self, user_ids: Sequence[str]) -> None:
        """Clear the note of users whom the API lists again."""
        if user_ids:
            suspected = and_(any_of(users.c.user_id, user_ids), users.c.not_found_since.is_not(None))
            self._connection.execute(update(users).where(suspected).values(not_found_since=None))

    def record_failures(self, failures: Sequence[Failure]) -> None:
        """Record failures; the same failure again counts as one more attempt. The next sync lists its user anew."""
        if unique := list({(f.user_id, f.session_id): f for f in failures}.values()):
            self._execute("record_failures", arrays_of(unique))
            self.expire_lists(f.user_id for f in unique)

    def resolve_failures(self, failure_ids: Sequence[int], not_found: Iterable[str] = ()) -> None:
        """Close failures that did not occur again.

        Args:
            failure_ids: ids of failures to close, of users with a finished sync.
            not_found: sessions that the API did not find; a deletion held back stays open for these.
        """
        if failure_ids:
            self._execute("resolve_failures", {"failure_ids": list(failure_ids), "not_found": list(not_found)})

    def expire_lists(self, user_ids: Iterable[str]) -> int:
        """Make the next sync list these users' sessions although they were listed lately; returns how many were."""
        wanted = sorted(set(user_ids))
        return self._execute("expire_lists", {"user_ids": wanted}).rowcount if wanted else 0

    def counts_of_run(self, run_id: str) -> list[dict[str, Any]]:
        """What the batches of a Dagster run have done so far."""
        query = select(sync_batches.c.counts).where(sync_batches.c.run_id == run_id).order_by(sync_batches.c.batch)
        return list(self._connection.scalars(query))

    def has_due_failures(self) -> bool:
        """Whether a failure is due to be tried again."""
        return bool(self._execute("failures_due").scalar_one())

    def prune_changes(self, before: datetime) -> int:
        """Remove changes committed earlier; readers whose position is older copy anew. Returns how many went."""
        return int(self._execute("prune_changes", {"before": before}).scalar_one())

    def remove_old_batches(self, before: datetime) -> int:
        """Remove the notes of batches begun earlier; the run's own record holds the sums. Returns how many went."""
        return self._connection.execute(delete(sync_batches).where(sync_batches.c.started_at < before)).rowcount

    def _execute(self, name: str, values: dict[str, Any] | None = None) -> CursorResult[*tuple[Any, ...]]:
        return self._connection.execute(load_sql(__package__, name), values)


class BatchRecord(NamedTuple):
    """What is noted of one batch of a Dagster run."""

    run_id: str
    number: int  # from 0

    def begin(self, connection: Connection, window: tuple[datetime, datetime], *, of: int = 1) -> None:
        """Note that the batch has begun; a batch begun again starts from nothing.

        Args:
            connection: in the caller's transaction.
            window: start and end (exclusive) of the run's days.
            of: number of batches of the run.
        """
        values = {
            "batches": of, "window_start": window[0], "window_end": window[1],
            "started_at": func.clock_timestamp(), "finished_at": None, "counts": {},
        }  # fmt: skip
        statement = insert(sync_batches).values(run_id=self.run_id, batch=self.number, **values)
        connection.execute(statement.on_conflict_do_update(index_elements=["run_id", "batch"], set_=values))

    def note(self, connection: Connection, counts: dict[str, Any], *, finished: bool) -> None:
        """Note counts of the batch.

        Args:
            connection: in the caller's transaction.
            counts: replace those of the same name; others stay.
            finished: the batch has ended.
        """
        values: dict[str, Any] = {"counts": sync_batches.c.counts.op("||")(counts)}
        if finished:
            values["finished_at"] = func.clock_timestamp()
        is_this = and_(sync_batches.c.run_id == self.run_id, sync_batches.c.batch == self.number)
        connection.execute(update(sync_batches).where(is_this).values(values))

    def are_others_finished(self, connection: Connection) -> bool:
        """Whether every other batch of the run has ended."""
        ended = func.count(sync_batches.c.finished_at).filter(sync_batches.c.batch != self.number)
        query = select(ended + 1 == func.max(sync_batches.c.batches)).where(sync_batches.c.run_id == self.run_id)
        return bool(connection.scalar(query))
