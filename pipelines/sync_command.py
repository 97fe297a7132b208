"""What `asleep-sync sync` does: two jobs, one after the other, and the plain result.

Lives here: the order, what is printed, the exit code.  Not here: arguments, the jobs.
"""

import os
from dataclasses import dataclass
from datetime import date

from rich.console import Console
from sqlalchemy import Engine, select

from pipelines.database_url import dagster_environment, find_database_url
from pipelines.definitions import build_definitions
from pipelines.instance import open_instance
from pipelines.run_jobs import Outcome, Runner
from pipelines.settings import Settings
from resources.asleep.events import pseudonym
from resources.asleep.resource import KeyMissing
from resources.database import tables
from resources.database.resource import Database

ALL_SYNCED, SOME_FAILED, NOTHING_DONE = 0, 1, 2
_LINES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("users", "users", {"users_fresh": "just synced before", "users_gone": "gone", "users_failed": "failed"}),
    (
        "sessions",
        "sessions",
        {
            "sessions_inserted": "new",
            "sessions_updated": "changed",
            "sessions_unchanged": "unchanged",
            "sessions_deleted": "deleted",
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


def run_sync(settings: Settings, database: Database, request: SyncRequest) -> int:
    """Sync, summarise, say what came of it; returns the exit code."""
    say, complain = Console(highlight=False), Console(stderr=True, highlight=False)
    if settings.calling_key is None:
        complain.print(f"asleep-sync: {KeyMissing.__doc__}")
        return NOTHING_DONE
    database.require_migrated()
    if unknown := _unknown(database.engine, request.user_ids):
        complain.print(
            f"asleep-sync: not registered: {', '.join(unknown)}. Import them first: asleep-sync users import"
        )
        return NOTHING_DONE
    os.environ.update(dagster_environment(settings, find_database_url(settings)))
    definitions = build_definitions(settings)
    with open_instance() as instance:
        runner = Runner(definitions, instance, database.engine, complain)
        if request.user_ids:
            synced = runner.sync_some(request.days, [pseudonym(user_id) for user_id in request.user_ids])
        else:
            synced = runner.sync_all(request.days)
        summarised = runner.summarise_touched()
    return _report(say, complain, request, synced, summarised)


def _unknown(engine: Engine, user_ids: tuple[str, ...]) -> list[str]:
    if not user_ids:
        return []
    with engine.connect() as connection:
        known = set(connection.scalars(select(tables.users.c.user_id).where(tables.users.c.user_id.in_(user_ids))))
    return [user_id for user_id in user_ids if user_id not in known]


def _report(say: Console, complain: Console, request: SyncRequest, synced: Outcome, summarised: Outcome | None) -> int:
    say.print(f"Window {request.days[0]} to {request.days[1]} (UTC), run {synced.run_id}")
    for heading, total, parts in _LINES:
        shown = ", ".join(f"{synced.counts.get(key, 0)} {word}" for key, word in parts.items())
        say.print(f"{heading:<10}{synced.counts.get(total, 0)} ({shown})")
    if synced.permanent:
        complain.print(f"asleep-sync: {synced.message}")
        return NOTHING_DONE
    if summarised is not None and not summarised.success:
        complain.print(f"asleep-sync: the monthly averages failed: {summarised.message}")
        return SOME_FAILED
    if not synced.success:
        complain.print(f"asleep-sync: not everything was synced: {synced.message}")
        complain.print("`asleep-sync status` lists what is missing; the next run tries it first.")
        return SOME_FAILED
    return ALL_SYNCED
