"""The sync of one batch of users: ask in parallel, write in short transactions, lose nothing in between.

Lives here: the flow from questions to rows.  Not here: decisions about one user (`user_sync.py`), threads
(`fan_out.py`), SQL.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from structlog.contextvars import bound_contextvars

from assets.sync.api_requests import Answer, Question, Task
from assets.sync.batch_state import Sync, Work, key_sees_nobody
from assets.sync.fan_out import fan_out
from assets.sync.statistics_sync import StatisticsSync
from assets.sync.user_sync import UserSync
from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Rejected, UserGone
from resources.database.sync import sync_state
from resources.database.sync.statistics_state import note_completed_times, note_last_chunks, stored_statistics
from resources.database.sync.sync_state import UserToSync
from resources.database.sync.upsert import upsert_sessions
from resources.database.users.registry import hold_registered, some_other_users

ROWS_PER_WRITE = 500
SECONDS_PER_WRITE = 2.0
USERS_LOOKED_UP_AT_ONCE = 50
"""What is stored of so many users is in memory at a time, whatever the window."""
WITNESSES = 3

Counts = Counter[str]


class Mode(StrEnum):
    """How a batch asks."""

    LIST = "full"
    """List each user's sessions, read in full what is new or changed."""
    STATISTICS = "statistics"
    """Store what average-stats says; no stages."""
    RECONCILE = "reconcile"
    """Hold what is stored against average-stats, read in full what differs."""
    FILL = "fill"
    """Read in full what is stored from statistics only; list nothing."""

    @property
    def covers_the_window(self) -> bool:
        """True when a user without failures is then synced for the whole window."""
        return self in {Mode.LIST, Mode.STATISTICS}


@dataclass(frozen=True, slots=True)
class Batch:
    """Which users, which window, and how."""

    run_id: str
    number: int
    of: int
    window: Window
    workers: int
    cache_ttl_seconds: float
    mode: Mode = Mode.LIST
    pseudonyms: tuple[str, ...] | None = None
    """Only these users; None for all active ones."""
    failed_only: bool = False


