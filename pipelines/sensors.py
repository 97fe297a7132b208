"""Sensors: they look, decide, and ask for a run.

Lives here: what is looked at, and when a run is worth it.  Not here: the work.
"""

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from pipelines.jobs import process_webhook_events
from resources.database.resource import Database
from resources.database.statements import statement

UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)

months_follow_sessions = dg.AutomationConditionSensorDefinition(
    "months_follow_sessions",
    target=dg.AssetSelection.assets("monthly_averages"),
    default_status=dg.DefaultSensorStatus.RUNNING,
    minimum_interval_seconds=30,
    description="Computes the averages of the months whose sessions were synced, the running month included.",
)


def is_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of the job waits or runs."""
    return instance.get_runs_count(RunsFilter(job_name=job, statuses=list(UNFINISHED))) > 0


def waiting_events(*, enabled: bool) -> dg.SensorDefinition:
    """The sensor of the webhook inbox; switched off where webhooks are."""

    @dg.sensor(
        name="waiting_events",
        job=process_webhook_events,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.RUNNING if enabled else dg.DefaultSensorStatus.STOPPED,
        description="Starts process_webhook_events when the inbox holds events that are due, one run at a time.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, database: dg.ResourceParam[Database]
    ) -> dg.RunRequest | dg.SkipReason:
        if is_under_way(context.instance, process_webhook_events.name):
            return dg.SkipReason("A run is handling the inbox: it takes new events as well.")
        with database.engine.connect() as connection:
            due = connection.scalar(statement("events_due", "assets"))
        return dg.RunRequest() if due else dg.SkipReason("The inbox holds nothing that is due.")

    return sensor
