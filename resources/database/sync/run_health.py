"""Whether the last syncs came to their end, and whether new users are synced in time: what `status` looks at."""

from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select

from resources.database.advisory_lock import is_held
from resources.database.dagster_records import has_records
from resources.database.schema.bookkeeping import sync_batches
from resources.database.schema.tables import users
from resources.load_sql import load_sql

FIRST_SYNC_WITHIN = timedelta(hours=26)
"""Of a user's registration: the daily sync, and two hours for it to run."""


MAX_PAUSE = timedelta(minutes=15)
"""A run counts as stalled when its newest event is older and none of its batches is being synced."""


class StalledRun(NamedTuple):
    """A run under way in which nothing happens."""

    run_id: str
    job: str
    status: str
    moved_at: datetime
    """When its newest event was stored."""


class StoppedRun(NamedTuple):
    """A run that ended before all of its batches had."""

    run_id: str
    started_at: datetime


def lock_of_batch(number: int, of: int) -> str:
    """Name of the advisory lock that a run holds while it syncs a batch.

    Args:
        number: of the batch, from 0.
        of: how many batches the run has.
    """
    return f"asleep-sync batch {number} of {of}"


def stopped_runs(engine: Engine) -> list[StoppedRun]:
    """Runs that stopped before their end and that no later run has made good, the earliest first."""
    with engine.connect() as connection:
        found = connection.execute(load_sql(__package__, "stopped_runs")).all()
    stopped = [row for row in found if not is_held(engine, lock_of_batch(row.batch, row.batches))]
    return list({row.run_id: StoppedRun(row.run_id, row.started_at) for row in reversed(stopped)}.values())[::-1]


def stalled_runs(engine: Engine) -> list[StalledRun]:
    """Return runs without a recent event of which no batch is being synced."""
    with engine.connect() as connection:
        if not has_records(connection):
            return []
        found = connection.execute(load_sql(__package__, "stalled_runs"), {"seconds": MAX_PAUSE.total_seconds()})
        runs = [StalledRun(*row) for row in found]
        query = select(sync_batches.c.run_id, sync_batches.c.batch, sync_batches.c.batches)
        batches = connection.execute(query.where(sync_batches.c.finished_at.is_(None))).all()
    syncing = {row.run_id for row in batches if is_held(engine, lock_of_batch(row.batch, row.batches))}
    return [run for run in runs if run.run_id not in syncing]


def overdue_users(connection: Connection) -> int:
    """How many active users were registered more than `FIRST_SYNC_WITHIN` ago and never synced since."""
    is_late = users.c.registered_at < func.now() - FIRST_SYNC_WITHIN
    query = select(func.count()).where(users.c.is_synced, users.c.last_synced_at.is_(None), is_late)
    return connection.scalar(query) or 0
