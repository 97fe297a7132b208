"""Which questions one user's sync asks, and what follows from the answers.

Lives here: decisions, one object for each user, no I/O.  Not here: threads, HTTP, SQL, rows.

List the window one day wider than asked; read what is new, was not final or changed; look a second time at what is
missing before calling it deleted. When list and sessions contradict each other, the list is asked for once more.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from assets.sync.api_requests import Answer, Question, Task, is_no_session_at_all
from assets.sync.list_rows import wants_reading
from assets.sync.session_rows import Row, session_row, zone_of
from assets.sync.window import Window
from resources.asleep.errors import AsleepError, Malformed, SessionGone, UserGone
from resources.asleep.records import ListedSession, SessionList, SleepSession
from resources.database.sync.sync_state import Failure, StoredSession, UserToSync


@dataclass(slots=True)
class UserSync:
    """The sync of one user over one window. Feed it every answer; it says what to ask next."""

    user: UserToSync
    window: Window
    stored: dict[str, StoredSession]
    lists: bool = True
    sessions: list[SleepSession] = field(default_factory=list)
    """Read since the caller last took their rows."""
    deleted: list[tuple[str, datetime]] = field(default_factory=list)
    """Found deleted since the caller last took them, with the moment of the question."""
    failures: list[Failure] = field(default_factory=list)
    numbers: list[tuple[str, int | None]] = field(default_factory=list)
    """Last chunk of sessions that were never listed before, since the caller last took them."""
    gone: bool = False
    unchanged: int = 0
    listed_at: datetime | None = None
    listed: dict[str, ListedSession] = field(default_factory=dict)
    _open: int = 0
    _asked: set[str] = field(default_factory=set)
    """Sessions asked for."""
    _doubtful: dict[str, tuple[AsleepError, datetime | None]] = field(default_factory=dict)
    """Listed, yet the API said that they do not exist, and when they were asked for."""
    _unlisted: set[str] = field(default_factory=set)
    """Read, but missing from the list that should have named them: what else does it lack?"""
    _looked_again: bool = False
    _suspected: tuple[str | None, AsleepError] | None = None
    """What the API refused because the user was gone, until the user was asked for directly."""

    @classmethod
    def of(cls, user: UserToSync, window: Window, stored: Iterable[StoredSession], *, lists: bool = True) -> "UserSync":
        """A sync of `user` over `window`; without `lists`, of the `stored` sessions alone."""
        return cls(user, window, {s.session_id: s for s in stored}, lists=lists)

    @property
    def is_done(self) -> bool:
        """True when no answer is awaited."""
        return self._open == 0

    def begin(self) -> Sequence[Task]:
        """The first question: the list, unless nothing but the stored sessions is read."""
        if not self.lists:
            return self._read(sorted(self.stored))
        return self._ask(Task(self.user.user_id, Question.LIST, window=self.window))

    def take(self, task: Task, answer: Answer | AsleepError) -> Sequence[Task]:
        """Note an answer; returns what to ask next."""
        self._open -= 1
        if self.gone:
            return ()
        if isinstance(answer, AsleepError):
            follow_up = self._refused(task, answer)
        elif isinstance(answer, SessionList):
            follow_up = self._listed(task, answer)
        elif isinstance(answer, SleepSession):
            follow_up = self._have_read(answer)
        else:
            follow_up = self._user_exists()
        if self.is_done and not self.gone and (self._doubtful or self._unlisted):
            return self._look_again()
        return follow_up

    def take_rows(self) -> list[Row]:
        """Rows of the sessions read, handed out once."""
        is_needed = any(zone_of(session.created_timezone) is None for session in self.sessions)
        zone = self.last_known_zone() if is_needed else None
        sessions, self.sessions = self.sessions, []
        return [self._row(session, zone) for session in sessions]

    def _row(self, session: SleepSession, zone: str | None) -> Row:
        listed = self.listed.get(session.session_id)
        if listed is None:
            return session_row(session, last_known_zone=zone)
        if listed.contract_violations:
            odd = tuple(f"list.{violation}" for violation in listed.contract_violations)
            session = replace(session, contract_violations=(*session.contract_violations, *odd))
        return session_row(session, last_known_zone=zone, last_received_seq_num=listed.last_received_seq_num)

    def last_known_zone(self) -> str | None:
        """The zone of the user's newest listed session whose zone is known, else the registered one."""
        known = [(row.session_start_time, row.created_timezone) for row in self.listed.values()]
        zones = [(start, zone) for start, zone in known if start is not None and zone is not None and zone_of(zone)]
        return max(zones)[1] if zones else self.user.timezone

    def _ask(self, *tasks: Task) -> Sequence[Task]:
        self._open += len(tasks)
        return tasks

    def _read(self, session_ids: Sequence[str]) -> Sequence[Task]:
        self._asked.update(session_ids)
        return self._ask(*(Task(self.user.user_id, Question.SESSION, session_id=i) for i in session_ids))

    def _listed(self, task: Task, answer: SessionList) -> Sequence[Task]:
        for row in answer.rows:
            if row.problem is not None:
                self._fail(None, row.problem)
        rows = {row.session_id: row for row in answer.rows if row.problem is None}
        if self._looked_again:
            return self._listed_again(rows)
        if task.window != self.window:
            return self._listed_of_old(task, rows)
        self.listed_at = task.asked_at
        self.listed = rows
        if not rows and any(s.session_start_time in self.window.listed for s in self._missing()):
            return self._ask(Task(self.user.user_id, Question.USER))
        return self._read_what_differs()

    def _missing(self) -> list[StoredSession]:
        return [s for s in self.stored.values() if s.session_id not in self.listed and not s.deleted]

    def _read_what_differs(self) -> Sequence[Task]:
        wanted = self._changed(self.listed)
        missing = self._missing()
        wanted.update(s.session_id for s in missing if s.session_start_time in self.window.listed)
        wanted.update(self.user.failed_session_ids)
        old_days = sorted({s.session_start_time.date() for s in missing if s.session_id not in wanted})
        old = [Task(self.user.user_id, Question.LIST, window=Window.of_days(day, day)) for day in old_days]
        return [*self._read(sorted(wanted)), *self._ask(*old)]

    def _changed(self, rows: dict[str, ListedSession]) -> set[str]:
        """Those to read; the others are counted, and their last chunk is noted when it was not known."""
        wanted = {i for i, row in rows.items() if wants_reading(row, self.stored.get(i))} - self._asked
        unchanged = rows.keys() - wanted - self._asked
        self.unchanged += len(unchanged)
        self.numbers.extend(
            (i, rows[i].last_received_seq_num)
            for i in sorted(unchanged)
            if self.stored[i].last_received_seq_num is None
        )
        return wanted

    def _listed_of_old(self, task: Task, rows: dict[str, ListedSession]) -> Sequence[Task]:
        """One day before the window, on which sessions started that were not final: only those are looked at."""
        old = {s.session_id for s in self._missing() if task.window and s.session_start_time in task.window}
        found = {i: rows[i] for i in old & rows.keys()}
        self.listed.update(found)
        return self._read(sorted((old - rows.keys() - self._asked) | self._changed(found)))

    def _have_read(self, session: SleepSession) -> Sequence[Task]:
        self.sessions.append(session)
        was_due = self.listed_at is not None and session.session_start_time in self.window.listed
        if was_due and session.session_id not in self.listed:
            self._unlisted.add(session.session_id)
        return ()

    def _look_again(self) -> Sequence[Task]:
        if not self._looked_again:
            self._looked_again = True
            return self._ask(Task(self.user.user_id, Question.LIST, window=self.window))
        for session_id, (error, _) in self._doubtful.items():
            message = "The API lists this session but says that it does not exist when it is read."
            self._fail(session_id, type(error)(message, status=error.status, raw=error.raw))
        if self._unlisted:
            self._fail(None, Malformed("The API knows sessions that it does not list: others may be missing, too."))
        self._doubtful, self._unlisted = {}, set()
        return ()

    def _listed_again(self, rows: dict[str, ListedSession]) -> Sequence[Task]:
        for session_id in self._doubtful.keys() - rows.keys():
            _, asked_at = self._doubtful.pop(session_id)
            self._is_deleted(session_id, asked_at)
        self._unlisted -= rows.keys()
        new = {i: row for i, row in rows.items() if i not in self.listed}
        self.listed.update(new)
        return self._read(sorted(self._changed(new)))

    def _user_exists(self) -> Sequence[Task]:
        if self._suspected is None:
            return self._read_what_differs()
        session_id, error = self._suspected
        message = "The API says that the user is gone, yet it still knows the user when asked directly."
        self._fail(session_id, type(error)(message, status=error.status, raw=error.raw))
        return ()

    def _refused(self, task: Task, error: AsleepError) -> Sequence[Task]:
        if isinstance(error, UserGone):
            if task.question is Question.USER:
                self.gone = True
                self.failures.clear()
                return ()
            if self._suspected is None:
                self._suspected = (task.session_id, error)
                return self._ask(Task(self.user.user_id, Question.USER))
        if isinstance(error, SessionGone) and task.session_id is not None:
            if task.session_id in self.listed:
                self._doubtful[task.session_id] = (error, task.asked_at)
            else:
                self._is_deleted(task.session_id, task.asked_at)
            return ()
        if not is_no_session_at_all(error, task, self.stored.keys() | self.listed.keys()):
            self._fail(task.session_id, error)
        return ()

    def _is_deleted(self, session_id: str, asked_at: datetime | None) -> None:
        if asked_at is not None:
            self.deleted.append((session_id, asked_at))

    def _fail(self, session_id: str | None, error: AsleepError) -> None:
        self.failures.append(
            Failure(
                user_id=self.user.user_id,
                session_id=session_id,
                window_start=self.window.start if session_id is None else None,
                window_end=self.window.end if session_id is None else None,
                kind=error.kind,
                message=str(error),
                raw_body=error.raw,
            )
        )
