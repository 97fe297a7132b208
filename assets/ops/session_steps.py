"""The steps of the asset `sleep_sessions`: plan, one step for each batch, report."""

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import dagster as dg
from sqlalchemy import Connection

from assets.ops.batches import (
    API_POOL,
    COUNTED,
    SyncFlags,
    SyncOptions,
    batches_for,
    run_batch,
    totals_of_run,
)
from assets.ops.failures import as_dagster_failure, retry_step
from assets.ops.table_metadata import SESSIONS_LINEAGE
from assets.partitions import day_key, window_of
from assets.sync.sync_batch import Batch, Mode
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database
from resources.database.sync.sync_state import SyncState
from resources.load_sql import load_sql

_RETRY_WITH_ALL_STEPS = {"dagster/retry_strategy": "ALL_STEPS"}


@dg.op(
    ins={"registered": dg.In(dg.Nothing), "api": dg.In(dg.Nothing)},
    out=dg.DynamicOut(dg.Nothing),
    pool=API_POOL,
    description="Cut the registered users into batches.",
)
def plan_batches(
    context: dg.OpExecutionContext, database: dg.ResourceParam[Database], sync_options: dg.ResourceParam[SyncOptions]
) -> Iterator[dg.DynamicOutput[None]]:
    """One batch for every USER_BATCH_SIZE users, once it is clear that days and tags are right.

    A batch is known by its step's key alone, e.g. `b0003_of_0020`: no user id passes through Dagster's storage.
    Should the run's process die, Dagster starts the run again with all its steps: "from failure" it leaves out mapped
    steps that had not started.
    """
    context.instance.add_run_tags(context.run_id, _RETRY_WITH_ALL_STEPS)
    with as_dagster_failure(context):
        window = window_of(context)
        SyncFlags.of_tags(context.run.tags)
        batches = batches_for(database, sync_options.user_batch_size)
    context.log.info("%s to %s in %d batches", window.start, window.end, batches)
    for number in range(batches):
        yield dg.DynamicOutput(None, mapping_key=f"b{number:04d}_of_{batches:04d}")


@dg.op(
    ins={"planned": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Sync the users of one batch.",
)
def sync_users(
    context: dg.OpExecutionContext,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
    sync_options: dg.ResourceParam[SyncOptions],
) -> None:
    """The sync of one batch; see `assets.sync.sync_batch`."""
    number, batches = map(int, re.findall(r"\d+", context.get_mapping_key() or ""))
    flags = SyncFlags.of_tags(context.run.tags)
    batch = Batch(
        run_id=context.run_id,
        number=number,
        of=batches,
        window=window_of(context),
        workers=asleep_api.max_connections,
        cache_ttl_seconds=0 if flags.refetch or flags.refresh else sync_options.cache_ttl_seconds,
        mode=Mode(sync_options.detail),
        refetch=flags.refetch,
        accept_deletions=flags.accept_deletions,
    )
    with retry_step(context):
        counts = run_batch(context, asleep_api, database, batch)
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts})


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
    with as_dagster_failure(context.op_execution_context), database.engine.connect() as connection:
        _refuse_if_users_were_left_out(context, connection, sync_options)
        counts = totals_of_run(SyncState(connection).counts_of_run(context.run.run_id))
        by_day = {row.day: row.sessions for row in connection.execute(load_sql(__package__, "sessions_by_day"), span)}
    note: dict[str, str] = {}
    if skipped := counts.get("users_fresh", 0):
        note["skipped"] = (
            f"{skipped} of {counts.get('users', 0)} users were skipped: they were synced within CACHE_TTL_SECONDS. "
            "`asleep-sync sync --refresh`, or the tag asleep-sync/refresh=true, lists them again."
        )
        context.log.warning(note["skipped"])
    for key in context.partition_keys:
        day = date.fromisoformat(key)
        context.add_asset_metadata({"dagster/partition_row_count": by_day.get(day, 0)}, partition_key=key)
    last_day = day_key((window.end - timedelta(days=1)).date())
    shown = {**note, **dict.fromkeys(COUNTED, 0), **counts, **SESSIONS_LINEAGE}
    context.add_asset_metadata(shown, partition_key=last_day)


def _refuse_if_users_were_left_out(
    context: dg.AssetExecutionContext, connection: Connection, sync_options: SyncOptions
) -> None:
    """Dagster continues a run that died "from failure" without the batches that it had not started."""
    record = context.instance.get_run_record_by_id(context.run.root_run_id or context.run.run_id)
    began = record.create_timestamp if record else datetime.now(UTC)
    since = began.replace(tzinfo=began.tzinfo or UTC) - timedelta(seconds=sync_options.cache_ttl_seconds)
    left_out = connection.scalar(load_sql(__package__, "users_not_synced"), {"since": since})
    if left_out:
        raise dg.Failure(
            f"{left_out} users were not synced: this run continued one that died, without the batches that had "
            'not started. Start it again with all steps ("Re-execute all"); what is stored is not fetched again.',
            metadata={"users_not_synced": left_out},
            allow_retries=False,
        )
