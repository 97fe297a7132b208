"""One user's sync by average-stats: the statistics of up to 100 days in one request.

Two uses. `SYNC_DETAIL=statistics` stores what average-stats returns, and lists the window for what it does not name:
zones, and sessions that run or could not be analysed, which are read in full. The weekly reconciliation compares
average-stats with what is stored and reads in full what differs: `completed_time` is the API's only sign that a
finished session was analysed again. How far two figures may lie apart is decided in `comparison`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from assets.sync.api_requests import Endpoint, Steps, together
from assets.sync.comparison import Difference, averages_that_differ, statistics_that_differ
from assets.sync.session_rows import Row, statistics_row
from assets.sync.user_steps import UserOutcome, UserSteps
from assets.sync.user_sync import wants_reading
from assets.sync.window import Window
from resources.asleep.errors import AsleepError, SessionGone
from resources.asleep.records import COMPLETE, AverageStats, NeverSleptSession, SleepSession, SleptSession, Stat
from resources.contract.statements import MAX_CLOCK_DIFFERENCE
from resources.database.sync.statistics_state import StoredStatistics

MAX_DAYS = 100

Analysed = SleptSession | NeverSleptSession


def sync_statistics(outcome: UserOutcome, stored: Iterable[StoredStatistics]) -> Steps[None]:
    """Store the statistics of the window.

    Args:
        outcome: takes what is found.
        stored: sessions of the window and of the day on each side, and older ones that were not final.
    """
    return _StatisticsSync(outcome, stored={s.session_id: s for s in stored}, reads_in_full=False).steps()


def reconcile(outcome: UserOutcome, stored: Iterable[StoredStatistics]) -> Steps[None]:
    """Compare what is stored of the window with average-stats, and read in full what differs.

    Args:
        outcome: takes what is found.
        stored: sessions of the window and of the day on each side, and older ones that were not final.
    """
    return _StatisticsSync(outcome, stored={s.session_id: s for s in stored}, reads_in_full=True).steps()


@dataclass(slots=True)
class _StatisticsSync(UserSteps):
    stored: dict[str, StoredStatistics] = field(default_factory=dict)
    reads_in_full: bool = False
    """True to read in full what is new or differs; False to store the statistics alone."""
    answers: list[AverageStats] = field(default_factory=list)
    stats: dict[str, Stat] = field(default_factory=dict)
    """Statistics as they are stored after this sync, by session."""

    def steps(self) -> Steps[None]:
        """Average-stats (and the list), compare, read, compare the averages."""
        parts = [self.average_stats(part) for part in parts_of(self.outcome.window)]
        yield from together(parts if self.reads_in_full else [*parts, self.list_whole()])
        if self.outcome.gone or self.outcome.failures:
            return
        yield from together(self.read(session_id) for session_id in sorted(self.compare()))
        if self.reads_in_full and not self.outcome.gone:
            self.compare_averages()
        yield from self.list_days_touched()

    def average_stats(self, part: Window) -> Steps[None]:
        """The statistics of at most 100 days."""
        response = yield from self.request(Endpoint.AVERAGE_STATS, window=part)
        match response.result:
            case _ if self.outcome.gone:
                return
            case AverageStats() as answer:
                self.answers.append(answer)
                self.outcome.violations.update(answer.contract_violations)
                self.outcome.violations.update(each for held in answer.slept for each in held.contract_violations)
                self.outcome.violations.update(each for held in answer.never_slept for each in held.contract_violations)
                self.outcome.listed_at = min(self.outcome.listed_at or response.sent_at, response.sent_at)
            case AsleepError() as error:
                yield from self.refused(response, error)

    def list_whole(self) -> Steps[None]:
        """The list of the window."""
        rows = yield from self.list_window(self.outcome.window)
        self.listed = rows or {}

    def analysed(self) -> dict[str, Analysed]:
        """The sessions that average-stats names."""
        found: dict[str, Analysed] = {}
        for answer in self.answers:
            found.update((s.session_id, s) for s in answer.slept)
            found.update((s.session_id, s) for s in answer.never_slept)
        return found

    def compare(self) -> set[str]:
        """Take the statistics; returns the sessions to read in full."""
        for problem in (problem for answer in self.answers for problem in answer.problems):
            self.outcome.fail(None, problem)
        analysed = self.analysed()
        wanted = {i for i, session in analysed.items() if self.wants_reading(session, self.stored.get(i))}
        named = analysed.keys() | self.listed.keys()
        wanted.update(s.session_id for s in self.stored.values() if s.session_id not in named and self.is_due(s))
        if not self.reads_in_full:
            wanted |= self.changed(self.listed.keys() - analysed.keys())
            wanted.update(self.outcome.user.failed_session_ids)
        return wanted

    def changed(self, session_ids: Iterable[str]) -> set[str]:
        """Listed sessions to read in full, of those that average-stats does not name."""
        rows = {i: self.listed[i] for i in session_ids}
        wanted = {i for i, row in rows.items() if wants_reading(row, self.stored.get(i))}
        self.outcome.unchanged += len(rows) - len(wanted)
        return wanted

    def wants_reading(self, theirs: Analysed, stored: StoredStatistics | None) -> bool:
        """True when a session must be read in full; else its statistics are taken."""
        if stored is None or stored.deleted or not stored.in_full:
            if not self.reads_in_full:
                self.outcome.rows.append(self.row_of(theirs))
            return self.reads_in_full
        if _contradicts(theirs, stored):
            return True
        self.outcome.unchanged += 1
        self.stats[stored.session_id] = stored.stat
        if theirs.completed_time is not None:
            self.outcome.completed_times.append((stored.session_id, theirs.completed_time))
        return False

    def is_due(self, stored: StoredStatistics) -> bool:
        """True when average-stats should name a stored session: analysed, and wholly inside the window.

        Whichever of its times the API assigns a session by. Where no list shows running ones, they are due as well. A
        reconciliation requests deleted sessions once more: a deletion may have been an error of the API.
        """
        if stored.deleted:
            return self.reads_in_full
        if stored.state != COMPLETE:
            return not self.reads_in_full
        return (
            (stored.stat.time_in_sleep is not None or stored.never_slept)
            and stored.session_start_time in self.outcome.window
            and stored.session_end_time is not None
            and stored.session_end_time in self.outcome.window
        )

    def row_of(self, theirs: Analysed) -> Row:
        """The table row of a session known from average-stats alone."""
        return statistics_row(
            theirs,
            user_id=self.outcome.user.user_id,
            asked_at=min(answer.asked_at for answer in self.answers),
            listed=self.listed.get(theirs.session_id),
        )

    def have_read(self, session: SleepSession) -> None:
        """Take the row; it must not contradict average-stats any more."""
        theirs = self.analysed().get(session.session_id)
        completed = theirs.completed_time if theirs is not None else None
        self.outcome.rows.append(self.full_row(session, completed))
        stored = self.stored.get(session.session_id)
        is_number_known = stored is not None and stored.last_received_seq_num is not None
        if not is_number_known and session.session_id not in self.listed:
            self.touched[session.session_id] = session.session_start_time.date()
        stat = session.stat or Stat()
        if session.stat is not None:
            self.stats[session.session_id] = stat
        differing = statistics_that_differ(stat, theirs.stat) if isinstance(theirs, SleptSession) else []
        if differing:
            message = f"Read in full, the session still differs from average-stats: {_fields(differing)}."
            self.outcome.disagree(session.session_id, message)
        elif isinstance(theirs, NeverSleptSession) and stat.time_in_sleep:
            message = "Read in full, the session has sleep in it; average-stats lists it among those without."
            self.outcome.disagree(session.session_id, message)

    def not_found(self, session_id: str, error: SessionGone, sent_at: datetime) -> None:
        """Deleted, unless average-stats names it: then one of the two answers is wrong."""
        if session_id in self.analysed():
            message = "Average-stats names this session, but the API does not find it by its id."
            self.outcome.fail(session_id, error, message)
        else:
            self.outcome.session_is_gone(session_id, sent_at)

    def known(self) -> dict[str, StoredStatistics]:
        """Stored sessions."""
        return self.stored

    def compare_averages(self) -> None:
        """Compare each period's averages with those of what is stored of the same sessions."""
        for answer in self.answers:
            ours = [self.stats.get(s.session_id) for s in answer.slept]
            if None in ours:
                continue
            differing, formula = averages_that_differ([stat for stat in ours if stat is not None], answer)
            self.outcome.averaging_formula = formula or self.outcome.averaging_formula
            if differing and not self.outcome.failures:
                self.outcome.disagree(None, f"The API's averages differ from ours: {_fields(differing)}.")


