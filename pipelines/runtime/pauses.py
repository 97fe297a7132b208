"""When automation leaves a job alone: it is under way, or has just failed, or the account is refused.

Lives here: looking at runs.  Not here: sensors, schedules, what makes a run fail.
"""

from datetime import UTC, datetime, timedelta

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.ops.batches import API_POOL
from assets.ops.failures import REFUSED

AFTER_FAILURE = timedelta(minutes=10)
AFTER_REFUSAL = timedelta(hours=6)
"""A person has to mend the key, the plan or the quota; whatever asks the API and ends well ends the pause at once."""

API_JOBS_OUTSIDE_THE_POOL = frozenset({"process_webhook_events", "erase_deleted_users"})
"""Jobs that ask the API without standing in the queue of the others."""

UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)


def is_under_way(instance: dg.DagsterInstance, job: str) -> bool:
    """Whether a run of the job waits or runs."""
    return instance.get_runs_count(RunsFilter(job_name=job, statuses=list(UNFINISHED))) > 0


def is_in_api_pool(run: dg.DagsterRun) -> bool:
    """Whether a run asks the API about users by the batch, be it a job, a backfill or a command."""
    return run.run_op_concurrency is not None and API_POOL in (run.run_op_concurrency.all_pools or ())


def why_paused(instance: dg.DagsterInstance, job: str, *, asks: bool, now: datetime | None = None) -> str | None:
    """Why the job is not started by itself just now; None when it may be.

    Args:
        instance: where runs are recorded.
        job: which one.
        asks: whether it asks the API.
        now: aware.
    """
    now = now or datetime.now(UTC)
    if asks and (since := _refused_since(instance, now)) is not None:
        return (
            f"The Asleep API refused the account at {since:%H:%M} UTC: mend it and launch any sync, or wait until "
            f"{since + AFTER_REFUSAL:%H:%M}."
        )
    ended = RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE])
    newest = next(iter(instance.get_run_records(ended, limit=1)), None)
    if newest is None or newest.dagster_run.status is DagsterRunStatus.SUCCESS:
        return None
    failed_at = _aware(newest.update_timestamp)
    if now - failed_at >= AFTER_FAILURE:
        return None
    return f"The last run failed at {failed_at:%H:%M} UTC: the next may start at {failed_at + AFTER_FAILURE:%H:%M}."


def _refused_since(instance: dg.DagsterInstance, now: datetime) -> datetime | None:
    """When the account was refused, if that was lately and nothing that asks the API has ended well since."""
    lately = RunsFilter(tags={REFUSED: "true"}, updated_after=now - AFTER_REFUSAL)
    newest = next(iter(instance.get_run_records(lately, limit=1)), None)
    if newest is None:
        return None
    since = _aware(newest.update_timestamp)
    well = instance.get_runs(
        RunsFilter(statuses=[DagsterRunStatus.SUCCESS], updated_after=since - timedelta(seconds=1))
    )
    return None if any(is_in_api_pool(run) or run.job_name in API_JOBS_OUTSIDE_THE_POOL for run in well) else since


def _aware(moment: datetime) -> datetime:
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
