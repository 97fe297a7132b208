"""Steps of the jobs that sync some users only: those that failed, or those named. No partition is reported as done."""

from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import dagster as dg

from assets.metrics.monthly_summary import stale_months, summarise_month
from assets.ops.batches import API_POOL, COUNTED, SyncOptions, sync_batch_after_batch, totals_of_run
from assets.ops.failures import as_dagster_failure, missing_data_failure
from assets.partitions import month_key, monthly
from assets.sync.sync_batch import Batch, Mode
from assets.sync.window import Window
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database
from resources.database.sync.sync_state import SyncState
from resources.database.users.registry import Registry


@dataclass(frozen=True, slots=True)
class MetricsOptions:
    """The Dagster resource `metrics_options`: what the environment decides about metrics."""

    free_days: frozenset[int]  # ISO weekdays without work of users that have none of their own


class SomeUsers(dg.Config):
    """Whom and what to sync. Users appear by pseudonym only: run config is stored and shown."""

    first_day: str
    last_day: str
    users: list[str] | None = None
    failed_only: bool = False
    stages_only: bool = False  # read in full what is stored from statistics only, and list nothing
    refetch: bool = False  # read every session of the days in full, whatever is stored
    sessions: list[str] | None = None  # read only these stored sessions, by pseudonym, and list nothing
    accept_deletions: bool = False  # mark sessions that the API does not find as deleted, however many they are


@dg.op(out=dg.Out(dg.Nothing), pool=API_POOL, description="Sync the users that failed before, or those named.")
def sync_some_users(
    context: dg.OpExecutionContext,
    config: SomeUsers,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
    sync_options: dg.ResourceParam[SyncOptions],
) -> None:
    """Batch after batch, in this one step."""
    batch = Batch(
        run_id=context.run_id,
        window=_window_of(config),
        workers=asleep_api.max_connections,
        mode=Mode.FILL if config.stages_only or config.sessions is not None else Mode(sync_options.detail),
        pseudonyms=None if config.users is None else tuple(config.users),
        failed_only=config.failed_only,
        accept_deletions=config.accept_deletions,
        refetch=config.refetch,
        session_pseudonyms=None if config.sessions is None else tuple(config.sessions),
    )
    counts = sync_batch_after_batch(context, asleep_api, database, batch, users_a_batch=sync_options.user_batch_size)
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts})


def _window_of(config: SomeUsers) -> Window:
    try:
        return Window.of_days(date.fromisoformat(config.first_day), date.fromisoformat(config.last_day))
    except ValueError:
        raise dg.Failure(
            "first_day and last_day in the run config: write two dates as YYYY-MM-DD, the earlier one first. No "
            "request was made.",
            allow_retries=False,
        ) from None


@dg.op(
    ins={"synced": dg.In(dg.Nothing)},
    out=dg.Out(dg.Nothing),
    description="Compute the averages and metrics of every period whose sessions changed.",
)
def summarise_stale_months(
    context: dg.OpExecutionContext,
    database: dg.ResourceParam[Database],
    metrics_options: dg.ResourceParam[MetricsOptions],
) -> None:
    """See `recompute_what_is_stale`."""
    recompute_what_is_stale(context, database, metrics_options)


def recompute_what_is_stale(
    context: dg.OpExecutionContext, database: Database, metrics_options: MetricsOptions
) -> None:
    """All stale user-months, reported to the asset `monthly_averages` month by month, then all stale metrics.

    Reported to the instance, not in this run: the runs of these jobs are removed after a while, the asset's history is
    not.

    Args:
        context: of the step; its instance takes the reports.
        database: with the tables.
        metrics_options: free days, and users for each batch.
    """
    from assets.metrics.sleep_metrics import compute_metrics  # it loads pandas

    with as_dagster_failure(context):
        with database.engine.connect() as connection:
            months = stale_months(connection)
        for month in months:
            with database.engine.begin() as connection:
                counts = summarise_month(connection, month)
            key = month_key(month)
            if monthly.has_partition_key(key):
                event = dg.AssetMaterialization("monthly_averages", partition=key, metadata=counts)
                context.instance.report_runless_asset_event(event)
        if months:
            counted = compute_metrics(database.engine, datetime.now(UTC).date(), metrics_options.free_days)
            event = dg.AssetMaterialization("sleep_metrics", metadata=dict(counted._asdict()))
            context.instance.report_runless_asset_event(event)


@dg.op(ins={"summarised": dg.In(dg.Nothing)}, description="Fail when a named user could not be synced.")
def fail_if_users_failed(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """Only this run's failures count; the message names the first missing user or session of these users."""
    ops: Any = context.run.run_config["ops"]
    with as_dagster_failure(context), database.engine.connect() as connection:
        if totals_of_run(SyncState(connection).counts_of_run(context.run_id)).get("failures"):
            users = Registry(connection).find(ops[sync_some_users.name]["config"].get("users") or ())
            raise missing_data_failure(connection, [user_id for user_id in users.values() if user_id])