def _contradicts(theirs: Analysed, stored: StoredStatistics) -> bool:
    """Whether average-stats says of a session what is not stored of it. What it leaves out says nothing."""
    pairs: list[tuple[object, object]] = [
        (theirs.session_start_time, stored.session_start_time),
        (theirs.session_end_time, stored.session_end_time),
    ]
    if isinstance(theirs, SleptSession):
        pairs.append((theirs.created_timezone, stored.created_timezone))
        if statistics_that_differ(stored.stat, theirs.stat):
            return True
    elif stored.stat.time_in_sleep:
        return True
    return any(said is not None and said != ours for said, ours in pairs) or _was_analysed_again(theirs, stored)


def _was_analysed_again(theirs: Analysed, stored: StoredStatistics) -> bool:
    """The stages may differ although every statistic is the same: `completed_time` belongs to the stored stages."""
    if theirs.completed_time is None:
        return False
    if stored.completed_time is None:
        return theirs.completed_time >= stored.fetched_at - MAX_CLOCK_DIFFERENCE
    return theirs.completed_time != stored.completed_time


def _fields(differences: Sequence[Difference]) -> str:
    """Names only: the values are health data."""
    return ", ".join(sorted({difference.field for difference in differences}))


def parts_of(window: Window) -> list[Window]:
    """The window, a day wider on each side, cut into parts of at most 100 days."""
    parts, start, end = [], window.listed.start, window.listed.end
    while start < end:
        until = min(end, start + timedelta(days=MAX_DAYS))
        parts.append(Window(start, until))
        start = until
    return parts
