"""What `status` looks at: did the last syncs come to their end, are new users synced in time, what is missing."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select

from resources.database.advisory_lock import is_held
from resources.database.dagster_records import has_records
from resources.database.schema.bookkeeping import sync_batches
from resources.database.schema.tables import users
from resources.load_sql import load_sql
from resources.pseudonyms import pseudonym

MAX_SHOWN = 20  # rows of `Missing`
FIRST_SYNC_WITHIN = timedelta(hours=26)  # of a user's registration: the daily sync, and two hours for it to run
MAX_PAUSE = timedelta(minutes=15)  # between two signs of a run, unless one of its batches is being synced
HELD_TAG = "asleep-sync/run-by-command"
"""On Dagster's runs of the command: their process holds the lock `lock_of_run` as long as it lives."""


class Missing(NamedTuple):
    """A user's list, or sessions of a user that failed for the same reason, without an id."""

    user: str
    sessions: int  # 0 when it is the list that could not be read
    kind: str
    attempts: int  # of the session tried most often
    since: datetime  # the earliest
    message: str

    @property
    def reason(self) -> str:
        """Kind and message in one line."""
        return f"{self.kind}, {' '.join(self.message.split())}"


class StalledRun(NamedTuple):
    """A run under way in which nothing happens."""

    run_id: str
    job: str
    status: str
    moved_at: datetime  # when its newest event was stored


class StoppedRun(NamedTuple):
    """A run that ended before all of its batches had."""

    run_id: str
    started_at: datetime
    window_start: datetime
    window_end: datetime  # exclusive


def lock_of_batch(number: int, of: int) -> str:
    """Name of the advisory lock of a run that syncs the batch.

    Args:
        number: of the batch.
        of: number of batches.
    """
    return f"asleep-sync batch {number} of {of}"


def lock_of_run(run_id: str) -> str:
    """Name of the advisory lock that the process of a command's run holds."""
    return f"asleep-sync run {run_id}"


def stopped_runs(engine: Engine) -> list[StoppedRun]:
    """Runs that stopped before their end and that no later run has made good, the earliest first."""
    with engine.connect() as connection:
        found = connection.execute(load_sql(__package__, "stopped_runs"), {"seconds": MAX_PAUSE.total_seconds()}).all()
    return [
        StoppedRun(*run)
        for *run, batches, unfinished in found
        if not any(is_held(engine, lock_of_batch(number, batches)) for number in unfinished)
    ]


def stalled_runs(engine: Engine) -> list[StalledRun]:
    """Return runs without a recent event of which no batch is being synced.

    Runs of a command that was killed are not under way: what they left undone is among `stopped_runs`.
    """
    with engine.connect() as connection:
        if not has_records(connection):
            return []
        values = {"seconds": MAX_PAUSE.total_seconds(), "held_tag": HELD_TAG}
        found = connection.execute(load_sql(__package__, "stalled_runs"), values).all()
        query = select(sync_batches.c.run_id, sync_batches.c.batch, sync_batches.c.batches)
        batches = connection.execute(query.where(sync_batches.c.finished_at.is_(None))).all()
    syncing = {row.run_id for row in batches if is_held(engine, lock_of_batch(row.batch, row.batches))}
    runs = [StalledRun(*run) for *run, is_held_run in found if not is_held_run or is_held(engine, lock_of_run(run[0]))]
    return [run for run in runs if run.run_id not in syncing]


def overdue_users(connection: Connection) -> int:
    """How many active users were registered more than `FIRST_SYNC_WITHIN` ago and never synced since."""
    is_late = users.c.registered_at < func.now() - FIRST_SYNC_WITHIN
    query = select(func.count()).where(users.c.is_synced, users.c.last_synced_at.is_(None), is_late)
    return connection.scalar(query) or 0


def read_missing_data(connection: Connection, user_ids: Sequence[str] = ()) -> tuple[int, list[Missing]]:
    """How many sessions and lists of these users, or of all, are missing, and which: at most `MAX_SHOWN` rows.

    Args:
        connection: reads; writes nothing.
        user_ids: whose data count; empty for all users.
    """
    values = {"user_ids": list(user_ids) or None, "most": MAX_SHOWN}
    found = connection.execute(load_sql(__package__, "missing_data"), values).all()
    missing = [Missing(pseudonym(user_id), *shown) for _, user_id, *shown in found]
    return (found[0].waiting if found else 0), missing