def sync_batch(
    engine: Engine, api: AsleepClient, batch: Batch, requests: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Sync the users of a batch; what failed is recorded, what landed is committed.

    Args:
        engine: the database.
        api: where to ask.
        batch: whom and what about.
        requests: counts of the requests made so far, to be noted with each write.

    Returns: the counts of `requests`, and
        users, users_fresh, users_gone, users_failed, sessions_inserted, sessions_updated, sessions_unchanged,
        sessions_deleted, failures.

    Raises:
        Rejected: the account is refused; everything received before is committed.
    """
    counts: Counts = Counter()
    with bound_contextvars(run_id=batch.run_id, batch=batch.number):
        work = _begin(engine, batch, counts, requests)
        try:
            _ask_and_write(engine, api, batch, work, counts)
        except Rejected:
            _write(engine, batch, work, counts)
            raise
        _write(engine, batch, work, counts, is_last=True)
    return {**counts, **requests()}


def _ask_and_write(engine: Engine, api: AsleepClient, batch: Batch, work: Work, counts: Counts) -> None:
    """Write whenever enough has come, or enough time has gone: what a killed process loses is bounded by both."""
    write_at = time.monotonic() + SECONDS_PER_WRITE
    for task, answer in fan_out(work, lambda task: ask(api, task), workers=batch.workers):
        if isinstance(answer, Rejected) or (isinstance(answer, Exception) and not isinstance(answer, AsleepError)):
            raise answer
        work.take(task, answer)
        if len(work.rows) >= ROWS_PER_WRITE or time.monotonic() >= write_at:
            _write(engine, batch, work, counts)
            write_at = time.monotonic() + SECONDS_PER_WRITE
    if work.held:
        _look_for_somebody(engine, api, work)


def ask(api: AsleepClient, task: Task) -> Answer:
    """Put one question to the API."""
    if task.question is Question.LIST and task.window is not None:
        return api.list_sessions(task.user_id, *task.window.days_to_list)
    if task.question is Question.STATISTICS and task.window is not None:
        first, last = task.window.start.date(), (task.window.end - timedelta(microseconds=1)).date()
        return api.average_stats(task.user_id, first, last)
    if task.question is Question.SESSION and task.session_id is not None:
        return api.read_session(task.user_id, task.session_id)
    return api.read_user(task.user_id)


def _begin(engine: Engine, batch: Batch, counts: Counts, requests: Callable[[], dict[str, Any]]) -> Work:
    span = (batch.window.start, batch.window.end)
    with engine.begin() as connection:
        sync_state.begin_batch(connection, batch.run_id, batch.number, span)
        users = sync_state.users_to_sync(
            connection,
            batch=batch.number,
            batches=batch.of,
            window=span,
            cache_ttl_seconds=batch.cache_ttl_seconds,
            detail=batch.mode,
            pseudonyms=batch.pseudonyms,
            failed_only=batch.failed_only,
            contradictions=batch.mode is Mode.RECONCILE,
        )
        now = _clock(connection.scalar(select(func.clock_timestamp())))
        stale = [user for user in users if not user.fresh]
        counts.update(users=len(users), users_fresh=len(users) - len(stale))
        sync_state.note_progress(connection, batch.run_id, batch.number, dict(counts), finished=False)
    return Work(now=now, waiting=_waiting(engine, batch, stale), requests=requests)


def _waiting(engine: Engine, batch: Batch, users: Sequence[UserToSync]) -> Iterator[Sync]:
    """The users' syncs; what is stored of them is looked up some users at a time."""
    for first in range(0, len(users), USERS_LOOKED_UP_AT_ONCE):
        with engine.connect() as connection:
            syncs = _syncs(connection, batch, users[first : first + USERS_LOOKED_UP_AT_ONCE])
        yield from syncs


def _syncs(connection: Connection, batch: Batch, users: Sequence[UserToSync]) -> list[Sync]:
    spans = {u.user_id: batch.window.hull(u.failed_window_start, u.failed_window_end) for u in users}
    asked = [(user_id, span.listed.start, span.listed.end) for user_id, span in spans.items()]
    if batch.mode is Mode.FILL:
        pending = sync_state.sessions_without_stages(connection, list(spans))
        return [
            UserSync.of(u, spans[u.user_id], pending[u.user_id], lists=False) for u in users if u.user_id in pending
        ]
    if batch.mode is Mode.LIST:
        stored = sync_state.stored_sessions(connection, asked)
        return [UserSync.of(u, spans[u.user_id], stored.get(u.user_id, ())) for u in users]
    known = stored_statistics(connection, asked)
    reads_in_full = batch.mode is Mode.RECONCILE
    return [
        StatisticsSync.of(u, spans[u.user_id], known.get(u.user_id, ()), reads_in_full=reads_in_full) for u in users
    ]


def _clock(server_now: datetime | None) -> Callable[[], datetime]:
    """The database's clock, followed by this process's steady one."""
    assert server_now is not None  # noqa: S101 a SELECT of the clock gives a row
    started = time.monotonic()
    return lambda: server_now + timedelta(seconds=time.monotonic() - started)


def _look_for_somebody(engine: Engine, api: AsleepClient, work: Work) -> None:
    """Everybody asked about is gone or has no sessions. Is it so, or does the key belong to the other environment?

    Raises:
        KeyRejected: whoever else was asked about is unknown, too.
    """
    silent = [sync.user.user_id for sync in work.held if not sync.gone]
    with engine.connect() as connection:
        others = some_other_users(connection, {sync.user.user_id for sync in work.held}, WITNESSES)
    asked, is_sure = len(work.held), True
    for user_id in (*silent[:WITNESSES], *others):
        try:
            api.read_user(user_id)
        except UserGone:
            asked += user_id in others
        except Rejected:
            raise
        except AsleepError:
            is_sure = False
        else:
            return work.believe()
    if is_sure:
        raise key_sees_nobody(asked)
    return work.doubt()


def _write(engine: Engine, batch: Batch, work: Work, counts: Counts, *, is_last: bool = False) -> None:
    """One short transaction: sessions, deletions, and the users whose everything is now in.

    It begins with the users: whoever was erased meanwhile stays away, and whoever is to be erased waits for us.
    """
    with engine.begin() as connection:
        work.keep_only(hold_registered(connection, work.user_ids))
        done, failures, gone = work.done, work.failures(), work.gone()
        written = upsert_sessions(connection, work.rows)
        deleted = sync_state.mark_deleted(connection, work.deleted)
        note_completed_times(connection, work.completed)
        note_last_chunks(connection, work.numbers)
        if batch.mode.covers_the_window:
            sync_state.finish_users(connection, work.finished(), detail=batch.mode)
        if batch.mode is not Mode.FILL:
            sync_state.resolve_failures(connection, work.mended())
        sync_state.users_gone(connection, gone)
        sync_state.record_failures(connection, failures)
        counts.update(
            users_done=len(done),
            users_gone=len(gone),
            users_failed=sum(bool(s.failures) for s in done),
            sessions_inserted=written.inserted,
            sessions_updated=written.updated,
            sessions_unchanged=written.unchanged + sum(s.unchanged for s in done),
            sessions_deleted=deleted,
            failures=len(failures),
        )
        sync_state.note_progress(
            connection, batch.run_id, batch.number, {**counts, **work.requests()}, finished=is_last
        )
    work.forget_written()
