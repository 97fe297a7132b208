"""Removing what nobody looks at any more; Dagster itself keeps every run for ever.

Lives here: which records go, and after how long.  Not here: data, erasures, ticks (`retention` in `dagster.yaml`).
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.ops.failures import as_dagster_failure
from resources.database.resource import Database
from resources.database.service.inbox_care import prune_inbox
from resources.database.service.outbox import prune_outbox
from resources.database.sync import sync_state

KEEP_DAYS = 30
FREQUENT_JOBS = ("process_webhook_events", "retry_failures", "sync_named_users", "delete_old_records")
"""Runs that are no partition's materialisation. The others stay: with them an asset would lose its history."""

ENDED = (DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE, DagsterRunStatus.CANCELED)
RUNS_AT_ONCE = 100
MOST_RUNS = 5_000


@dg.op(out=dg.Out(dg.Nothing), description="Remove runs of the frequent jobs that ended long ago, with their events.")
def remove_old_runs(context: dg.OpExecutionContext) -> None:
    """Bounded, so that a first clearing of a big instance ends; the next one goes on."""
    before = datetime.now(UTC) - timedelta(days=KEEP_DAYS)
    removed = sum(_remove(context.instance, job, before, MOST_RUNS // len(FREQUENT_JOBS)) for job in FREQUENT_JOBS)
    context.log.info("%d runs older than %d days removed", removed, KEEP_DAYS)


@dg.op(out=dg.Out(dg.Nothing), description="Remove handled events, delivered notifications, old notes of batches.")
def remove_old_rows(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """Events that were given up stay: a person has to look at them."""
    before = datetime.now(UTC) - timedelta(days=KEEP_DAYS)
    with as_dagster_failure(context), database.engine.begin() as connection:
        events = prune_inbox(connection, before=before) + prune_outbox(connection, before=before)
        batches = sync_state.remove_old_batches(connection, before)
    context.log.info("%d events and %d batches older than %d days removed", events, batches, KEEP_DAYS)


def _remove(instance: dg.DagsterInstance, job: str, before: datetime, most: int) -> int:
    wanted = RunsFilter(job_name=job, statuses=list(ENDED), created_before=before)
    removed = 0
    while removed < most and (runs := instance.get_runs(wanted, limit=RUNS_AT_ONCE)):
        for run in runs:
            instance.delete_run(run.run_id)
        removed += len(runs)
    return removed
