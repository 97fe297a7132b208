"""What a sync asks the API, one user at a time.

Lives here: the questions.  Not here: who asks them when (`user_sync.py`, `statistics_sync.py`), how (`sync_batch.py`).
"""

from collections.abc import Container
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from assets.sync.window import Window
from resources.asleep.errors import AsleepError, IdentifierRefused
from resources.asleep.records import AverageStats, SessionList, SleepSession, UserProfile


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


def is_no_session_at_all(error: AsleepError, task: Task, known: Container[str]) -> bool:
    """Whether an id that no list and no row knows is not even an id to the API: a webhook event made it up."""
    return isinstance(error, IdentifierRefused) and task.session_id is not None and task.session_id not in known
