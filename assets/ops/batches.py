"""A sync of users cut into batches, as Dagster steps run it."""

import threading
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import dagster as dg

from assets.ops.failures import as_dagster_failure
from assets.ops.step_retries import retry_step
from assets.sync.sync_batch import Batch, sync_batch
from resources.asleep.request_events import Attempt
from resources.asleep.resource import AsleepApi
from resources.database.advisory_lock import advisory_lock
from resources.database.resource import Database
from resources.database.sync import sync_state
from resources.database.sync.run_health import lock_of_batch

API_POOL = "asleep_api"
"""Dagster pool of everything that asks the API about users by the batch: one run at a time, as in `dagster.yaml`."""

COUNTED = (
    *("users", "users_fresh", "users_gone", "users_not_found", "users_failed"),
    *("sessions_inserted", "sessions_updated", "sessions_unchanged", "sessions_deleted", "deletions_held", "failures"),
    *("requests", "requests_list_sessions", "requests_read_session", "requests_read_user", "requests_average_stats"),
    *("answers_throttled", "answers_unavailable", "answers_malformed"),
)
"""Shown even when 0, so that the UI's charts have no gaps."""


class SyncFlags(NamedTuple):
    """Choices for one run, each a tag `asleep-sync/<name>` with the value `true`."""

    accept_deletions: bool = False
    """Sessions that the API does not find are marked as deleted, however many they are."""
    refetch: bool = False
    """Every session of the run's days is read in full, whatever is stored."""
    refresh: bool = False
    """Users who were synced within CACHE_TTL_SECONDS are listed again."""

    @classmethod
    def of_tags(cls, tags: Mapping[str, str]) -> "SyncFlags":
        """The flags of a run with these tags."""
        return cls(*(tags.get(f"asleep-sync/{name}") == "true" for name in cls._fields))

    @property
    def tags(self) -> dict[str, str]:
        """The tags of a run with these flags."""
        return {f"asleep-sync/{name}": "true" for name, is_set in self._asdict().items() if is_set}


@dataclass(frozen=True, slots=True)
class SyncOptions:
    """How a sync goes about its work."""

    user_batch_size: int
    cache_ttl_seconds: float
    detail: str


class BatchNames:
    """A batch is known by its step's key alone, so no user id passes through Dagster's storage."""

    @staticmethod
    def of(number: int, batches: int) -> str:
        """The mapping key of a batch, e.g. `b0003_of_0020`.

        Args:
            number: of the batch, from 0.
            batches: how many batches the run has.
        """
        return f"b{number:04d}_of_{batches:04d}"

    @staticmethod
    def read(key: str) -> tuple[int, int]:
        """Number and count from a mapping key."""
        number, batches = key.removeprefix("b").split("_of_")
        return int(number), int(batches)


def batches_for(database: Database, users_a_batch: int) -> int:
    """How many batches the registered users make, once it is clear that the database can be used.

    Args:
        database: holds the registry.
        users_a_batch: at most so many users in each.
    """
    database.require_migrated()
    with database.engine.connect() as connection:
        return max(1, -(-sync_state.count_users(connection) // users_a_batch))


def _batches_like(database: Database, like: Batch, users_a_batch: int) -> int:
    """Few users make few batches: all that are named make one."""
    database.require_migrated()
    if like.pseudonyms is not None:
        return 1
    if not like.failed_only:
        return batches_for(database, users_a_batch)
    with database.engine.connect() as connection:
        return max(1, -(-sync_state.count_failed_users(connection) // users_a_batch))


def run_batch(context: dg.OpExecutionContext, asleep_api: AsleepApi, database: Database, batch: Batch) -> None:
    """Sync a batch, and show its counts in Dagster.

    Args:
        context: of the step.
        asleep_api: makes the client.
        database: to sync into.
        batch: which users, which window, and how.
    """
    tally = RequestCounts()
    with (
        retry_step(context),
        as_dagster_failure(context),
        batch_lock(context, database, batch),
        asleep_api.client(database.engine, tally) as client,
    ):
        counts = sync_batch(database.engine, client, batch, tally.counts)
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts})


def batch_lock(context: dg.OpExecutionContext, database: Database, batch: Batch) -> AbstractContextManager[None]:
    """Keep other runs from syncing the users of this batch meanwhile: every request would be sent twice.

    Args:
        context: of the step, for a note in the log.
        database: holds the lock.
        batch: whose users.
    """
    name = lock_of_batch(batch.number, batch.of)
    return advisory_lock(
        database.engine, name, on_wait=lambda: context.log.info("Another run syncs these users just now: waiting.")
    )


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

    def since(self, before: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        """Return a function that counts what was added after `before`, itself a result of `counts`."""

        def counts() -> dict[str, Any]:
            return {name: round(value - before.get(name, 0), 3) for name, value in self.counts().items()}

        return counts


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
    """Sync every registered user as `like` says, `users_a_batch` at a time; returns the counts of all.

    Args:
        context: of the step.
        asleep_api: makes the client.
        database: to sync into.
        like: a batch with the window and the mode; its number does not count.
        users_a_batch: at most so many users in each batch.
    """
    tally, totals = RequestCounts(), Counter[str]()
    with as_dagster_failure(context), asleep_api.client(database.engine, tally) as client:
        batches = _batches_like(database, like, users_a_batch)
        for number in range(batches):
            batch = replace(like, number=number, of=batches)
            with batch_lock(context, database, batch):
                totals.update(sync_batch(database.engine, client, batch, tally.since(tally.counts())))
    return {**totals, **tally.counts()}
