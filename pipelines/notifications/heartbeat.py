"""A sign of life to HEARTBEAT_URL after each complete daily sync: an outside monitor notices when none comes."""

import dagster as dg
from dagster import DagsterRunStatus

from pipelines.jobs import sync_sleep_sessions
from pipelines.settings import Settings
from resources.notifications.deliver import deliver

_SCHEDULE_TAG = "dagster/schedule_name"
DAILY_SCHEDULE = "daily_sync"


def heartbeat(settings: Settings) -> dg.SensorDefinition:
    """The sensor that requests HEARTBEAT_URL when a run of the daily schedule has ended well."""
    url = settings.heartbeat_url

    @dg.run_status_sensor(
        name="heartbeat",
        run_status=DagsterRunStatus.SUCCESS,
        monitored_jobs=[sync_sleep_sessions],
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING if url else dg.DefaultSensorStatus.STOPPED,
        description="Requests HEARTBEAT_URL after each complete daily sync.",
    )
    def sensor(context: dg.RunStatusSensorContext) -> dg.SkipReason | None:
        if url is None or context.dagster_run.tags.get(_SCHEDULE_TAG) != DAILY_SCHEDULE:
            return dg.SkipReason("Not the daily sync, or HEARTBEAT_URL is not set.")
        deliver(url)
        return None

    return sensor
