"""Runs in the instance: their tags, how many are under way, and why automation starts none of a job now."""

from datetime import UTC, datetime, timedelta
from itertools import takewhile

import dagster as dg
from dagster import DagsterRunStatus, RunsFilter

from assets.ops.batches import API_POOL
from assets.ops.failures import REFUSED

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"
MAX_RUNTIME = "dagster/max_runtime"
"""Seconds after which run monitoring ends a run."""
LOCATION = "asleep-sync"
"""The code location's name in every workspace file."""

_NO_MOMENT = "none"

AFTER_FAILURE = timedelta(minutes=10)
AFTER_FIRST_FAILURE_OF_INBOX = timedelta(seconds=5)
"""Four times as long after each further failure in a row, up to `AFTER_FAILURE`."""
AFTER_REFUSAL = timedelta(hours=6)
"""An operator has to fix the key, the plan or the quota; any successful run that calls the API ends the pause."""

API_JOBS_OUTSIDE_THE_POOL = frozenset({"erase_deleted_users"})
"""Jobs that always call the API, outside the pool of the others."""

MAX_FAILURES_COUNTED = 10

UNFINISHED = (
    DagsterRunStatus.QUEUED,
    DagsterRunStatus.NOT_STARTED,
    DagsterRunStatus.STARTING,
    DagsterRunStatus.STARTED,
    DagsterRunStatus.CANCELING,
)


def range_tags(first: str, last: str) -> dict[str, str]:
    """Return the tags that make one run of a range of partitions, both ends included.

    Args:
        first: key of the first partition.
        last: key of the last one.
    """
    return {RANGE_START: first, RANGE_END: last}


def utc_now() -> datetime:
    """Return the current moment, aware."""
    return datetime.now(UTC)


def moment_of(cursor: str | None) -> datetime | None:
    """Return the moment that `cursor_of` wrote into a sensor's cursor; None for none."""
    return datetime.fromisoformat(cursor) if cursor and cursor != _NO_MOMENT else None


def cursor_of(moment: datetime | None) -> str:
    """Return a sensor's cursor. Dagster keeps the former one when a tick returns an empty one."""
    return moment.isoformat() if moment else _NO_MOMENT


def count_under_way(instance: dg.DagsterInstance, job: str, *, created_after: datetime | None = None) -> int:
    """Return how many runs of the job wait or run.

    Args:
        instance: where runs are recorded.
        job: which one.
        created_after: counts only runs requested later.
    """
    filters = RunsFilter(job_name=job, statuses=list(UNFINISHED), created_after=created_after)
    return instance.get_runs_count(filters)


def is_in_api_pool(run: dg.DagsterRun) -> bool:
    """Return whether a run reads users from the API by the batch, be it a job, a backfill or a command."""
    return run.run_op_concurrency is not None and API_POOL in (run.run_op_concurrency.all_pools or ())


def why_paused(
    instance: dg.DagsterInstance,
    job: str,
    *,
    calls_api: bool,
    first_pause: timedelta = AFTER_FAILURE,
    now: datetime | None = None,
) -> str | None:
    """Return why automation does not start the job now; None when it may.

    Args:
        instance: where runs are recorded.
        job: which one.
        calls_api: whether the job calls the API.
        first_pause: after one failed run; four times as long after each further one in a row, up to `AFTER_FAILURE`.
        now: aware.
    """
    now = now or utc_now()
    if calls_api and (reason := why_refused(instance, now)) is not None:
        return reason
    ended = RunsFilter(job_name=job, statuses=[DagsterRunStatus.SUCCESS, DagsterRunStatus.FAILURE])
    newest = instance.get_run_records(ended, limit=MAX_FAILURES_COUNTED)
    failed = list(takewhile(lambda record: record.dagster_run.status is DagsterRunStatus.FAILURE, newest))
    if not failed:
        return None
    failed_at = failed[0].update_timestamp
    may_start_at = failed_at + min(AFTER_FAILURE, first_pause * 4 ** (len(failed) - 1))
    if now >= may_start_at:
        return None
    return f"The last run failed at {failed_at:%H:%M:%S} UTC: the next may start at {may_start_at:%H:%M:%S}."


def why_refused(instance: dg.DagsterInstance, now: datetime | None = None) -> str | None:
    """Return why nothing may call the API now, because it has refused the account; None when jobs may call it.

    Args:
        instance: where runs are recorded.
        now: aware.
    """
    recent = RunsFilter(tags={REFUSED: "true"}, updated_after=(now or utc_now()) - AFTER_REFUSAL)
    refused = next(iter(instance.get_run_records(recent, limit=1)), None)
    if refused is None:
        return None
    since = refused.update_timestamp
    later = RunsFilter(statuses=[DagsterRunStatus.SUCCESS], updated_after=since - timedelta(seconds=1))
    if any(is_in_api_pool(run) or run.job_name in API_JOBS_OUTSIDE_THE_POOL for run in instance.get_runs(later)):
        return None
    return (
        f"The Asleep API rejected the account at {since:%H:%M} UTC: fix it and launch any sync, or wait until "
        f"{since + AFTER_REFUSAL:%H:%M}."
    )
