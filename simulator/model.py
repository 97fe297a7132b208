"""Users and sessions as the simulated service keeps them."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from simulator.analysis import Recording
from simulator.figures import EPOCH_SECONDS, ONE_SECOND

NEVER_SLEPT = "NEVER_SLEPT"
TOO_SHORT = "TOO_SHORT_FOR_ANALYSIS"
TOO_MANY_DEFECTS = "TOO_MANY_DEFECTS_IN_SLEEP_STAGES"
TOO_LONG = "TOO_LONG_FOR_ANALYSIS"
NO_BREATHING = "NO_BREATHING_STABILITY"
IN_PROGRESS = "IN_PROGRESS"
NO_POLLING = "NO_REALTIME_POLLING"
NO_POLLING_TAG = "no_realtime_polling"
"""On sessions whose contract does not allow reading them while they run."""
WITHOUT_STAT = (TOO_SHORT, TOO_MANY_DEFECTS)
INFERENCE_EPOCHS = 10
"""A running session is analysed every five minutes."""


@dataclass(slots=True)
class Session:
    """One tracked night or nap. All times are UTC and whole seconds."""

    session_id: str
    user_id: str
    start: datetime
    end: datetime | None
    completed: datetime | None
    zone: str
    recording: Recording
    finding: str | None = None
    """A peculiarity that the analysis finds: one of the constants above, or None for an ordinary night."""
    unexpected_end: datetime | None = None
    missing_epochs: int = 0
    """Slots at the end that never arrived."""
    received_epochs: int | None = None
    """Slots received while it runs; None: as many as have passed."""
    listed: bool = True
    """Whether lists contain it. A session that they lack can still be read by its id."""
    tags: tuple[str, ...] = ()
    row_json: bytes | None = None
    """Its list row in UTC, kept while it cannot change."""

    def state(self, now: datetime) -> str:
        """`OPEN`, `CLOSED` or `COMPLETE` as of `now`."""
        if self.end is None or now < self.end:
            return "OPEN"
        return "CLOSED" if self.completed is None or now < self.completed else "COMPLETE"

    def received(self, now: datetime) -> int:
        """How many 30 s slots have arrived by `now`."""
        if self.end is not None and now >= self.end:
            return (self.end - self.start) // ONE_SECOND // EPOCH_SECONDS - self.missing_epochs
        if self.received_epochs is not None:
            return self.received_epochs
        return (now - self.start) // ONE_SECOND // EPOCH_SECONDS


@dataclass(slots=True)
class User:
    """One user of the app."""

    user_id: str
    timezone: str
    breathing: bool = False
    """Whether the user's contract includes breathing analysis."""
    metadata: dict[str, Any] | None = None
    to_be_deleted: bool = False
    deleted: bool = False
    tags: set[str] = field(default_factory=set)
    sessions: list[Session] = field(default_factory=list)
    """By start time, then id."""
    deleted_session_ids: list[str] = field(default_factory=list)
