"""What `asleep-sync sync`, `retry` and `reconcile` do: a job, then the averages of its months, and the result."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import click
import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from sqlalchemy import Connection, Engine, select

from assets.metrics.monthly_summary import stale_months
from assets.ops.batches import SyncFlags
from assets.partitions import day_key, month_keys, months_from
from pipelines.cli.common import NOTHING_DONE, Refusal, first_line
from pipelines.cli.development.simulated_api import refuse_demo_users
from pipelines.cli.users import user_ids
from pipelines.definitions import asleep_api_of, build_definitions
from pipelines.jobs import op_config
from pipelines.notifications.alert_sensors import alert_of_command
from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.runtime.run_jobs import Runner, RunResult, run_until_signal
from pipelines.runtime.runs import range_tags
from pipelines.settings import Settings
from resources.asleep.errors import AsleepError
from resources.asleep.resource import KeyMissing
from resources.asleep.transport import RetryPolicy
from resources.database.first_day import read_first_day, store_first_day
from resources.database.resource import Database
from resources.database.schema import tables
from resources.database.sync.run_health import read_missing_data
from resources.database.sync.sync_state import SyncState
from resources.notifications.deliver import NotDelivered, deliver
from resources.pseudonyms import pseudonym

ALL_SYNCED, SOME_FAILED = 0, 1
_FRESH = "users_fresh"
_LINES = {
    "users": {
        _FRESH: "just synced before",
        "users_gone": "gone",
        "users_not_found": "not found",
        "users_failed": "failed",
    },
    "sessions": {
        "sessions_inserted": "new",
        "sessions_updated": "changed",
        "sessions_unchanged": "unchanged",
        "sessions_deleted": "deleted",
        "deletions_held": "deletions held back",
    },
    "requests": {
        "requests_list_sessions": "lists",
        "requests_read_session": "sessions",
        "answers_throttled": "throttled",
    },
}
"""Printed counts of a run, each with the counts that it is made of and their words."""


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """Which days, both included, and which users."""

    days: tuple[date, date]
    names: tuple[str, ...] = ()
    """Ids or pseudonyms; none means all users."""
    session_ids: tuple[str, ...] = ()
    """Only these stored sessions; none means all."""
    flags: SyncFlags = field(default_factory=SyncFlags)


class Job(NamedTuple):
    """A job as a command runs it."""

    title: str
    """Heads the result."""
    name: str
    tags: Mapping[str, str] = {}
    config: Mapping[str, Any] = {}
    user_ids: Sequence[str] = ()
    """Whose sessions are synced; none means all users."""
    is_daily: bool = False
    """True when it syncs all users up to today."""


def run_sync(settings: Settings, database: Database, request: SyncRequest) -> int:
    """Sync, summarise, print the result; returns the exit code.

    Args:
        settings: the environment.
        database: where data go.
        request: days and users.

    Raises:
        Refusal: nothing could be done.
    """
    _require_ready(settings, database)
    with database.engine.connect() as connection:
        ids = _owners(connection, request.session_ids) if request.session_ids else user_ids(connection, request.names)
    first, last = request.days
    title = f"Window {first} to {last} (UTC)"
    if not ids:
        _require_users(settings, database)
        _extend_partitions(database, first)
        tags = {**range_tags(day_key(first), day_key(last)), **request.flags.tags}
        is_daily = last >= datetime.now(UTC).date()
        return _run(settings, database, Job(title, "sync_sleep_sessions", tags, is_daily=is_daily))
    config = op_config(
        "sync_some_users",
        first_day=day_key(first),
        last_day=day_key(last),
        users=[pseudonym(user_id) for user_id in ids],
        sessions=[pseudonym(session_id) for session_id in request.session_ids] or None,
        accept_deletions=request.flags.accept_deletions,
        refetch=request.flags.refetch,
    )
    return _run(settings, database, Job(title, "sync_named_users", config=config, user_ids=ids))


def run_for_all_users(settings: Settings, database: Database, job: Job) -> int:
    """Run a job that needs registered users, and print the result; returns the exit code.

    Args:
        settings: the environment.
        database: where data go.
        job: what to run.
    """
    _require_ready(settings, database)
    _require_users(settings, database)
    return _run(settings, database, job)


def _extend_partitions(database: Database, first: date) -> None:
    with database.engine.begin() as connection:
        if first < (before := read_first_day(connection)):
            store_first_day(connection, first)
            _complain(f"the first day moved from {before} to {first}. Restart Dagster to see the earlier days.")


def _require_ready(settings: Settings, database: Database) -> None:
    if settings.calling_key is None:
        raise Refusal(f"{KeyMissing.__doc__} `make dev` and `make demo` work without: they simulate the API.")
    database.require_migrated()
    with database.engine.connect() as connection:
        refuse_demo_users(connection, settings)
    if settings.dagster_executor != "in_process":
        _complain(
            f"DAGSTER_EXECUTOR={settings.dagster_executor} is for the runs that Dagster launches; this "
            "command runs in its own process."
        )


def _require_users(settings: Settings, database: Database) -> None:
    with database.engine.connect() as connection:
        has_users = SyncState(connection).count_users() > 0
    if not has_users:
        _check_key(settings, database)
        raise Refusal("no active user is registered. Import users first: asleep-sync users import FILE")


def _check_key(settings: Settings, database: Database) -> None:
    """Print what is wrong with the key or the way to the API, so that it is fixed along with the empty registry."""
    api = replace(asleep_api_of(settings), retry_policy=RetryPolicy(total_seconds=8), listeners=())
    try:
        with api.client(database.engine) as client:
            client.check_key()
    except AsleepError as error:
        _complain(str(error))


def _run(settings: Settings, database: Database, job: Job) -> int:
    """Run a job, then the averages of the months that it changed, and print the result; returns the exit code."""
    os.environ.update(dagster_environment(settings))
    with database.engine.connect() as connection:
        first_day = read_first_day(connection)
    runner = Runner(build_definitions(settings, dg.in_process_executor, first_day=first_day), database.engine)

    def work() -> list[RunResult]:
        with dg.DagsterInstance.get() as instance:
            runner.instance = instance
            outcomes = [runner.run(job.name, job.tags, job.config)]
            with database.engine.connect() as connection:
                months = stale_months(connection)
            if months:
                tags = range_tags(*month_keys(months, months_from(first_day)))
                outcomes.append(runner.run("summarise_months", tags, {}))
            _notify(settings, instance, outcomes, is_daily=job.is_daily)
            return outcomes

    try:
        return _print_result(job, database, run_until_signal(work, runner.cancel))
    except dg.DagsterInvalidConfigError:
        raise Refusal(
            "dagster.yaml in DAGSTER_HOME is not valid: `asleep-sync exec -- dagster instance info` shows why."
        ) from None
    except (dg.DagsterError, DagsterPostgresException) as error:
        raise Refusal(f"Dagster cannot be used: {first_line(error, type(error).__name__)}") from None


def _print_result(job: Job, database: Database, outcomes: Sequence[RunResult]) -> int:
    """Print what was done and what is missing; returns the exit code."""
    done = outcomes[0]
    _print_counts(job.title, done)
    if done.permanent:
        _complain(done.message)
        return NOTHING_DONE
    for summarised in outcomes[1:]:
        if not summarised.success:
            _complain(f"the monthly averages failed: {summarised.message}")
    if not done.success:
        _list_missing(database.engine, job.user_ids, done)
    return ALL_SYNCED if all(outcome.success for outcome in outcomes) else SOME_FAILED


def _complain(line: str) -> None:
    click.echo(f"asleep-sync: {line}", err=True)


def _notify(
    settings: Settings,
    instance: dg.DagsterInstance,
    outcomes: Sequence[RunResult],
    *,
    is_daily: bool,
) -> None:
    """Alert of failed runs; after a complete sync of all users up to today, send the heartbeat."""
    failed = [outcome for outcome in outcomes if not outcome.success]
    try:
        for outcome in failed:
            alert_of_command(settings, instance, outcome.run_id, outcome.message)
        if settings.heartbeat_url and is_daily and not failed:
            deliver(settings.heartbeat_url)
    except NotDelivered as error:
        _complain(f"{'ALERT_WEBHOOK_URL' if failed else 'HEARTBEAT_URL'} did not accept: {error}")


def _owners(connection: Connection, session_ids: tuple[str, ...]) -> list[str]:
    """Return the users of stored sessions."""
    sessions = tables.sleep_sessions.c
    found = connection.execute(
        select(sessions.session_id, sessions.user_id).where(
            sessions.session_id.in_(session_ids), sessions.deleted_at.is_(None)
        )
    ).all()
    known = {row.session_id for row in found}
    if missing := [session_id for session_id in session_ids if session_id not in known]:
        raise Refusal(
            f"not stored: {', '.join(missing)}. Sync the user's days instead: --user ID --from DATE --to DATE"
        )
    return sorted({row.user_id for row in found})


def _print_counts(title: str, done: RunResult) -> None:
    if skipped := done.counts.get(_FRESH, 0):
        click.echo(
            f"{skipped} of {done.counts.get('users', 0)} users were skipped: they were synced within "
            "CACHE_TTL_SECONDS. --refresh lists them again."
        )
    click.echo(f"{title}, run {done.run_id}")
    for total, parts in _LINES.items():
        shown = ", ".join(f"{done.counts.get(key, 0)} {word}" for key, word in parts.items())
        click.echo(f"{total:<10}{done.counts.get(total, 0)} ({shown})")


def _list_missing(engine: Engine, ids: Sequence[str], done: RunResult) -> None:
    """Print why the run failed and which of the requested users are missing, by pseudonym."""
    with engine.connect() as connection:
        waiting, missing = read_missing_data(connection, ids)
    summary = f"{waiting} users or sessions are missing" if waiting else ""
    reasons = "; ".join(filter(None, (done.message, summary))) or f"see run {done.run_id}"
    _complain(f"not everything was synced: {reasons}")
    for item in missing:
        sessions = f" ({item.sessions} sessions)" if item.sessions > 1 else ""
        click.echo(f"  {item.user}, {item.reason}{sessions}", err=True)
    if more := waiting - sum(max(1, item.sessions) for item in missing):
        click.echo(f"  … and {more} more", err=True)
    click.echo("`asleep-sync status` lists what is missing; `asleep-sync retry` tries it again.", err=True)
