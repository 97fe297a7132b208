"""Sensors: they look, decide, and ask for a run.

Lives here: what is looked at, and when a run is worth it.  Not here: the work.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.metrics.monthly_summary import stale_months
from assets.partitions import month_keys
from pipelines.jobs import process_webhook_events, summarise_months
from pipelines.runtime.pauses import is_in_api_pool, is_under_way, why_paused
from pipelines.runtime.run_tags import range_tags
from resources.database.resource import Database
from resources.database.service.inbox import has_due_events

LONGEST_WAIT = timedelta(minutes=15)
"""So long averages may lag behind a sync that takes hours."""

IDLE_SECONDS = 30.0
"""So long a run stays for more events when none comes."""


@dg.sensor(
    job=summarise_months,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Computes the averages of the months whose sessions changed, however they changed and the running "
    "month included: when the sync has ended, or every 15 minutes while a long one runs.",
)
def recompute_stale_months(
    context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
) -> dg.SensorResult:
    """Ask the database which months wait.

    Dagster's own events cannot tell: a month summarised while its sessions were being written counts as up to date.
    """
    now = datetime.now(UTC)
    with database.engine.connect() as connection:
        months = stale_months(connection)
    waiting_since = (_moment(context.cursor) or now) if months else None
    is_settled = not _writes_sessions(context.instance)
    reason = why_not_yet(waiting_since, now, is_settled=is_settled)
    if reason is None and is_under_way(context.instance, summarise_months.name):
        reason = "A run computes averages just now."
    reason = reason or why_paused(context.instance, summarise_months.name, asks=False)
    if reason is not None:
        return dg.SensorResult(skip_reason=reason, cursor=waiting_since.isoformat() if waiting_since else "")
    return dg.SensorResult(run_requests=[dg.RunRequest(tags=range_tags(*month_keys(months, now.date())))], cursor="")


def why_not_yet(waiting_since: datetime | None, now: datetime, *, is_settled: bool) -> str | None:
    """Why no averages are computed now; None when they are."""
    if waiting_since is None:
        return "No month waits for its averages."
    if not is_settled and now - waiting_since < LONGEST_WAIT:
        return "A sync is writing sessions: waiting for its end."
    return None


def _moment(cursor: str | None) -> datetime | None:
    return datetime.fromisoformat(cursor) if cursor else None


def _writes_sessions(instance: dg.DagsterInstance) -> bool:
    """Whether a run that stores sessions is under way, be it a job, a backfill or a command.

    The one that handles events computes its averages itself when it ends.
    """
    runs = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))
    return any(is_in_api_pool(run) or run.job_name == process_webhook_events.name for run in runs)


def webhook_inbox(*, enabled: bool) -> dg.SensorDefinition:
    """The sensor of the webhook inbox; switched off where webhooks are."""

    @dg.sensor(
        name="webhook_inbox",
        job=process_webhook_events,
        minimum_interval_seconds=4,  # the daemon looks every 5
        default_status=dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED,
        description="Starts process_webhook_events when the inbox holds events that are due, one run at a time. A run "
        f"stays until no event has come for {IDLE_SECONDS:.0f} seconds.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.RunRequest | dg.SkipReason:
        if is_under_way(context.instance, process_webhook_events.name):
            return dg.SkipReason("A run is handling the inbox: it takes new events as well.")
        with database.engine.connect() as connection:
            due = has_due_events(connection)
        if not due:
            return dg.SkipReason("The inbox holds nothing that is due.")
        if reason := why_paused(context.instance, process_webhook_events.name, asks=True):
            return dg.SkipReason(reason)
        return dg.RunRequest(run_config={"ops": {"handle_events": {"config": {"idle_seconds": IDLE_SECONDS}}}})

    return sensor
