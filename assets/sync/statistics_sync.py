"""One user's sync through average-stats: statistics of up to 100 days in one request.

Lives here: decisions, one object for each user, no I/O.  Not here: threads, HTTP, SQL, tolerances (`witness.py`).

Two uses. `SYNC_DETAIL=statistics` stores what average-stats says and reads nothing in full. The weekly
reconciliation holds it against what is stored, and reads in full what differs: `completed_time` is the API's only
sign that a finished session was analysed again.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from assets.sync.api_requests import Answer, Question, Task, is_no_session_at_all
from assets.sync.comparison import Difference, averages_that_differ, statistics_that_differ
from assets.sync.session_rows import Row, session_row, statistics_row, zone_of
from assets.sync.window import Window
from resources.asleep.errors import AsleepError, SessionGone, UserGone
from resources.asleep.records import (
    COMPLETE,
    AverageStats,
    NeverSleptSession,
    SleepSession,
    SleptSession,
    Stat,
    UserProfile,
)
from resources.database.sync.statistics_state import StoredStatistics
from resources.database.sync.sync_state import DISAGREES, Failure, UserToSync

MOST_DAYS = 100


@dataclass(slots=True)
class StatisticsSync:
    """The sync of one user's statistics over one window. Feed it every answer; it says what to ask next."""

    user: UserToSync
    window: Window
    stored: dict[str, StoredStatistics]
    reads_in_full: bool
    """True to read in full what is new or differs; False to store the statistics alone."""
    deleted: list[tuple[str, datetime]] = field(default_factory=list)
    completed: list[tuple[str, datetime]] = field(default_factory=list)
    """When stored sessions were analysed, learnt since the caller last took it."""
    failures: list[Failure] = field(default_factory=list)
    gone: bool = False
    unchanged: int = 0
    listed_at: datetime | None = None
    _answers: list[AverageStats] = field(default_factory=list)
    _rows: list[Row] = field(default_factory=list)
    _stats: dict[str, Stat] = field(default_factory=dict)
    _open: int = 0
    _compared: bool = False
    _suspected: UserGone | None = None
    """What was refused because the user was gone, until the user was asked for directly."""

    @classmethod
    def of(
        cls, user: UserToSync, window: Window, stored: Iterable[StoredStatistics], *, reads_in_full: bool
    ) -> "StatisticsSync":
        """A sync of `user` over `window`."""
        return cls(user, window, {s.session_id: s for s in stored}, reads_in_full)

    @property
    def is_done(self) -> bool:
        """True when no answer is awaited."""
        return self._open == 0

    def begin(self) -> Sequence[Task]:
        """The first questions: average-stats, one for each 100 days."""
        return self._ask(*(Task(self.user.user_id, Question.STATISTICS, window=part) for part in parts_of(self.window)))

    def take(self, task: Task, answer: Answer | AsleepError) -> Sequence[Task]:
        """Note an answer; returns what to ask next."""
        self._open -= 1
        if self.gone:
            return ()
        if isinstance(answer, AsleepError):
            if follow_up := self._refused(task, answer):
                return follow_up
        elif isinstance(answer, UserProfile):
            message = "The API says that the user is gone, yet it still knows the user when asked directly."
            self._fail(None, message, self._suspected)
        elif isinstance(answer, AverageStats):
            self._answers.append(answer)
            self.listed_at = (
                task.asked_at if self.listed_at is None else min(self.listed_at, task.asked_at or self.listed_at)
            )
        elif isinstance(answer, SleepSession):
            self._read(answer)
        if self.is_done and not self._compared and not self.failures and not self.gone:
            self._compared = True
            return self._compare()
        if self.is_done and self._compared and self.reads_in_full:
            self._hold_averages_together()
        return ()

    def take_rows(self) -> list[Row]:
        """Rows to write, handed out once."""
        rows, self._rows = self._rows, []
        return rows

    def last_known_zone(self) -> str | None:
        """The zone of the user's newest session whose zone is known, else the registered one."""
        slept = (s for answer in self._answers for s in answer.slept)
        for session in sorted(slept, key=lambda s: s.session_start_time, reverse=True):
            if zone_of(session.created_timezone):
                return session.created_timezone
        return self.user.timezone

    def _ask(self, *tasks: Task) -> Sequence[Task]:
        self._open += len(tasks)
        return tasks

    def _said(self) -> dict[str, SleptSession | NeverSleptSession]:
        found: dict[str, SleptSession | NeverSleptSession] = {}
        for answer in self._answers:
            found.update((s.session_id, s) for s in answer.slept)
            found.update((s.session_id, s) for s in answer.never_slept)
        return found

    def _compare(self) -> Sequence[Task]:
        for problem in (problem for answer in self._answers for problem in answer.problems):
            self._fail(None, str(problem), problem)
        said = self._said()
        wanted = {i for i, session in said.items() if self._wants_reading(session, self.stored.get(i))}
        wanted.update(s.session_id for s in self.stored.values() if s.session_id not in said and self._was_expected(s))
        wanted.update(i for i in self.user.failed_session_ids if not self.reads_in_full)
        if not wanted and self.reads_in_full:
            self._hold_averages_together()
        return self._ask(*(Task(self.user.user_id, Question.SESSION, session_id=i) for i in sorted(wanted)))

    def _wants_reading(self, said: SleptSession | NeverSleptSession, stored: StoredStatistics | None) -> bool:
        if stored is None or stored.deleted or not stored.in_full:
            if not self.reads_in_full:
                self._rows.append(self._row_of(said))
            return self.reads_in_full
        if _contradicts(said, stored):
            return True
        self.unchanged += 1
        self._stats[stored.session_id] = stored.stat
        if said.completed_time is not None:
            self.completed.append((stored.session_id, said.completed_time))
        return False

    def _was_expected(self, stored: StoredStatistics) -> bool:
        """Analysed, and wholly inside the window, whichever time the API assigns it by.

        Where no list is read that would show them, running ones as well.
        """
        if stored.deleted:
            return False
        if stored.state != COMPLETE:
            return not self.reads_in_full
        return (
            (stored.stat.time_in_sleep is not None or stored.never_slept)
            and stored.session_start_time in self.window
            and stored.session_end_time is not None
            and stored.session_end_time in self.window
        )

    def _row_of(self, said: SleptSession | NeverSleptSession) -> Row:
        return statistics_row(
            said,
            user_id=self.user.user_id,
            asked_at=min(answer.asked_at for answer in self._answers),
            last_known_zone=self.last_known_zone(),
        )

    def _read(self, session: SleepSession) -> None:
        said = self._said().get(session.session_id)
        completed = said.completed_time if said is not None else None
        self._rows.append(session_row(session, last_known_zone=self.last_known_zone(), completed_time=completed))
        if session.stat is not None:
            self._stats[session.session_id] = session.stat
        stat = session.stat or Stat()
        differing = statistics_that_differ(stat, said.stat) if isinstance(said, SleptSession) else []
        if differing:
            self._fail(session.session_id, f"Read in full, still unlike average-stats: {_fields(differing)}.")
        elif isinstance(said, NeverSleptSession) and stat.time_in_sleep:
            self._fail(session.session_id, "Read in full there is sleep in it; average-stats says that there is none.")

    def _hold_averages_together(self) -> None:
        """Compare each period's averages with those of what is stored of the same sessions."""
        for answer in self._answers:
            ours = [self._stats.get(s.session_id) for s in answer.slept]
            differing = averages_that_differ([stat for stat in ours if stat is not None], answer)
            if None not in ours and differing and not self.failures:
                self._fail(None, f"The API's averages are unlike ours: {_fields(differing)}.")

    def _refused(self, task: Task, error: AsleepError) -> Sequence[Task]:
        if isinstance(error, UserGone) and task.question is Question.USER:
            self.gone = True
            self.failures.clear()
        elif isinstance(error, UserGone) and self._suspected is None:
            self._suspected = error
            return self._ask(Task(self.user.user_id, Question.USER))
        elif isinstance(error, SessionGone) and task.session_id in self._said():
            message = "Average-stats tells of this session, but the API says that it does not exist when it is read."
            self._fail(task.session_id, message, error)
        elif isinstance(error, SessionGone) and task.session_id and task.asked_at:
            self.deleted.append((task.session_id, task.asked_at))
        elif is_no_session_at_all(error, task, self.stored):
            return ()
        else:
            self._fail(task.session_id, str(error), error)
        return ()

    def _fail(self, session_id: str | None, message: str, error: AsleepError | None = None) -> None:
        """Note a failure; a session is read again whatever the window, a contradiction is looked for in it."""
        kind = error.kind if error else DISAGREES
        raw = error.raw if error else None
        matters = session_id is None or error is None
        start, end = (self.window.start, self.window.end) if matters else (None, None)
        self.failures.append(Failure(self.user.user_id, session_id, start, end, kind, message, raw))


def _contradicts(said: SleptSession | NeverSleptSession, stored: StoredStatistics) -> bool:
    """Whether average-stats tells of a session what is not stored of it. What it leaves out says nothing."""
    told: list[tuple[object, object]] = [
        (said.session_start_time, stored.session_start_time),
        (said.session_end_time, stored.session_end_time),
        (said.completed_time, stored.completed_time or said.completed_time),
    ]
    if isinstance(said, SleptSession):
        told.append((said.created_timezone, stored.created_timezone))
        if statistics_that_differ(stored.stat, said.stat):
            return True
    elif stored.stat.time_in_sleep:
        return True
    return any(theirs is not None and theirs != ours for theirs, ours in told)


def _fields(differences: Sequence[Difference]) -> str:
    """Names only: the values are health data."""
    return ", ".join(sorted({difference.field for difference in differences}))


def parts_of(window: Window) -> list[Window]:
    """The window, a day wider on each side, cut into parts of at most 100 days."""
    parts, start, end = [], window.listed.start, window.listed.end
    while start < end:
        until = min(end, start + timedelta(days=MOST_DAYS))
        parts.append(Window(start, until))
        start = until
    return parts
