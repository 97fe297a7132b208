"""The sync of one batch of users: from requests to rows, in short transactions, nothing lost in between."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from structlog.contextvars import bound_contextvars

from assets.sync.api_requests import Request, Response, send
from assets.sync.batch_state import BatchState, key_finds_no_user
from assets.sync.confirmations import NotConfirmed, owner_of
from assets.sync.scheduler import Sync, drive
from assets.sync.statistics_sync import reconcile, sync_statistics
from assets.sync.user_steps import UserOutcome
from assets.sync.user_sync import fill, sync_by_list
from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Rejected, UserGone
from resources.database.sync import sync_state
from resources.database.sync.list_cache import KnownPages, expire_lists, known_pages, note_pages
from resources.database.sync.statistics_state import note_completed_times, note_last_chunks, stored_statistics
from resources.database.sync.sync_state import Deletions, NotFound, UserToSync
from resources.database.sync.upsert import Written, disputed_sessions, upsert_sessions
from resources.database.users.registry import hold_registered, some_other_users

SECONDS_PER_WRITE = 2.0
ROWS_PER_WRITE = 500
"""A write comes sooner when this many rows wait."""
USERS_LOOKED_UP_AT_ONCE = 50
"""What is stored of this many users is in memory at a time, whatever the window."""
MAX_UNCONFIRMED = 2
"""When the ends of this many lists could not be confirmed the API is away, and the run has failed anyway."""
WITNESSES = 3
"""Users read directly, of those in the batch and of others each, before the key is called wrong."""


class Mode(StrEnum):
    """How a batch is synced."""

    LIST = "full"
    """List each user's sessions, read in full what is new or changed."""
    STATISTICS = "statistics"
    """Store what average-stats returns; no stages."""
    RECONCILE = "reconcile"
    """Compare what is stored with average-stats, read in full what differs."""
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
    accept_deletions: bool = False
    """Believe the API however many sessions it does not find."""
    refetch: bool = False
    """Read in full every session of the window, also those that are stored and unchanged."""
    session_pseudonyms: tuple[str, ...] | None = None
    """With `Mode.FILL`: read these sessions, by the pseudonyms of their ids."""


