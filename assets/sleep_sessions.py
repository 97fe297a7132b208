"""Sleep sessions, one row per session.

Lives here: the asset, its steps, what they report; and the same steps for some users only.  Not here: HTTP, SQL,
retries, field names.
"""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import dagster as dg
from sqlalchemy import Connection

from assets.failures import told_to_dagster
from assets.partitions import daily, day_key, window_of
from assets.step_retries import tried_again
from assets.sync_batch import Batch, Mode, sync_batch
from assets.table_metadata import SESSIONS_LINEAGE, column_lineage, table_metadata
from resources.asleep.events import Attempt
from resources.asleep.resource import AsleepApi
from resources.database import sync_state, tables
from resources.database.one_at_a_time import one_at_a_time
from resources.database.resource import Database
from resources.database.statements import statement

ASKING_POOL = "asking_asleep"
"""Dagster pool of everything that asks the API about users by the batch: one run at a time, as in `dagster.yaml`."""

COUNTED = (
    *("users", "users_fresh", "users_gone", "users_failed"),
    *("sessions_inserted", "sessions_updated", "sessions_unchanged", "sessions_deleted", "failures"),
    *("requests", "requests_list_sessions", "requests_read_session", "requests_read_user", "requests_average_stats"),
    *("answers_throttled", "answers_unavailable", "answers_malformed"),
)
"""Shown even when 0, so that the UI's charts have no gaps."""


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
        """The mapping key of a batch, e.g. `b0003_of_0020`."""
        return f"b{number:04d}_of_{batches:04d}"

    @staticmethod
    def read(key: str) -> tuple[int, int]:
        """Number and count from a mapping key."""
        number, batches = key.removeprefix("b").split("_of_")
        return int(number), int(batches)


@dg.op(
    ins={"registered": dg.In(dg.Nothing)},
    out=dg.DynamicOut(dg.Nothing),
    pool=ASKING_POOL,
    description="Cut the registered users into batches.",
)
def plan_batches(
    context: dg.OpExecutionContext, database: dg.ResourceParam[Database], sync_options: dg.ResourceParam[SyncOptions]
) -> Iterator[dg.DynamicOutput[None]]:
    """One batch for every USER_BATCH_SIZE users, once it is clear that the days can be synced."""
    with told_to_dagster(context):
        window = window_of(context)
        batches = batches_for(database, sync_options.user_batch_size)
    context.log.info("%s to %s in %d batches", window.start, window.end, batches)
    for number in range(batches):
        yield dg.DynamicOutput(None, mapping_key=BatchNames.of(number, batches))


