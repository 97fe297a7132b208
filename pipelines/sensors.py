"""Sensors: when a run is requested because of what the database holds."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.metrics.monthly_summary import months_to_recompute
from assets.partitions import month_keys
from pipelines.jobs import process_webhook_events, summarise_months
from pipelines.runtime.pauses import is_in_api_pool, is_under_way, why_paused
from pipelines.runtime.run_tags import range_tags
from resources.database.resource import Database
from resources.database.service.inbox import has_due_events

RECOMPUTE_INTERVAL = timedelta(minutes=15)
"""During a sync, averages are recomputed at most this often."""

NOT_WAITING = "not waiting"
"""The sensor's cursor when no month waits. Dagster keeps the former cursor when a tick returns an empty one."""

IDLE_SECONDS = 30.0
"""A run that handles webhook events ends when no event has come for this long."""

Clock = Callable[[], datetime]


def _utc_now() -> datetime:
    return datetime.now(UTC)


def stale_months_sensor(clock: Clock = _utc_now) -> dg.SensorDefinition:
    """The sensor that recomputes averages; `clock` returns the current moment in UTC."""

    @dg.sensor(
        owners=["team:data"],
        name="recompute_stale_months",
        job=summarise_months,
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Recomputes averages and metrics of months whose sessions changed, and of the running month once "
        "a day: when no sync is running, or every 15 minutes while a long one runs.",
    )
    def sensor(context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]) -> dg.SensorResult:
        now = clock()
        with database.engine.connect() as connection:
            months = months_to_recompute(connection)
        is_syncing = _writes_sessions(context.instance)
        waiting_since = _moment(context.cursor) or (now if months else None)
        if not is_syncing and not months:
            waiting_since = None
        reason = why_not_yet(waiting_since if months else None, now, is_syncing=is_syncing)
        if reason is None and is_under_way(context.instance, summarise_months.name):
            reason = "A run is computing averages."
        reason = reason or why_paused(context.instance, summarise_months.name, asks=False)
        if reason is not None:
            return dg.SensorResult(skip_reason=reason, cursor=_cursor(waiting_since))
        request = dg.RunRequest(tags=range_tags(*month_keys(months, now.date())))
        return dg.SensorResult(run_requests=[request], cursor=_cursor(now if is_syncing else None))

    return sensor


def why_not_yet(waiting_since: datetime | None, now: datetime, *, is_syncing: bool) -> str | None:
    """Why averages are not recomputed now.

    Args:
        waiting_since: when months began to wait, or when a recomputation was last requested during this sync; None
            when no month waits.
        now: the current moment, aware.
        is_syncing: whether a run that writes sessions is under way.

    Returns:
        The reason, or None when averages are to be recomputed now.
    """
    if waiting_since is None:
        return "No month waits for its averages."
    if is_syncing and now - waiting_since < RECOMPUTE_INTERVAL:
        return "A sync is writing sessions: waiting for its end."
    return None


def _moment(cursor: str | None) -> datetime | None:
    return datetime.fromisoformat(cursor) if cursor and cursor != NOT_WAITING else None


def _cursor(waiting_since: datetime | None) -> str:
    return waiting_since.isoformat() if waiting_since else NOT_WAITING


recompute_stale_months = stale_months_sensor()


def _writes_sessions(instance: dg.DagsterInstance) -> bool:
    """Whether a run that stores sessions is under way, be it a job, a backfill or a command.

    The one that handles events computes its averages itself when it ends.
    """
    runs = instance.get_runs(RunsFilter(statuses=[DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]))
    return any(is_in_api_pool(run) or run.job_name == process_webhook_events.name for run in runs)


def webhook_inbox(*, enabled: bool) -> dg.SensorDefinition:
    """The sensor of the webhook inbox; switched off where webhooks are."""

    @dg.sensor(
        owners=["team:data"],
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