def sync_batch(
    engine: Engine, api: AsleepClient, batch: Batch, requests: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Sync the users of a batch; what failed is recorded, what landed is committed.

    Args:
        engine: the database.
        api: the client of the Asleep API.
        batch: the users, the window, the mode.
        requests: counts of the requests made so far, to be noted with each write.

    Returns:
        The counts of `requests`, and users, users_fresh, users_gone, users_not_found, users_failed,
        sessions_inserted, sessions_updated, sessions_unchanged, sessions_deleted, deletions_held, failures.

    Raises:
        Rejected: the account is refused; everything received before is committed.
    """
    with bound_contextvars(run_id=batch.run_id, batch=batch.number):
        return _BatchSync(engine, api, batch, requests).run()


@dataclass(slots=True)
class _BatchSync:
    engine: Engine
    api: AsleepClient
    batch: Batch
    requests: Callable[[], dict[str, Any]]
    counts: Counter[str] = field(default_factory=Counter)
    state: BatchState = field(default_factory=BatchState)
    pages: KnownPages = field(default_factory=lambda: KnownPages(0, 0))

    def run(self) -> dict[str, Any]:
        """Begin, drive, write; returns the counts."""
        users, now = self.begin()
        put = partial(send, self.api, now=now)
        try:
            self.drive(self.syncs(users), put)
            while cut := self.users_with_cut_lists():
                self.write()
                self.drive(self.syncs(cut, again=True), put)
            if self.state.held:
                self.check_the_key()
        except Rejected:
            self.write()
            raise
        self.write(is_last=True)
        return {**self.counts, **self.requests()}

    def begin(self) -> tuple[list[UserToSync], Callable[[], datetime]]:
        """The users to sync, and the database's clock followed by this process's steady one."""
        batch, span = self.batch, (self.batch.window.start, self.batch.window.end)
        with self.engine.begin() as connection:
            sync_state.begin_batch(connection, batch.run_id, batch.number, span, batches=batch.of)
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
            server_now = connection.scalar(select(func.clock_timestamp()))
            assert server_now is not None  # noqa: S101 a SELECT of the clock gives a row
            started = time.monotonic()
            stale = [user for user in users if not user.fresh]
            self.counts.update(users=len(users), users_fresh=len(users) - len(stale))
            sync_state.note_progress(connection, batch.run_id, batch.number, dict(self.counts), finished=False)
            self.pages = known_pages(connection, self.api.account, batch.run_id)
        self.api.page_size.start(self.pages.rows)
        return stale, lambda: server_now + timedelta(seconds=time.monotonic() - started)

    def syncs(self, users: Sequence[UserToSync], *, again: bool = False) -> Iterator[Sync]:
        """The users' syncs; what is stored of them is looked up some users at a time."""
        for first in range(0, len(users), USERS_LOOKED_UP_AT_ONCE):
            some = users[first : first + USERS_LOOKED_UP_AT_ONCE]
            with self.engine.connect() as connection:
                syncs = _syncs_of(connection, self.batch, some)
            for sync in syncs:
                sync.outcome.is_repeated = again
                yield sync

    def drive(self, syncs: Iterator[Sync], send: Callable[[Request], Response]) -> None:
        """Write every few seconds, also while a request hangs: a killed process loses at most that."""
        write_at = time.monotonic() + SECONDS_PER_WRITE
        with closing(drive(syncs, send, workers=self.batch.workers)) as happenings:
            for progress in happenings:
                if progress is not None:
                    self.state.take(progress)
                    if progress.outcome.list_lacked_a_session:
                        progress.outcome.list_lacked_a_session = False
                        self.api.page_size.forget()
                is_time = time.monotonic() >= write_at and self.state.has_news
                if is_time or len(self.state.rows) >= ROWS_PER_WRITE:
                    self.write()
                    write_at = time.monotonic() + SECONDS_PER_WRITE

    def users_with_cut_lists(self) -> list[UserToSync]:
        """Confirm the end of the longest last page, once per run; returns the users whose lists were cut."""
        ends, size, confirmed_rows = self.state.list_ends, self.api.page_size, self.pages.confirmed_rows
        cut: list[UserToSync] = []
        unconfirmed = 0
        while ends.longest > confirmed_rows and not cut and unconfirmed < MAX_UNCONFIRMED:
            try:
                cut = ends.cut(self.api)
            except NotConfirmed as problem:
                self.state.not_confirmed(problem)
                unconfirmed += 1
            else:
                confirmed_rows = 0 if cut else ends.longest
        self.pages = KnownPages(size.rows, confirmed_rows)
        with self.engine.begin() as connection:
            expire_lists(connection, (user.user_id for user in cut))
            rows = size.rows if size.is_changed else None
            note_pages(
                connection,
                self.api.account,
                self.batch.run_id,
                rows=rows,
                confirmed_rows=confirmed_rows,
                clock_ahead=self.api.clock_ahead(),
            )
        return cut

    def check_the_key(self) -> None:
        """Every user was not found or has no sessions. Is it so, or does the key belong to the other environment?

        Raises:
            KeyRejected: other users, read directly, are unknown as well.
        """
        held = self.state.held
        silent = [outcome.user.user_id for outcome in held if not outcome.gone]
        with self.engine.connect() as connection:
            others = some_other_users(connection, {outcome.user.user_id for outcome in held}, WITNESSES)
        requested, is_sure = len(held), True
        for user_id in (*silent[:WITNESSES], *others):
            try:
                self.api.read_user(user_id)
            except UserGone:
                requested += user_id in others
            except Rejected:
                raise
            except AsleepError:
                is_sure = False
            else:
                return self.state.believe()
        if is_sure:
            raise key_finds_no_user(requested)
        return self.state.doubt()

    def settle_owners(self) -> None:
        """A session never changes its user because a response says so: it is read once for each of the two."""
        with self.engine.connect() as connection:
            disputed = disputed_sessions(connection, self.state.rows) if self.state.rows else {}
        for session_id, user_ids in disputed.items():
            self.state.settle_owner(session_id, owner_of(self.api, session_id, user_ids), user_ids)

    def write(self, *, is_last: bool = False) -> None:
        """One short transaction: sessions, deletions, and the users whose everything is now in.

        It begins with the users: those erased meanwhile stay away, and an erasure that comes now waits for its end.
        """
        state, batch = self.state, self.batch
        self.settle_owners()
        with self.engine.begin() as connection:
            state.keep_only(hold_registered(connection, state.user_ids))
            done, failures = state.done, state.failures()
            written = upsert_sessions(connection, state.rows, moved=state.moved)
            deletions = sync_state.mark_deleted(
                connection,
                state.deletions,
                window=(batch.window.start, batch.window.end),
                accept=batch.accept_deletions,
            )
            note_completed_times(connection, state.completed_times)
            note_last_chunks(connection, state.last_chunks)
            if batch.mode.covers_the_window:
                sync_state.finish_users(connection, state.finished(), detail=batch.mode)
            if batch.mode is not Mode.FILL:
                not_found_sessions = [i for outcome in done for i in outcome.not_found]
                sync_state.resolve_failures(connection, state.mended(), not_found_sessions)
            not_found = sync_state.users_not_found(connection, state.not_found())
            sync_state.users_found(connection, state.found())
            sync_state.record_failures(connection, failures)
            self.count(written, deletions, not_found)
            progress = {**self.counts, **self.requests()}
            sync_state.note_progress(connection, batch.run_id, batch.number, progress, finished=is_last)
        state.forget_written()

    def count(self, written: Written, deletions: Deletions, not_found: NotFound) -> None:
        """Add what a write has done."""
        done, failures = self.state.done, self.state.failures()
        first = [outcome for outcome in done if not outcome.is_repeated]
        self.counts.update(
            users_done=len(first),
            users_gone=not_found.gone,
            users_not_found=not_found.suspected,
            users_failed=len({failure.user_id for failure in failures}),
            sessions_inserted=written.inserted,
            sessions_updated=written.updated,
            sessions_unchanged=written.unchanged + sum(outcome.unchanged for outcome in first),
            sessions_deleted=deletions.deleted,
            deletions_held=deletions.held,
            failures=len(failures) + deletions.held,
        )
        formulas = Counter(outcome.averaging_formula for outcome in first if outcome.averaging_formula)
        self.counts.update({f"users_averaged_by_{formula}": users for formula, users in formulas.items()})
        violations = Counter(violation for outcome in first for violation in outcome.violations)
        self.counts.update({f"average-stats: {violation}": users for violation, users in violations.items()})


def _syncs_of(connection: Connection, batch: Batch, users: Sequence[UserToSync]) -> list[Sync]:
    mode = batch.mode
    outcomes = [UserOutcome(u, batch.window.hull(u.failed_window_start, u.failed_window_end)) for u in users]
    spans = [(o.user.user_id, o.window.listed.start, o.window.listed.end) for o in outcomes]
    match mode:
        case Mode.FILL:
            user_ids = [u.user_id for u in users]
            if batch.session_pseudonyms is None:
                pending = sync_state.sessions_without_stages(connection, user_ids)
            else:
                pending = sync_state.named_sessions(connection, user_ids, batch.session_pseudonyms)
            return [Sync(o, fill(o, pending[o.user.user_id])) for o in outcomes if o.user.user_id in pending]
        case Mode.LIST:
            stored = sync_state.stored_sessions(connection, spans)
            return [Sync(o, sync_by_list(o, stored.get(o.user.user_id, ()), refetch=batch.refetch)) for o in outcomes]
        case Mode.STATISTICS | Mode.RECONCILE:
            steps = reconcile if mode is Mode.RECONCILE else sync_statistics
            known = stored_statistics(connection, spans)
            return [Sync(o, steps(o, known.get(o.user.user_id, ()))) for o in outcomes]
