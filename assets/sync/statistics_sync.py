"""One user's sync by average-stats: the statistics of up to 100 days in one request.

Two uses. `SYNC_DETAIL=statistics` stores what average-stats returns, and lists the window for what it does not name:
zones, and sessions that run or could not be analysed, which are read in full. The weekly reconciliation compares
average-stats with what is stored and reads in full what differs: `completed_time` is the API's only sign that a
finished session was analysed again. How far two figures may lie apart is decided in `comparison`.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from operator import itemgetter

from assets.sync.api_requests import Endpoint, Steps, together
from assets.sync.comparison import AveragingFormula, averages_that_differ, statistics_that_differ
from assets.sync.session_rows import statistics_row
from assets.sync.user_steps import NOT_LISTED, UserSteps
from assets.sync.user_sync import needs_reading
from assets.sync.window import Window
from resources.asleep.errors import AsleepError, Malformed, SessionGone
from resources.asleep.records import (
    COMPLETE,
    STAT_FIELDS,
    AverageStats,
    NeverSleptSession,
    SleepSession,
    SleptSession,
    Stat,
)
from resources.contract.statements import MAX_CLOCK_DIFFERENCE
from resources.database.schema.session_columns import STAT
from resources.database.sync.stored_sessions import StoredSession

MAX_DAYS = 100

_names = [name for name, _, _ in STAT]
_in_api_order = itemgetter(*(_names.index(name) for name in STAT_FIELDS))

Analysed = SleptSession | NeverSleptSession


@dataclass(slots=True)
class StatisticsSync(UserSteps):
    """One user's sync by average-stats."""

    reads_in_full: bool = False  # True to read in full what is new or differs; False to store the statistics alone
    formula: AveragingFormula | None = None  # how the API averages ratios; None when that is not known
    answers: list[AverageStats] = field(default_factory=list)
    stats: dict[str, Stat] = field(default_factory=dict)  # statistics as they are stored after this sync, by session

    def steps(self) -> Steps[None]:
        """Average-stats (and the list), compare, read, compare the averages."""
        parts = [self.take_average_stats(part) for part in _parts_of(self.outcome.window)]
        yield from together(parts if self.reads_in_full else [*parts, self.list_whole()])
        if self.outcome.gone or self.outcome.failures:
            return
        if not self.reads_in_full:
            yield from self.read_again()
        yield from together(self.read(session_id) for session_id in sorted(self.compare()))
        if self.reads_in_full and not self.outcome.gone:
            self.compare_averages()
        yield from self._list_changed_days()

    def take_average_stats(self, part: Window) -> Steps[None]:
        """The statistics of at most 100 days."""
        response = yield from self._request(Endpoint.AVERAGE_STATS, window=part)
        match response.result:
            case _ if self.outcome.gone:
                return
            case AverageStats() as answer:
                self.answers.append(answer)
                odd = (session.contract_violations for session in _sessions_of(answer))
                self.outcome.violations.update(answer.contract_violations, *odd)
                self.outcome.listed_at = min(self.outcome.listed_at or response.sent_at, response.sent_at)
            case AsleepError() as error:
                yield from self._refused(response, error)

    def list_whole(self, *, until_empty: bool = False) -> Steps[None]:
        """The list of the window."""
        rows = yield from self.list_window(self.outcome.window, until_empty=until_empty)
        self.listed |= rows or {}

    def read_again(self) -> Steps[None]:
        """List once more where the list lacks sessions that average-stats name; note what it lacks then."""
        if self.not_listed():
            self.outcome.list_lacked_a_session = True
            yield from self.list_whole(until_empty=True)
        self.outcome.not_listed = self.not_listed()

    def not_listed(self) -> set[str]:
        """Sessions of the window that average-stats name and the list does not."""
        return {
            i
            for i, session in self.analysed().items()
            if i not in self.listed and session.session_start_time in self.outcome.window
        }

    def analysed(self) -> dict[str, Analysed]:
        """The sessions that average-stats names."""
        return {s.session_id: s for answer in self.answers for s in _sessions_of(answer)}

    def compare(self) -> set[str]:
        """Take the statistics; returns the sessions to read in full, none of a user who is gone."""
        if self.outcome.gone:
            return set()
        for problem in (problem for answer in self.answers for problem in answer.problems):
            self.outcome.fail(None, problem)
        analysed = self.analysed()
        wanted = {i for i, session in analysed.items() if self._needs_reading(session, self.stored.get(i))}
        named = analysed.keys() | self.listed.keys()
        wanted.update(s.session_id for s in self.stored.values() if s.session_id not in named and self.is_due(s))
        if not self.reads_in_full:
            not_named = self.listed.keys() - analysed.keys()
            changed = {i for i in not_named if needs_reading(self.listed[i], self.stored.get(i))}
            self.outcome.unchanged += len(not_named) - len(changed)
            wanted |= changed | self.outcome.failed_session_ids
            for session_id in sorted(self.listed.keys() & self.stored.keys() - wanted):
                self._note_unchanged(session_id)
        return wanted

    def _needs_reading(self, theirs: Analysed, stored: StoredSession | None) -> bool:
        """True when the session must be read in full; else its statistics are taken."""
        if stored is None or stored.deleted or not stored.in_full:
            if not self.reads_in_full:
                user_id, asked_at = self.outcome.user.user_id, min(answer.asked_at for answer in self.answers)
                listed = self.listed.get(theirs.session_id)
                self.outcome.rows.append(statistics_row(theirs, user_id=user_id, asked_at=asked_at, listed=listed))
            return self.reads_in_full
        if _contradicts(theirs, stored):
            return True
        self.outcome.unchanged += 1
        self.stats[stored.session_id] = _stat_of(stored)
        if theirs.completed_time is not None:
            self.outcome.completed_times.append((stored.session_id, theirs.completed_time))
        return False

    def is_due(self, stored: StoredSession) -> bool:
        """True when the API should have named a stored session, so that it is read by its id.

        The list names every session of the window. Average-stats name those that were analysed and lie wholly inside
        it, whichever of their times the API assigns them by. A reconciliation requests deleted sessions once more: a
        deletion may have been an error of the API.
        """
        if stored.deleted:
            return self.reads_in_full or stored.deletion_is_unchecked
        if not self.reads_in_full:
            return stored.state != COMPLETE or stored.session_start_time in self.outcome.window.listed
        assert stored.analysis is not None  # noqa: S101 it was requested
        return (
            stored.state == COMPLETE
            and (_stat_of(stored).time_in_sleep is not None or stored.analysis.never_slept)
            and stored.session_start_time in self.outcome.window
            and stored.session_end_time is not None
            and stored.session_end_time in self.outcome.window
        )

    def _have_read(self, session: SleepSession) -> None:
        """Take the row; it must not contradict average-stats any more."""
        theirs = self.analysed().get(session.session_id)
        completed = theirs.completed_time if theirs is not None else None
        self.outcome.rows.append(self._full_row(session, completed))
        if self._was_left_out(session, theirs):
            self.outcome.list_lacked_a_session = True
            self.outcome.fail(None, Malformed(NOT_LISTED))
        self._note_changed(session)
        stat = session.stat or Stat()
        if session.stat is not None:
            self.stats[session.session_id] = stat
        differing = statistics_that_differ(stat, theirs.stat) if isinstance(theirs, SleptSession) else []
        if differing:
            message = f"Read in full, the session still differs from average-stats: {', '.join(sorted(differing))}."
            self.outcome.disagree(session.session_id, message)
        elif isinstance(theirs, NeverSleptSession) and stat.time_in_sleep:
            message = "Read in full, the session has sleep in it; average-stats lists it among those without."
            self.outcome.disagree(session.session_id, message)

    def _was_left_out(self, session: SleepSession, theirs: Analysed | None) -> bool:
        """Whether a list lacks the session: that of this sync, or the last one, read after its analysis."""
        user, start = self.outcome.user, session.session_start_time
        if not self.reads_in_full:
            return start in self.outcome.window and session.session_id not in self.listed
        if session.session_id in self.stored or theirs is None or theirs.completed_time is None:
            return False
        if user.listed_from is None or user.listed_until is None or user.listed_at is None:
            return False
        was_analysed = theirs.completed_time < user.listed_at - MAX_CLOCK_DIFFERENCE
        return was_analysed and start in Window(user.listed_from, user.listed_until)

    def _not_found(self, session_id: str, error: SessionGone, sent_at: datetime) -> None:
        """Note the session as deleted; record a failure when average-stats or the list name it."""
        if session_id in self.analysed() or session_id in self.listed:
            message = "The API names this session in a list or in average-stats, but does not find it by its id."
            self.outcome.fail(session_id, error, message)
        else:
            self.outcome.session_is_gone(session_id, sent_at)

    def _known(self) -> set[str]:
        """Sessions that a table, the list or average-stats name."""
        return self.stored.keys() | self.listed.keys() | self.analysed().keys()

    def compare_averages(self) -> None:
        """Compare each period's averages with those of what is stored of the same sessions."""
        for answer in self.answers:
            ours = [self.stats.get(s.session_id) for s in answer.slept]
            if None in ours:
                continue
            differing, formula = averages_that_differ([s for s in ours if s is not None], answer, self.formula)
            self.outcome.averaging_formula = formula or self.outcome.averaging_formula
            if differing and not self.outcome.failures:
                names = ", ".join(sorted(set(differing)))
                self.outcome.disagree(None, f"The API's averages differ from ours: {names}.")


