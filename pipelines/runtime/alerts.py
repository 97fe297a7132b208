"""A failed run tells a person: a log line, a StatsD event, and a message to ALERT_WEBHOOK_URL if there is one.

Lives here: the sensor and its words.  Not here: delivery (`resources.notifications.alerts`), what makes a run fail.
"""

import dagster as dg
import structlog
from dagster import DagsterRun

from pipelines.observability import LOGGER, statsd_client
from pipelines.settings import Settings
from resources.notifications.alerts import AlertNotDelivered, post_alert

WILL_RETRY = "dagster/will_retry"
MOST_REASONS = 5
INTERRUPTED = "its process was asked to stop, as happens when a machine or the daemon is restarted"


def alert_on_run_failure(settings: Settings) -> dg.SensorDefinition:
    """The sensor that hears of every failed run, also of runs whose process died."""
    url = settings.alert_webhook_url

    @dg.run_failure_sensor(
        name="alert_on_run_failure",
        minimum_interval_seconds=10,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Tells of every failed run: log line, StatsD event, and a message to ALERT_WEBHOOK_URL.",
    )
    def sensor(context: dg.RunFailureSensorContext) -> None:
        reasons = reasons_of(context)
        text = message_of(context.dagster_run, reasons)
        structlog.get_logger(f"{LOGGER}.alerts").error(
            "run_failed", job=job_of(context.dagster_run), run_id=context.dagster_run.run_id, reasons=reasons
        )
        if settings.enable_metrics:
            statsd_client(settings).event(
                "asleep-sync run failed", text, alert_type="error", tags=[f"job:{job_of(context.dagster_run)}"]
            )
        if url is not None:
            try:
                post_alert(url, text)
            except AlertNotDelivered as error:
                context.log.error("ALERT_WEBHOOK_URL did not take the message: %s", error)  # noqa: TRY400 no trace
                raise

    return sensor


def reasons_of(context: dg.RunFailureSensorContext) -> list[str]:
    """What the failed steps said, each once; what the run itself said when no step failed."""
    said: dict[str, None] = {}
    for event in context.get_step_failure_events():
        failure = event.step_failure_data
        told = failure.user_failure_data
        said.setdefault((told.description if told else None) or (failure.error.message if failure.error else ""))
    reasons = [_plain(reason.strip()) for reason in said if reason.strip()]
    return (reasons or [context.failure_event.message or "no reason given"])[:MOST_REASONS]


def _plain(reason: str) -> str:
    return INTERRUPTED if "DagsterExecutionInterruptedError" in reason else reason


def job_of(run: DagsterRun) -> str:
    """The job's name as people know it: runs launched from an asset's page have no job of their own."""
    if not run.job_name.startswith("__ASSET_JOB"):
        return run.job_name
    return ", ".join(sorted(key.to_user_string() for key in run.asset_selection or ())) or "assets"


def message_of(run: DagsterRun, reasons: list[str]) -> str:
    """A few plain lines: what failed, why, and what happens next."""
    will_retry = run.tags.get(WILL_RETRY) == "true"
    lines = [f"asleep-sync: {job_of(run)} failed (run {run.run_id})", *(f"- {reason}" for reason in reasons)]
    lines.append(
        "It is started again by itself." if will_retry else "What landed is stored; the next run continues from there."
    )
    return "\n".join(lines)
