"""What `asleep-sync sync`, `retry` and `reconcile` do: a job, then the averages of its months, and the result."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from rich.console import Console
from sqlalchemy import Connection, Engine, select

from assets.ops.batches import SyncFlags
from pipelines.cli.common import NOTHING_DONE, Refusal, first_line, with_database_url
from pipelines.cli.development.demo_users import refuse_demo_users
from pipelines.cli.users import user_ids
from pipelines.definitions import asleep_api_of, build_definitions
from pipelines.notifications.alert_sensors import alert_of_command
from pipelines.observability import LOGGER
from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.runtime.interruption import run_until_signal
from pipelines.runtime.run_jobs import Runner, RunResult
from pipelines.settings import Settings
from resources.asleep.errors import AsleepError
from resources.asleep.resource import KeyMissing
from resources.asleep.transport import RetryPolicy
from resources.database.first_day import read_first_day, store_first_day
from resources.database.resource import Database
from resources.database.schema import tables
from resources.database.sync.missing_data import read_missing_data
from resources.database.sync.sync_state import count_users
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
    if not ids:
        _require_users(settings, database)

    def run(runner: Runner) -> RunResult:
        if ids:
            sessions = [pseudonym(session_id) for session_id in request.session_ids] or None
            return runner.sync_some(request.days, [pseudonym(user_id) for user_id in ids], sessions, request.flags)
        return runner.sync_all(request.days, request.flags)

    is_daily = not ids and request.days[1] >= datetime.now(UTC).date()
    if not ids:
        _extend_partitions(database, request.days[0])
    outcomes = _run(settings, database, run, is_daily=is_daily)
    return _print_result(f"Window {request.days[0]} to {request.days[1]} (UTC)", database, outcomes, ids)


def _extend_partitions(database: Database, first: date) -> None:
    with database.engine.begin() as connection:
        if first < (before := read_first_day(connection)):
            store_first_day(connection, first)
            _console(stderr=True).print(
                f"asleep-sync: the first day moved from {before} to {first}. Restart Dagster to see the earlier days."
            )


def run_for_all_users(settings: Settings, database: Database, title: str, run: Callable[[Runner], RunResult]) -> int:
    """Run a job that needs registered users, and print the result; returns the exit code.

    Args:
        settings: the environment.
        database: where data go.
        title: heads the result.
        run: starts the job.
    """
    _require_ready(settings, database)
    _require_users(settings, database)
    return _print_result(title, database, _run(settings, database, run))


def _require_ready(settings: Settings, database: Database) -> None:
    if settings.calling_key is None:
        raise Refusal(f"{KeyMissing.__doc__} `make dev` and `make demo` work without: they simulate the API.")
    database.require_migrated()
    with database.engine.connect() as connection:
        refuse_demo_users(connection, settings)
    if settings.dagster_executor != "in_process":
        _console(stderr=True).print(
            f"asleep-sync: DAGSTER_EXECUTOR={settings.dagster_executor} is for the runs that Dagster launches; this "
            "command runs in its own process."
        )


def _require_users(settings: Settings, database: Database) -> None:
    with database.engine.connect() as connection:
        has_users = count_users(connection) > 0
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
        _console(stderr=True).print(f"asleep-sync: {error}")


def _run(
    settings: Settings, database: Database, run: Callable[[Runner], RunResult], *, is_daily: bool = False
) -> list[RunResult]:
    """Run a job, then the averages of the months that it changed; returns the outcome of each."""
    runner: Runner | None = None

    def cancel() -> None:
        if runner is not None:
            runner.cancel()

    def work() -> list[RunResult]:
        nonlocal runner
        ready = with_database_url(settings)
        os.environ.update(dagster_environment(ready))
        with database.engine.connect() as connection:
            first_day = read_first_day(connection)
        definitions = build_definitions(ready, dg.in_process_executor, first_day=first_day)
        complain = _console(stderr=True)
        try:
            with dg.DagsterInstance.get() as instance:
                runner = Runner(definitions, instance, database.engine, first_day, complain)
                outcomes = [run(runner)]
                if (summarised := runner.summarise_stale_months()) is not None:
                    outcomes.append(summarised)
                _notify(ready, instance, outcomes, complain, is_daily=is_daily)
                return outcomes
        except dg.DagsterInvalidConfigError:
            raise Refusal(
                "dagster.yaml in DAGSTER_HOME is not valid: `asleep-sync exec -- dagster instance info` shows why."
            ) from None
        except (dg.DagsterError, DagsterPostgresException) as error:
            raise Refusal(f"Dagster cannot be used: {first_line(error, type(error).__name__)}") from None

    with _quiet(settings):
        return run_until_signal(work, cancel, "stopped. What was fetched is stored; the next sync fetches the rest.")


@contextmanager
def _quiet(settings: Settings) -> Iterator[None]:
    """Leave out log lines that repeat the printed result, unless LOG_LEVEL or LOG_FORMAT is set."""
    loggers = [logging.getLogger(f"{LOGGER}.{name}") for name in ("asleep", "alerts")]
    is_quiet = not settings.logs_as_json and "log_level" not in settings.model_fields_set
    for logger in loggers:
        logger.setLevel(logging.CRITICAL if is_quiet else logging.NOTSET)
    try:
        yield
    finally:
        for logger in loggers:
            logger.setLevel(logging.NOTSET)


def _print_result(title: str, database: Database, outcomes: Sequence[RunResult], ids: Sequence[str] = ()) -> int:
    """Print what was done and what is missing; returns the exit code."""
    complain, done = _console(stderr=True), outcomes[0]
    _print_counts(_console(), title, done)
    if done.permanent:
        complain.print(f"asleep-sync: {done.message}")
        return NOTHING_DONE
    for summarised in outcomes[1:]:
        if not summarised.success:
            complain.print(f"asleep-sync: the monthly averages failed: {summarised.message}")
    if not done.success:
        _list_missing(complain, database.engine, ids, done)
    return ALL_SYNCED if all(outcome.success for outcome in outcomes) else SOME_FAILED


def _console(*, stderr: bool = False) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _notify(
    settings: Settings,
    instance: dg.DagsterInstance,
    outcomes: Sequence[RunResult],
    complain: Console,
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
        complain.print(f"asleep-sync: {'ALERT_WEBHOOK_URL' if failed else 'HEARTBEAT_URL'} did not accept: {error}")


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


def _print_counts(console: Console, title: str, done: RunResult) -> None:
    if skipped := done.counts.get(_FRESH, 0):
        console.print(
            f"{skipped} of {done.counts.get('users', 0)} users were skipped: they were synced within "
            "CACHE_TTL_SECONDS. --refresh lists them again."
        )
    console.print(f"{title}, run {done.run_id}")
    for total, parts in _LINES.items():
        shown = ", ".join(f"{done.counts.get(key, 0)} {word}" for key, word in parts.items())
        console.print(f"{total:<10}{done.counts.get(total, 0)} ({shown})")


def _list_missing(complain: Console, engine: Engine, ids: Sequence[str], done: RunResult) -> None:
    """Print why the run failed and which of the requested users are missing, by pseudonym."""
    with engine.connect() as connection:
        waiting, missing = read_missing_data(connection, ids)
    summary = f"{waiting} users or sessions are missing" if waiting else ""
    reasons = "; ".join(filter(None, (done.message, summary))) or f"see run {done.run_id}"
    complain.print(f"asleep-sync: not everything was synced: {reasons}")
    for item in missing:
        complain.print(f"  {item.user}, {item.kind}, {' '.join(item.message.split())}")
    if waiting > len(missing):
        complain.print(f"  … and {waiting - len(missing)} more")
    complain.print("`asleep-sync status` lists what is missing; `asleep-sync retry` tries it again.")
