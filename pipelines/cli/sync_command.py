"""What `asleep-sync sync` does: two jobs, one after the other, and the plain result.

Lives here: the order, what is printed, the exit code.  Not here: arguments, the jobs.
"""

import os
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import dagster as dg
from dagster_postgres.utils import DagsterPostgresException
from rich.console import Console
from sqlalchemy import Engine, select

from pipelines.cli.common import NOTHING_DONE, Refusal, first_line, with_database_url
from pipelines.definitions import build_definitions
from pipelines.notifications.alerts import alert_of_command
from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.runtime.run_jobs import Outcome, Runner, SyncFlags
from pipelines.settings import Settings
from resources.asleep.resource import KeyMissing
from resources.database.resource import Database
from resources.database.schema import tables
from resources.database.sync.missing_data import read_missing_data
from resources.notifications.alerts import AlertNotDelivered
from resources.notifications.heartbeat import HeartbeatNotDelivered, send_heartbeat
from resources.pseudonyms import pseudonym

ALL_SYNCED, SOME_FAILED = 0, 1
_LINES: tuple[tuple[str, str, dict[str, str]], ...] = (
    (
        "users",
        "users",
        {
            "users_fresh": "just synced before",
            "users_gone": "gone",
            "users_not_found": "not found",
            "users_failed": "failed",
        },
    ),
    (
        "sessions",
        "sessions",
        {
            "sessions_inserted": "new",
            "sessions_updated": "changed",
            "sessions_unchanged": "unchanged",
            "sessions_deleted": "deleted",
            "deletions_held": "deletions held back",
        },
    ),
    (
        "requests",
        "requests",
        {"requests_list_sessions": "lists", "requests_read_session": "sessions", "answers_throttled": "throttled"},
    ),
)


@dataclass(frozen=True, slots=True)
class SyncRequest:
    """Which days, both included, and which users; no user means all."""

    days: tuple[date, date]
    user_ids: tuple[str, ...] = ()
    session_ids: tuple[str, ...] = ()
    flags: SyncFlags = field(default_factory=SyncFlags)


def run_sync(settings: Settings, database: Database, request: SyncRequest) -> int:
    """Sync, summarise, say what came of it; returns the exit code."""
    say, complain = (Console(stderr=aside, highlight=False, markup=False, emoji=False) for aside in (False, True))
    if settings.calling_key is None:
        complain.print(f"asleep-sync: {KeyMissing.__doc__}")
        return NOTHING_DONE
    database.require_migrated()
    if request.session_ids:
        request = replace(request, user_ids=_owners(database.engine, request.session_ids))
    if unknown := _unknown(database.engine, request.user_ids):
        complain.print(
            f"asleep-sync: not registered: {', '.join(unknown)}. Import them first: asleep-sync users import",
            soft_wrap=True,
        )
        return NOTHING_DONE
    synced, summarised = _run(settings, database, request, complain)
    _say_counts(say, request, synced)
    if synced.permanent:
        complain.print(f"asleep-sync: {synced.message}", soft_wrap=True)
        return NOTHING_DONE
    if summarised is not None and not summarised.success:
        complain.print(f"asleep-sync: the monthly averages failed: {summarised.message}", soft_wrap=True)
    if not synced.success:
        _list_missing(complain, database.engine, request, synced)
    return ALL_SYNCED if synced.success and (summarised is None or summarised.success) else SOME_FAILED


def _run(
    settings: Settings, database: Database, request: SyncRequest, complain: Console
) -> tuple[Outcome, Outcome | None]:
    settings = with_database_url(settings)
    os.environ.update(dagster_environment(settings))
    definitions = build_definitions(settings, dg.in_process_executor)
    try:
        with dg.DagsterInstance.get() as instance:
            runner = Runner(definitions, instance, database.engine, complain)
            if request.user_ids:
                users = [pseudonym(user_id) for user_id in request.user_ids]
                sessions = [pseudonym(session_id) for session_id in request.session_ids] or None
                synced = runner.sync_some(request.days, users, sessions, request.flags)
            else:
                synced = runner.sync_all(request.days, request.flags)
            summarised = runner.summarise_stale_months()
            _notify(settings, instance, request, [synced, *([summarised] if summarised else [])], complain)
            return synced, summarised
    except dg.DagsterInvalidConfigError:
        raise Refusal(
            "dagster.yaml in DAGSTER_HOME is not valid: `asleep-sync exec -- dagster instance info` shows why."
        ) from None
    except (dg.DagsterError, DagsterPostgresException) as error:
        raise Refusal(f"Dagster cannot be used: {first_line(error, type(error).__name__)}") from None


def _notify(
    settings: Settings,
    instance: dg.DagsterInstance,
    request: SyncRequest,
    outcomes: list[Outcome],
    complain: Console,
) -> None:
    """Alert of failed runs; after a complete sync of all users up to today, send the heartbeat."""
    failed = [outcome for outcome in outcomes if not outcome.success]
    try:
        for outcome in failed:
            alert_of_command(settings, instance, outcome.run_id, outcome.message)
        is_daily = not request.user_ids and request.days[1] >= datetime.now(UTC).date()
        if settings.heartbeat_url and is_daily and not failed:
            send_heartbeat(settings.heartbeat_url)
    except AlertNotDelivered as error:
        complain.print(f"asleep-sync: ALERT_WEBHOOK_URL did not take the message: {error}")
    except HeartbeatNotDelivered as error:
        complain.print(f"asleep-sync: HEARTBEAT_URL did not take the request: {error}")


def _owners(engine: Engine, session_ids: tuple[str, ...]) -> tuple[str, ...]:
    """The users of stored sessions."""
    with engine.connect() as connection:
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
    return tuple(sorted({row.user_id for row in found}))


def _unknown(engine: Engine, user_ids: tuple[str, ...]) -> list[str]:
    if not user_ids:
        return []
    with engine.connect() as connection:
        known = set(connection.scalars(select(tables.users.c.user_id).where(tables.users.c.user_id.in_(user_ids))))
    return [user_id for user_id in user_ids if user_id not in known]


def _say_counts(say: Console, request: SyncRequest, synced: Outcome) -> None:
    say.print(f"Window {request.days[0]} to {request.days[1]} (UTC), run {synced.run_id}")
    for heading, total, parts in _LINES:
        shown = ", ".join(f"{synced.counts.get(key, 0)} {word}" for key, word in parts.items())
        say.print(f"{heading:<10}{synced.counts.get(total, 0)} ({shown})")


def _list_missing(complain: Console, engine: Engine, request: SyncRequest, synced: Outcome) -> None:
    """Print why the sync failed and which of the requested users are missing, by pseudonym."""
    with engine.connect() as connection:
        waiting, missing = read_missing_data(connection, request.user_ids)
    summary = f"{waiting} users or sessions are missing" if waiting else ""
    reasons = "; ".join(filter(None, (synced.message, summary))) or f"see run {synced.run_id}"
    complain.print(f"asleep-sync: not everything was synced: {reasons}", soft_wrap=True)
    for item in missing:
        complain.print(f"  {item.user}, {item.kind}, {' '.join(item.message.split())}", soft_wrap=True)
    if waiting > len(missing):
        complain.print(f"  … and {waiting - len(missing)} more")
    complain.print("`asleep-sync status` lists what is missing; the next run tries it first.", soft_wrap=True)
