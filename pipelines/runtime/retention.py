"""Removal of old operational records; Dagster itself keeps every run for ever."""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.ops.deleted_users import Retention
from assets.ops.failures import as_dagster_failure
from assets.partitions import monthly
from resources.database.dagster_records import remove_records
from resources.database.resource import Database
from resources.database.service.inbox import Inbox
from resources.database.service.outbox import Outbox
from resources.database.sync.sync_state import SyncState

KEEP_DAYS = 30
KEEP_SUCCESSFUL_RUNS_DAYS = 7
FREQUENT_JOBS = (
    *("process_webhook_events", "retry_failures", "sync_named_users"),
    *("summarise_months", "delete_old_records"),
)
"""Jobs that run many times a day. Runs of the others stay: they hold the assets' history."""

NOT_SUCCESSFUL = (DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
MAX_CHANGES_AGE = timedelta(days=30)
"""How long the change feed reaches back, at most; less with a shorter ERASURE_GRACE_DAYS."""

MAX_RUNS_REMOVED = 5_000
"""Per job and night, so that the first removal on a big instance ends; the next night continues."""


@dg.op(
    out=dg.Out(dg.Nothing),
    description=f"Remove runs of the frequent jobs with their events, checks and logs: successful ones after "
    f"{KEEP_SUCCESSFUL_RUNS_DAYS} days, failed ones after {KEEP_DAYS}.",
)
def remove_old_runs(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """Keep each run that last computed a month's averages, so that no partition loses its materialisation."""
    now = datetime.now(UTC)
    kept = _latest_runs_of_months(context.instance)
    removed: list[str] = []
    for job in FREQUENT_JOBS:
        for statuses, days in (((DagsterRunStatus.SUCCESS,), KEEP_SUCCESSFUL_RUNS_DAYS), (NOT_SUCCESSFUL, KEEP_DAYS)):
            wanted = RunsFilter(job_name=job, statuses=list(statuses), created_before=now - timedelta(days=days))
            for run_id in context.instance.get_run_ids(wanted, limit=MAX_RUNS_REMOVED):
                if run_id not in kept:
                    context.instance.delete_run(run_id)
                    context.instance.compute_log_manager.delete_logs(prefix=[run_id])
                    removed.append(run_id)
    with as_dagster_failure(context), database.engine.begin() as connection:
        events = remove_records(connection, removed, now - timedelta(days=KEEP_SUCCESSFUL_RUNS_DAYS))
    context.log.info("%d runs and %d events without a run removed", len(removed), events)


@dg.op(out=dg.Out(dg.Nothing), description="Remove handled events, delivered notifications, old notes of batches.")
def remove_old_rows(
    context: dg.OpExecutionContext, database: dg.ResourceParam[Database], retention: dg.ResourceParam[Retention]
) -> None:
    """Remove events that were given up as well: they may name people, and the syncs bring their sessions."""
    before = datetime.now(UTC) - timedelta(days=KEEP_DAYS)
    with as_dagster_failure(context), database.engine.begin() as connection:
        events = Inbox(connection).prune(datetime.now(UTC) - retention.events)
        events += Outbox(connection).prune(before)
        batches = SyncState(connection).remove_old_batches(before)
        SyncState(connection).prune_changes(datetime.now(UTC) - min(retention.erasure_grace, MAX_CHANGES_AGE))
    context.log.info("%d old events and %d old batches removed", events, batches)


def _latest_runs_of_months(instance: dg.DagsterInstance) -> set[str]:
    asset = dg.AssetKey("monthly_averages")
    found: set[str] = set()
    for key in monthly.get_partition_keys():
        records = instance.fetch_materializations(dg.AssetRecordsFilter(asset, asset_partitions=[key]), limit=1).records
        found.update(record.run_id for record in records)
    return found
