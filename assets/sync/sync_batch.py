"""The sync of one batch of users: from requests to rows, in short transactions, nothing lost in between."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from itertools import chain
from typing import Any

from sqlalchemy import Connection, Engine, func, select
from structlog.contextvars import bound_contextvars

from assets.sync.api_requests import Request, Response, Steps, send
from assets.sync.batch_state import BatchState, key_finds_no_user
from assets.sync.comparison import AveragingFormula, formula_of_account
from assets.sync.confirmations import MAX_CONFIRMING_LISTS, confirm_ends, owner_of
from assets.sync.scheduler import Sync, drive
from assets.sync.statistics_sync import StatisticsSync
from assets.sync.user_steps import UserOutcome
from assets.sync.user_sync import ListSync
from assets.sync.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Rejected, Unavailable, UserGone
from resources.database.advisory_lock import advisory_lock
from resources.database.sync.api_accounts import known_account, note_account
from resources.database.sync.deletions import mark_deleted
from resources.database.sync.stored_sessions import StoredSession, StoredSessions
from resources.database.sync.sync_state import BatchRecord, Failure, SyncState, UserToSync
from resources.database.sync.unconfirmed_lists import UnconfirmedLists
from resources.database.sync.upsert import disputed_sessions, upsert_sessions
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym

SECONDS_PER_WRITE = 2.0
ROWS_PER_WRITE = 500  # a write comes sooner when this many rows wait
USERS_LOOKED_UP_AT_ONCE = 50  # what is stored of this many users is in memory at a time, whatever the window
MAX_KEY_TESTS = 3  # users of the batch, and as many others, read directly before the key counts as wrong
_CUT_LIST = "The API returned the list in shorter pages than before, so it may lack sessions. It is read again."


class Mode(StrEnum):
    """How a batch is synced."""

    LIST = "full"  # list each user's sessions, read in full what is new or changed
    STATISTICS = "statistics"  # store what average-stats returns; no stages
    RECONCILE = "reconcile"  # compare what is stored with average-stats, read in full what differs
    FILL = "fill"  # read in full what is stored from statistics only; list nothing

    @property
    def covers_the_window(self) -> bool:
        """True when a user without failures is then synced for the whole window."""
        return self in {Mode.LIST, Mode.STATISTICS}


@dataclass(frozen=True, slots=True)
class Batch:
    """Which users, which window, and how."""

    run_id: str
    window: Window
    workers: int
    number: int = 0
    of: int = 1
    cache_ttl_seconds: float = 0  # users synced within this are left out
    mode: Mode = Mode.LIST
    pseudonyms: tuple[str, ...] | None = None  # only these users; None for all active ones
    failed_only: bool = False
    accept_deletions: bool = False  # accept deletions, however many sessions the API does not find
    refetch: bool = False  # read in full every session of the window, also those that are stored and unchanged
    session_pseudonyms: tuple[str, ...] | None = None  # with `Mode.FILL`: read only these sessions


def sync_batch(
    engine: Engine, api: AsleepClient, batch: Batch, requests: Callable[[], dict[str, Any]]
) -> dict[str, Any]:
    """Sync the users of a batch; failures are recorded, results are committed.

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
    formula: AveragingFormula | None = None  # how the API averages ratios, as far as earlier batches and runs showed
    failed: set[str] = field(default_factory=set)  # users of whom something could not be synced
    state: BatchState = field(default_factory=BatchState)

    def run(self) -> dict[str, Any]:
        """Begin, drive, write; returns the counts."""
        users, now = self.begin()
        put = partial(send, self.api, now=now)
        try:
            self.drive(self.syncs(users), put)
            if self.state.held:
                self.check_the_key()
            if self.batch.mode is Mode.RECONCILE:
                self.settle_formula()
            self.write()
            with advisory_lock(self.engine, f"asleep-sync lists of run {self.batch.run_id}"):
                while cut := self.users_with_cut_lists():
                    self.drive(self.syncs(cut, again=True), put)
                    self.write()
                self.write(is_last=True)
        except Rejected:
            self.write()
            raise
        return {**self.counts, **self.requests()}

    @property
    def record(self) -> BatchRecord:
        """Where progress is noted."""
        return BatchRecord(self.batch.run_id, self.batch.number)

    def begin(self) -> tuple[list[UserToSync], Callable[[], datetime]]:
        """The users to sync, and the database's clock followed by this process's steady one."""
        batch = self.batch
        with self.engine.begin() as connection:
            self.record.begin(connection, batch.window.span, of=batch.of)
            users = _users_of(connection, batch)
            server_now = connection.scalar(select(func.clock_timestamp()))
            assert server_now is not None  # noqa: S101 a SELECT of the clock gives a row
            started = time.monotonic()
            stale = [user for user in users if not user.fresh]
            self.counts.update(users=len(users), users_fresh=len(users) - len(stale))
            self.record.note(connection, dict(self.counts), finished=False)
            known = known_account(connection, self.api.account)
        self.api.page_size.start(known.page_rows)
        self.formula = AveragingFormula(known.averaging_formula) if known.averaging_formula else None
        return stale, lambda: server_now + timedelta(seconds=time.monotonic() - started)

    def syncs(self, users: Sequence[UserToSync], *, again: bool = False) -> Iterator[Sync]:
        """The users' syncs; what is stored of them is looked up some users at a time."""
        for first in range(0, len(users), USERS_LOOKED_UP_AT_ONCE):
            some = users[first : first + USERS_LOOKED_UP_AT_ONCE]
            with self.engine.connect() as connection:
                syncs = _syncs_of(connection, self.batch, some, self.formula)
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
        """In the last batch of a run, confirm that its lists were whole; returns the users whose lists were not.

        Cut lists are on record as missing until they are read again, so that a killed process forgets none.
        """
        batch = self.batch
        with self.engine.begin() as connection:
            note_account(connection, self.api.account, **self.account_facts())
            is_last = self.record.are_others_finished(connection)
            if not (is_last and batch.mode.covers_the_window):
                return []
            ends = UnconfirmedLists(connection, batch.run_id).to_confirm(MAX_CONFIRMING_LISTS)
        cut_from, failures = confirm_ends(self.api, ends)
        with self.engine.begin() as connection:
            unconfirmed = UnconfirmedLists(connection, batch.run_id)
            cut = unconfirmed.remove(from_page=cut_from) if cut_from else []
            if not cut:
                failed = (failure.user_id for failure in failures)
                unconfirmed.remove(besides=failed)
                self.state.unconfirmed += failures
                return []
            self.api.page_size.lower(cut_from or 0)
            failures = [Failure(end.user_id, None, *end.span, Unavailable.kind, _CUT_LIST, None) for end in cut]
            SyncState(connection).record_failures(failures)
            pseudonyms = tuple({pseudonym(end.user_id) for end in cut})
            again = replace(batch, number=0, of=1, pseudonyms=pseudonyms, failed_only=True)
            return _users_of(connection, again)

    def account_facts(self) -> dict[str, int | timedelta]:
        """What this batch found out about the account."""
        size, clock_ahead = self.api.page_size, self.api.clock_ahead()
        rows: dict[str, int | timedelta] = {"page_rows": size.rows} if size.is_changed else {}
        return rows if clock_ahead is None else {**rows, "clock_ahead": clock_ahead}

    def check_the_key(self) -> None:
        """Every user was not found or has no sessions. Is it so, or does the key belong to the other environment?

        Raises:
            KeyRejected: other users, read directly, are unknown as well.
        """
        held = self.state.held
        silent = [outcome.user.user_id for outcome in held if not outcome.gone]
        with self.engine.connect() as connection:
            others = Registry(connection).some_others({outcome.user.user_id for outcome in held}, MAX_KEY_TESTS)
        requested, is_sure = len(held), True
        for user_id in (*silent[:MAX_KEY_TESTS], *others):
            try:
                self.api.read_user(user_id)
            except UserGone:
                requested += user_id in others
            except Rejected:
                raise
            except AsleepError:
                is_sure = False
            else:
                return self.state.confirm_key()
        if is_sure:
            raise key_finds_no_user(requested)
        return self.state.fail_held()

    def settle_formula(self) -> None:
        """The API follows one formula: users whose averages fit the other one only disagree."""
        fits = self.state.formulas
        formula = formula_of_account(self.formula, {each: len(failures) for each, failures in fits.items()})
        if formula is not None and formula is not self.formula:
            with self.engine.begin() as connection:
                note_account(connection, self.api.account, averaging_formula=formula)
        if self.formula is None:
            others = (failures for each, failures in fits.items() if each is not formula)
            self.state.unconfirmed += chain.from_iterable(others)

    def settle_owners(self) -> None:
        """Read sessions that the API returned for two users once for each user: one response never moves one."""
        if not self.state.rows:
            return
        with self.engine.connect() as connection:
            disputed = disputed_sessions(connection, self.state.rows)
        for session_id, user_ids in disputed.items():
            self.state.settle_owner(session_id, owner_of(self.api, session_id, user_ids), user_ids)

    def write(self, *, is_last: bool = False) -> None:
        """One short transaction: sessions, deletions, and the users whose everything is now in.

        It begins with the users: those erased meanwhile stay away, and an erasure that comes now waits for its end.
        """
        state, batch = self.state, self.batch
        self.settle_owners()
        state.settle_lists()
        with self.engine.begin() as connection:
            state.keep_only(Registry(connection).hold(state.user_ids))
            done, failures = state.done, state.failures()
            recorded, unconfirmed = SyncState(connection), UnconfirmedLists(connection, batch.run_id)
            written = upsert_sessions(connection, state.rows, moved=state.moved)
            deletions = mark_deleted(
                connection, state.deletions, window=batch.window.span, accept=batch.accept_deletions
            )
            StoredSessions(connection).note_completed_times(state.completed_times)
            StoredSessions(connection).note_last_chunks(state.last_chunks)
            if batch.mode.covers_the_window:
                unconfirmed.accept_empty(state.listed_again())
                recorded.finish_users(state.finished(), detail=batch.mode)
            if batch.mode is not Mode.FILL:
                not_found_sessions = [i for outcome in done for i in outcome.not_found]
                recorded.resolve_failures(state.mended(), not_found_sessions)
            not_found = recorded.users_not_found(state.not_found())
            recorded.users_found(state.found())
            recorded.record_failures(failures)
            unconfirmed.note(state.list_ends())
            self.count(written, deletions, not_found)
            self.record.note(connection, {**self.counts, **self.requests()}, finished=is_last)
        state.forget_written()

    def count(self, *written: Counter[str]) -> None:
        """Add what a write has done."""
        done, failures = self.state.done, self.state.failures()
        first = [outcome for outcome in done if not outcome.is_repeated]
        for counts in written:
            self.counts.update(counts)
        self.counts.update(
            users_done=len(first),
            sessions_unchanged=sum(outcome.unchanged for outcome in first),
            failures=len(failures) + sum(counts["deletions_held"] for counts in written),
        )
        violations = Counter(violation for outcome in first for violation in outcome.violations)
        self.counts.update({f"average-stats: {violation}": users for violation, users in violations.items()})
        self.failed.update(failure.user_id for failure in failures)
        self.counts["users_failed"] = len(self.failed)


