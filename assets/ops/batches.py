"""A sync of users cut into batches, as Dagster steps run it."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import dagster as dg
from sqlalchemy import Connection

from assets.ops.failures import as_dagster_failure
from assets.sync.sync_batch import Batch, sync_batch
from resources.asleep.request_events import Attempt
from resources.asleep.resource import AsleepApi
from resources.database.advisory_lock import advisory_lock
from resources.database.resource import Database
from resources.database.sync.run_health import lock_of_batch
from resources.database.sync.stored_sessions import StoredSessions
from resources.database.sync.sync_state import SyncState
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym

API_POOL = "asleep_api"  # Dagster pool of what requests users by the batch: one run at a time, as in `dagster.yaml`

COUNTED = (
    *("users", "users_fresh", "users_gone", "users_not_found", "users_failed"),
    *("sessions_inserted", "sessions_updated", "sessions_unchanged", "sessions_deleted", "deletions_held", "failures"),
    *("requests", "requests_list_sessions", "requests_read_session", "requests_read_user", "requests_average_stats"),
    *("answers_throttled", "answers_unavailable", "answers_malformed"),
)
"""Shown even when 0, so that the UI's charts have no gaps."""


class SyncFlags(NamedTuple):
    """Choices for one run, each a tag `asleep-sync/<name>` with the value `true`."""

    accept_deletions: bool = False  # sessions that the API does not find are marked as deleted, however many they are
    refetch: bool = False  # every session of the run's days is read in full, whatever is stored
    refresh: bool = False  # users who were synced within CACHE_TTL_SECONDS are listed again

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> "SyncFlags":
        """The flags of a run with these tags.

        Raises:
            Failure: a tag is neither `true` nor `false`.
        """
        flags = {name: tags.get(f"asleep-sync/{name}", "false").lower() for name in cls._fields}
        if wrong := [f"asleep-sync/{name}" for name, value in flags.items() if value not in {"true", "false"}]:
            message = f"Tag {', '.join(wrong)}: the value must be true or false. No request was made."
            raise dg.Failure(message, allow_retries=False)
        return cls(**{name: value == "true" for name, value in flags.items()})

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a run with these flags."""
        return {f"asleep-sync/{name}": "true" for name, is_set in self._asdict().items() if is_set}


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """Batch size, cache time and detail of a sync."""

    user_batch_size: int
    cache_ttl_seconds: float
    detail: str


def batches_for(database: Database, users_a_batch: int, *, failed_only: bool = False) -> int:
    """How many batches the registered users make; checks first that the database can be used.

    Args:
        database: with the tables.
        users_a_batch: most users of a batch.
        failed_only: count only users with unresolved failures.
    """
    database.require_migrated()
    with database.engine.connect() as connection:
        return max(1, -(-SyncState(connection).count_users(failed_only=failed_only) // users_a_batch))


def run_batch(
    context: dg.OpExecutionContext, asleep_api: AsleepApi, database: Database, batch: Batch
) -> dict[str, Any]:
    """Sync a batch; return its counts. Other runs wait meanwhile with its users: every request would be sent twice.

    Args:
        context: of the step that syncs the batch.
        asleep_api: opens the client of the Asleep API.
        database: with the tables.
        batch: the users, the window, the mode.
    """
    tally, note = RequestCounts(), "Another run is syncing these users: waiting for its end."
    lock = lock_of_batch(batch.number, batch.of)
    with (
        as_dagster_failure(context),
        advisory_lock(database.engine, lock, on_wait=lambda: context.log.info(note)),
        asleep_api.client(database.engine, tally) as client,
    ):
        return sync_batch(database.engine, client, batch, tally.counts)


class RequestCounts:
    """Counts the attempts of one batch, which come from many threads."""

    def __init__(self) -> None:
        self._alone = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._waited = 0.0

    def __call__(self, attempt: Attempt) -> None:
        """Count one attempt."""
        with self._alone:
            self._counts[f"requests_{attempt.endpoint}"] += 1
            self._counts["requests"] += 1
            if attempt.outcome != "ok":
                self._counts[f"answers_{attempt.outcome}"] += 1
            self._waited += attempt.waited_seconds

    def counts(self) -> dict[str, Any]:
        """Requests by endpoint, answers that were not `ok` by outcome, seconds waited for the rate limit."""
        with self._alone:
            return {**self._counts, "seconds_waited": round(self._waited, 3)}


def totals_of_run(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of the batches' counts."""
    totals: Counter[str] = Counter()
    for batch in batches:
        totals.update(batch)
    totals["sessions"] = sum(totals[f"sessions_{kind}"] for kind in ("inserted", "updated", "unchanged"))
    totals["batches"] = len(batches)
    return dict(totals)


def sync_batch_after_batch(
    context: dg.OpExecutionContext, asleep_api: AsleepApi, database: Database, like: Batch, *, users_a_batch: int
) -> dict[str, Any]:
    """Sync every registered user, one batch after the other.

    Args:
        context: of the step that syncs the batches.
        asleep_api: opens the client of the Asleep API.
        database: with the tables.
        like: a batch with the run, window and mode of all; its `number` and `of` are ignored.
        users_a_batch: most users of a batch.

    Returns:
        The sums of all batches' counts.

    Raises:
        Failure: users or sessions are named that are not stored.
    """
    with as_dagster_failure(context):
        batches = batches_for(database, users_a_batch, failed_only=like.failed_only)
        with database.engine.connect() as connection:
            _refuse_unknown(connection, like)
    batches = 1 if like.pseudonyms is not None else batches
    totals = Counter[str]()
    for number in range(batches):
        totals.update(run_batch(context, asleep_api, database, replace(like, number=number, of=batches)))
    return dict(totals)


def _refuse_unknown(connection: Connection, batch: Batch) -> None:
    """Fail when the run config names users or sessions that are not stored: the run would leave them out."""
    if batch.pseudonyms is None and batch.session_pseudonyms is None:
        return
    ids = {pseudonym(user_id): user_id for user_id in Registry(connection).presence()}
    users = set(ids) if batch.pseudonyms is None else set(batch.pseudonyms)
    if not users or not users <= ids.keys():
        raise dg.Failure(
            f"{len(users - ids.keys())} of {len(users)} users in the run config are not registered. Name them by the "
            "pseudonyms that `asleep-sync users list` shows. No request was made.",
            allow_retries=False,
        )
    sessions = set(batch.session_pseudonyms or ())
    found = StoredSessions(connection).named([ids[name] for name in users], sessions) if sessions else {}
    if missing := len(sessions) - sum(map(len, found.values())):
        raise dg.Failure(
            f"{missing} of {len(sessions)} sessions in the run config are not stored for these users. Name them by "
            "asleep.pseudonym(session_id), or use `asleep-sync sync --session ID`. No request was made.",
            allow_retries=False,
        )
