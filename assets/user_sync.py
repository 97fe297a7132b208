"""Which questions one user's sync asks, and what follows from the answers.

Lives here: decisions, one object for each user, no I/O.  Not here: threads, HTTP, SQL, rows.

The steps are those of the design: list the window one day wider than asked; read what is new, was not final
or changed; look a second time at what is missing before calling it deleted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from assets.shaping import Row, session_row, zone_of
from assets.window import Window
from resources.asleep.errors import AsleepError, SessionGone, UserGone
from resources.asleep.records import AverageStats, ListedSession, SessionList, SleepSession, UserProfile
from resources.database.sync_state import Failure, StoredSession, UserToSync


class Question(Enum):
    """What is asked of the API."""

    LIST = "list"
    SESSION = "session"
    USER = "user"
    STATISTICS = "statistics"


@dataclass(frozen=True, slots=True)
class Task:
    """One question about one user."""

    user_id: str
    question: Question
    session_id: str | None = None
    window: Window | None = None
    asked_at: datetime | None = None
    """When it was handed out, by the database's clock: no later than the answer's own time."""


Answer = SessionList | SleepSession | UserProfile | AverageStats


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
    _doubtful: dict[str, AsleepError] = field(default_factory=dict)
    """Listed, yet the API said that they do not exist."""
    _looking_again: bool = False
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
            follow_up = self._list_again(answer) if self._looking_again else self._list(task, answer)
        elif isinstance(answer, SleepSession):
            self.sessions.append(answer)
            follow_up = ()
        else:
            follow_up = self._user_exists()
        if not follow_up and self.is_done and self._doubtful:
            self._looking_again = True
            return self._ask(Task(self.user.user_id, Question.LIST, window=self.window))
        return follow_up

    def take_rows(self) -> list[Row]:
        """Rows of the sessions read, handed out once."""
        zone = self.last_known_zone() if self.sessions else None
        sessions, self.sessions = self.sessions, []
        return [
            session_row(
                session,
                last_known_zone=zone,
                last_received_seq_num=listed.last_received_seq_num
                if (listed := self.listed.get(session.session_id))
                else None,
            )
            for session in sessions
        ]

    def last_known_zone(self) -> str | None:
        """The zone of the user's newest listed session whose zone is known, else the registered one."""
        for row in sorted(self.listed.values(), key=lambda r: r.session_start_time, reverse=True):
            if zone_of(row.created_timezone):
                return row.created_timezone
        return self.user.timezone

    def _ask(self, *tasks: Task) -> Sequence[Task]:
        self._open += len(tasks)
        return tasks

    def _read(self, session_ids: Iterable[str]) -> Sequence[Task]:
        return self._ask(*(Task(self.user.user_id, Question.SESSION, session_id=i) for i in session_ids))

    def _list(self, task: Task, answer: SessionList) -> Sequence[Task]:
        self.listed_at = task.asked_at
        self.listed = {row.session_id: row for row in answer.rows}
        missing = [s for s in self.stored.values() if s.session_id not in self.listed and not s.deleted]
        if not self.listed and sum(s.session_start_time in self.window.listed for s in missing) > 1:
            return self._ask(Task(self.user.user_id, Question.USER))
        return self._read_what_differs()

    def _read_what_differs(self) -> Sequence[Task]:
        wanted = {i for i, row in self.listed.items() if wants_reading(row, self.stored.get(i))}
        self.unchanged += len(self.listed) - len(wanted)
        self.numbers.extend(
            (i, row.last_received_seq_num)
            for i, row in self.listed.items()
            if i not in wanted and row.last_received_seq_num != self.stored[i].last_received_seq_num
        )
        wanted.update(s.session_id for s in self.stored.values() if s.session_id not in self.listed and not s.deleted)
        wanted.update(self.user.failed_session_ids)
        return self._read(sorted(wanted))

    def _list_again(self, answer: SessionList) -> Sequence[Task]:
        still_listed = {row.session_id for row in answer.rows}
        for session_id, error in self._doubtful.items():
            if session_id in still_listed:
                message = "The API lists this session but says that it does not exist when it is read."
                self._fail(session_id, type(error)(message, status=error.status, raw=error.raw))
        self._doubtful = {}
        return ()

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
                self._doubtful[task.session_id] = error
            elif task.asked_at is not None:
                self.deleted.append((task.session_id, task.asked_at))
            return ()
        self._fail(task.session_id, error)
        return ()

    def _fail(self, session_id: str | None, error: AsleepError) -> None:
        self.failures.append(
            Failure(
                user_id=self.user.user_id,
                session_id=session_id,
                window_start=self.window.start,
                window_end=self.window.end,
                kind=error.kind,
                message=str(error),
                raw_body=error.raw,
            )
        )


def wants_reading(row: ListedSession, stored: StoredSession | None) -> bool:
    """True when a listed session must be read in full: new, never read in full, deleted before, or changed.

    A session that is still running is read again only when its list row moved: without a new chunk or state its
    stages cannot have changed.
    """
    if stored is None or stored.deleted or not stored.in_full:
        return True
    return (
        row.state != stored.state
        or row.session_start_time != stored.session_start_time
        or row.session_end_time != stored.session_end_time
        or row.unexpected_end_time != stored.unexpected_end_time
        or row.created_timezone != stored.created_timezone
        or (stored.last_received_seq_num is not None and row.last_received_seq_num != stored.last_received_seq_num)
    )
