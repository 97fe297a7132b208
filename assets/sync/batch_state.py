"""A batch under way: questions to hand out, and what has come of them since the last write.

Lives here: collecting, and what follows for users, failures and the key from what was collected.  Not here: asking,
threads, transactions, SQL.
"""

from collections import deque
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from assets.sync.api_requests import Answer, Task
from assets.sync.statistics_sync import StatisticsSync
from assets.sync.user_sync import UserSync
from resources.asleep.errors import AsleepError, KeyRejected, Unavailable
from resources.asleep.records import SessionList
from resources.database.sync.sync_state import Failure, FinishedUser
from resources.database.sync.upsert import SESSION_COLUMNS

Sync = UserSync | StatisticsSync

_USER_ID = SESSION_COLUMNS.index("user_id")
_DOUBT = (
    Unavailable.kind,
    "The API knew nobody asked about at the same time, so its word about this user was not taken; ask again.",
)


@dataclass(slots=True)
class Work:
    """What a batch has in hand. One thread uses it."""

    now: Callable[[], datetime]
    waiting: Iterator[Sync]
    requests: Callable[[], dict[str, Any]]
    syncs: dict[str, Sync] = field(default_factory=dict)
    todo: deque[Task] = field(default_factory=deque)
    rows: list[tuple[Any, ...]] = field(default_factory=list)
    deleted: list[tuple[str, str, datetime]] = field(default_factory=list)
    completed: list[tuple[str, datetime]] = field(default_factory=list)
    numbers: list[tuple[str, int | None]] = field(default_factory=list)
    done: list[Sync] = field(default_factory=list)
    held: list[Sync] = field(default_factory=list)
    """Done, too, but each found gone or without sessions, which is also what a key of the other environment sees: not
    believed until the API is seen to know somebody."""
    held_deleted: list[tuple[str, str, datetime]] = field(default_factory=list)
    somebody_is_known: bool = False

    def __iter__(self) -> Iterator[Task]:
        return self

    def __next__(self) -> Task:
        """The next question: first those of users begun, then a new user, so that few users are under way."""
        if not self.todo:
            sync = next(self.waiting)
            self.syncs[sync.user.user_id] = sync
            self.todo.extend(sync.begin())
        return replace(self.todo.popleft(), asked_at=self.now())

    def take(self, task: Task, answer: Answer | AsleepError) -> None:
        """Note an answer, and what follows from it."""
        if not isinstance(answer, AsleepError) and not (isinstance(answer, SessionList) and not answer.rows):
            self.believe()
        sync = self.syncs[task.user_id]
        self.todo.extend(sync.take(task, answer))
        self.rows.extend(sync.take_rows())
        deleted = self.deleted if self.somebody_is_known else self.held_deleted
        deleted.extend((task.user_id, session_id, asked_at) for session_id, asked_at in sync.deleted)
        sync.deleted = []
        if isinstance(sync, StatisticsSync):
            self.completed.extend(sync.completed)
            sync.completed = []
        else:
            self.numbers.extend(sync.numbers)
            sync.numbers = []
        if sync.is_done:
            (self.done if self.somebody_is_known or sync.failures else self.held).append(sync)
            del self.syncs[task.user_id]

    def believe(self) -> None:
        """The API knows somebody: the key sees the right environment."""
        self.somebody_is_known = True
        self.done.extend(self.held)
        self.deleted.extend(self.held_deleted)
        self.held, self.held_deleted = [], []

    def doubt(self) -> None:
        """Nobody could be asked whether the key sees the right environment: those held are to be asked again."""
        for sync in self.held:
            sync.gone = False
            sync.failures = [Failure(sync.user.user_id, None, sync.window.start, sync.window.end, *_DOUBT, None)]
        self.done.extend(self.held)
        self.held, self.held_deleted = [], []

    @property
    def user_ids(self) -> set[str]:
        """Users about whom there is something to write."""
        return {row[_USER_ID] for row in self.rows} | {d[0] for d in self.deleted} | {s.user.user_id for s in self.done}

    def keep_only(self, user_ids: Container[str]) -> None:
        """Forget what belongs to anybody else."""
        self.rows = [row for row in self.rows if row[_USER_ID] in user_ids]
        self.done = [sync for sync in self.done if sync.user.user_id in user_ids]

    def gone(self) -> list[str]:
        """Users done with that the API no longer knows."""
        return [sync.user.user_id for sync in self.done if sync.gone]

    def failures(self) -> list[Failure]:
        """What could not be synced, of users done with."""
        return [failure for sync in self.done for failure in sync.failures]

    def finished(self) -> list[FinishedUser]:
        """Users whose whole window is in."""
        return [
            FinishedUser(s.user.user_id, s.last_known_zone(), s.window.start, s.window.end, s.listed_at)
            for s in self.done
            if not s.failures and not s.gone and s.listed_at is not None
        ]

    def mended(self) -> list[int]:
        """Earlier failures that were not met again. Where a list failed again, nothing can be said."""
        found: list[int] = []
        for sync in self.done:
            again = {failure.session_id for failure in sync.failures}
            if None not in again and not sync.gone:
                before = zip(sync.user.failure_ids, sync.user.failed_sessions, strict=True)
                found.extend(failure_id for failure_id, session_id in before if session_id not in again)
        return found

    def forget_written(self) -> None:
        """Begin anew after a write."""
        self.rows, self.deleted, self.completed, self.numbers, self.done = [], [], [], [], []


def key_sees_nobody(asked: int) -> KeyRejected:
    """What is wrong when every user asked about is unknown: to believe that all were deleted would erase them here."""
    return KeyRejected(
        f"The Asleep API knows none of the {asked} users asked about: does ASLEEP_API_KEY belong to their environment "
        "(Live or Test)? Nobody was marked as gone. If all were deleted indeed, set them inactive or forget them."
    )