def _sessions_of(answer: AverageStats) -> list[Analysed]:
    return [*answer.slept, *answer.never_slept]


def _contradicts(theirs: Analysed, stored: StoredSession) -> bool:
    """Whether average-stats contradict what is stored of a session. What they leave out contradicts nothing."""
    pairs: list[tuple[object, object]] = [
        (theirs.session_start_time, stored.session_start_time),
        (theirs.session_end_time, stored.session_end_time),
    ]
    if isinstance(theirs, SleptSession):
        pairs.append((theirs.created_timezone, stored.created_timezone))
        if statistics_that_differ(_stat_of(stored), theirs.stat):
            return True
    elif _stat_of(stored).time_in_sleep:
        return True
    return any(new is not None and new != old for new, old in pairs) or _was_analysed_again(theirs, stored)


def _was_analysed_again(theirs: Analysed, stored: StoredSession) -> bool:
    """The stages may differ although every statistic is the same: `completed_time` belongs to the stored stages."""
    if theirs.completed_time is None or stored.analysis is None:
        return False
    if stored.analysis.completed_time is None:
        return theirs.completed_time >= stored.analysis.fetched_at - MAX_CLOCK_DIFFERENCE
    return theirs.completed_time != stored.analysis.completed_time


def _stat_of(stored: StoredSession) -> Stat:
    """The stored statistics in the API's order."""
    return Stat() if stored.analysis is None else Stat(*_in_api_order(stored.analysis.stat))


def _parts_of(window: Window) -> list[Window]:
    """The window, a day wider on each side, cut into parts of at most 100 days."""
    parts, start, end = [], window.listed.start, window.listed.end
    while start < end:
        until = min(end, start + timedelta(days=MAX_DAYS))
        parts.append(Window(start, until))
        start = until
    return parts
