"""What the sync of one user has found: rows, deletions, failures. The scheduler takes it away bit by bit."""

from dataclasses import dataclass, field
from datetime import datetime

from assets.sync.session_rows import Row
from assets.sync.window import Window
from resources.asleep.errors import AsleepError
from resources.database.sync.sync_state import DISAGREES, Failure, UserToSync


@dataclass(slots=True)
class Outcome:
    """Of one user and window. Rows, deletions, times and chunks are those found since the last write took them."""

    user: UserToSync
    window: Window
    rows: list[Row] = field(default_factory=list)
    deletions: list[tuple[str, datetime]] = field(default_factory=list)
    """Sessions that no longer exist, and when the request was sent."""
    completed_times: list[tuple[str, datetime]] = field(default_factory=list)
    """When stored sessions were analysed, by average-stats."""
    last_chunks: list[tuple[str, int | None]] = field(default_factory=list)
    """`last_received_seq_num` of stored sessions that had none."""
    not_found: set[str] = field(default_factory=set)
    """All sessions of this sync that no longer exist."""
    failures: list[Failure] = field(default_factory=list)
    gone: bool = False
    unchanged: int = 0
    listed_at: datetime | None = None
    """When the list of the window was requested; None while it has not arrived."""

    def fail(self, session_id: str | None, error: AsleepError, message: str = "") -> None:
        """Record that a session, or without `session_id` the window, could not be synced."""
        self._add(session_id, error.kind, message or str(error), error.raw, has_window=session_id is None)

    def disagree(self, session_id: str | None, message: str) -> None:
        """Record that two answers of the API, or its averages and ours, contradict each other."""
        self._add(session_id, DISAGREES, message, None, has_window=True)

    def session_is_gone(self, session_id: str, sent_at: datetime) -> None:
        """The session no longer exists, as the response to a request sent at that moment says."""
        self.deletions.append((session_id, sent_at))
        self.not_found.add(session_id)

    def user_is_gone(self) -> None:
        """The user no longer exists: what failed can never be mended."""
        self.gone = True
        self.failures.clear()

    def forget_taken(self) -> None:
        """Begin anew after the scheduler's caller took what was found."""
        self.rows, self.deletions, self.completed_times, self.last_chunks = [], [], [], []

    def _add(self, session_id: str | None, kind: str, message: str, raw: bytes | None, *, has_window: bool) -> None:
        start, end = (self.window.start, self.window.end) if has_window else (None, None)
        self.failures.append(Failure(self.user.user_id, session_id, start, end, kind, message, raw))