def _users_of(connection: Connection, batch: Batch) -> list[UserToSync]:
    return SyncState(connection).users_to_sync(
        batch=batch.number,
        batches=batch.of,
        window=batch.window.span,
        cache_ttl_seconds=batch.cache_ttl_seconds,
        detail=batch.mode,
        pseudonyms=batch.pseudonyms,
        failed_only=batch.failed_only,
        contradictions=batch.mode is Mode.RECONCILE,
        catch_up=batch.mode.covers_the_window and batch.pseudonyms is None and not batch.failed_only,
    )


def _syncs_of(
    connection: Connection, batch: Batch, users: Sequence[UserToSync], formula: AveragingFormula | None
) -> list[Sync]:
    outcomes = [UserOutcome(u, batch.window.hull(u.failed_window_start, u.failed_window_end)) for u in users]
    user_ids = [user.user_id for user in users]
    if batch.mode is not Mode.FILL:
        spans = [(o.user.user_id, *o.window.listed.span) for o in outcomes]
        has_statistics = batch.mode in {Mode.STATISTICS, Mode.RECONCILE}
        stored = StoredSessions(connection).in_windows(spans, with_analysis=has_statistics)
    elif batch.session_pseudonyms is None:
        stored = StoredSessions(connection).without_stages(user_ids)
    else:
        stored = StoredSessions(connection).named(user_ids, batch.session_pseudonyms)
    if batch.mode is Mode.FILL:
        outcomes = [outcome for outcome in outcomes if outcome.user.user_id in stored]
    return [Sync(o, _steps_of(batch, o, stored.get(o.user.user_id, {}), formula)) for o in outcomes]


def _steps_of(
    batch: Batch, outcome: UserOutcome, stored: dict[str, StoredSession], formula: AveragingFormula | None
) -> Steps[None]:
    match batch.mode:
        case Mode.LIST:
            return ListSync(outcome, stored, refetch=batch.refetch).steps()
        case Mode.FILL:
            return ListSync(outcome, stored).fill()
        case Mode.STATISTICS:
            return StatisticsSync(outcome, stored).steps()
        case Mode.RECONCILE:
            return StatisticsSync(outcome, stored, reads_in_full=True, formula=formula).steps()