def batches_for(database: Database, users_a_batch: int) -> int:
    """How many batches the registered users make, once it is clear that the database can be used."""
    database.require_migrated()
    with database.engine.connect() as connection:
        return max(1, -(-sync_state.count_users(connection) // users_a_batch))


@dg.op(
    ins={"planned": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Ask the API about the users of one batch, and write what it says.",
)
def sync_users(
    context: dg.OpExecutionContext,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
    sync_options: dg.ResourceParam[SyncOptions],
) -> None:
    """The sync of one batch; see `assets.sync_batch`."""
    number, batches = BatchNames.read(context.get_mapping_key() or "")
    batch = Batch(
        run_id=context.run_id,
        number=number,
        of=batches,
        window=window_of(context),
        workers=asleep_api.max_connections,
        cache_ttl_seconds=sync_options.cache_ttl_seconds,
        mode=Mode(sync_options.detail),
    )
    run_batch(context, asleep_api, database, batch)


def run_batch(context: dg.OpExecutionContext, asleep_api: AsleepApi, database: Database, batch: Batch) -> None:
    """Sync a batch, counting its requests, and tell Dagster what came of it."""
    tally = Tally()
    with (
        tried_again(context),
        told_to_dagster(context),
        batch_alone(context, database, batch),
        asleep_api.client(database.engine, tally) as client,
    ):
        counts = sync_batch(database.engine, client, batch, tally.counts)
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts})


def batch_alone(context: dg.OpExecutionContext, database: Database, batch: Batch) -> AbstractContextManager[None]:
    """No other run, wherever it was started, syncs the users of this batch meanwhile: it would ask the same twice."""
    name = f"asleep-sync batch {batch.number} of {batch.of}"
    return one_at_a_time(
        database.engine, name, on_wait=lambda: context.log.info("Another run syncs these users just now: waiting.")
    )


class Tally:
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


@dg.op(
    ins={"synced": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Add up what the batches did, and count the sessions of each day.",
)
def report_sessions(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[Database],
    sync_options: dg.ResourceParam[SyncOptions],
) -> None:
    """What an operator wants to see: rows on each day; what the run did on its last day, so that it counts once."""
    window = window_of(context.op_execution_context)
    span = {"window_start": window.start, "window_end": window.end}
    with told_to_dagster(context.op_execution_context), database.engine.connect() as connection:
        _refuse_if_not_all_were_asked(context, connection, sync_options)
        counts = totals_of_run(sync_state.counts_of_run(connection, context.run.run_id))
        by_day = {row.day: row.sessions for row in connection.execute(statement("sessions_by_day", "assets"), span)}
    for key in context.partition_keys:
        day = date.fromisoformat(key)
        context.add_asset_metadata({"dagster/partition_row_count": by_day.get(day, 0)}, partition_key=key)
    last_day = day_key((window.end - timedelta(days=1)).date())
    context.add_asset_metadata({**dict.fromkeys(COUNTED, 0), **counts}, partition_key=last_day)
    context.add_asset_metadata(column_lineage(SESSIONS_LINEAGE), partition_key=last_day)


def _refuse_if_not_all_were_asked(
    context: dg.AssetExecutionContext, connection: Connection, sync_options: SyncOptions
) -> None:
    """Dagster continues a run that died "from failure" without the batches that it had not begun."""
    record = context.instance.get_run_record_by_id(context.run.root_run_id or context.run.run_id)
    began = record.create_timestamp if record else datetime.now(UTC)
    since = began.replace(tzinfo=began.tzinfo or UTC) - timedelta(seconds=sync_options.cache_ttl_seconds)
    left_out = connection.scalar(statement("users_not_asked", "assets"), {"since": since})
    if left_out:
        raise dg.Failure(
            f"{left_out} users were not asked: this run was continued from one that died, without the batches that had "
            'not begun. Start it again with all steps ("Re-execute all"); what is stored is not fetched again.',
            metadata={"users_not_asked": left_out},
            allow_retries=False,
        )


def totals_of_run(batches: list[dict[str, Any]]) -> dict[str, Any]:
    """The sums of the batches' counts."""
    totals: Counter[str] = Counter()
    for batch in batches:
        totals.update(batch)
    totals["sessions"] = sum(totals[f"sessions_{kind}"] for kind in ("inserted", "updated", "unchanged"))
    totals["batches"] = len(batches)
    return dict(totals)


@dg.graph_asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="sleep",
    kinds={"postgres", "python"},
    ins={"registered": dg.AssetIn(key="users", dagster_type=dg.Nothing)},
    tags={"source": "asleep", "grain": "session"},
    owners=["team:data"],
    code_version="1",
    metadata=table_metadata(tables.sleep_sessions),
)
def sleep_sessions(registered: Any) -> Any:
    """Every sleep session of the registered users, one row per session (table `asleep.sleep_sessions`).

    A partition is a UTC day of session starts. A row holds the latest version of a session: times, the API's 38
    statistics under its names, and the stages as one value for each 30 seconds. `deleted_at` marks sessions that
    vanished at the source. For nights by local date use the view `asleep.nights`, which has neither deleted nor
    running sessions.

    A range of days is one run: each user is listed once for the whole range, and only what is new, unfinished or
    changed is read in full. Doing it twice changes nothing.
    """
    return report_sessions(plan_batches(registered).map(sync_users).collect())
