"""What a batch has found since the last write, and what follows for users, failures and the key.

A key of the other environment finds no user and no session. So no user counts as gone, and no session as deleted,
before the API has returned at least one of the users or sessions.
"""

from collections.abc import Collection, Container
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from assets.sync.comparison import AveragingFormula
from assets.sync.scheduler import Progress
from assets.sync.user_steps import NOT_LISTED, UserOutcome
from resources.asleep.errors import AsleepError, KeyRejected, Malformed, Unavailable
from resources.asleep.records import SessionList
from resources.database.sync.list_cache import ListEnd
from resources.database.sync.sync_state import DISAGREES, Deletion, Failure, FinishedUser
from resources.database.sync.upsert import SESSION_COLUMNS

_USER_ID = SESSION_COLUMNS.index("user_id")
_ID = SESSION_COLUMNS.index("session_id")
_TWO_OWNERS = (
    "Two users are said to have this session, and the API does not return it for exactly one of them. It was not "
    "written. The next run tries again."
)
_DOUBT = (
    Unavailable.kind,
    "No other user could be read to confirm that the key belongs to the users' environment. The next run tries again.",
)


class FittingFormula(NamedTuple):
    """The only formula by which a user's averages agree, and the failure of that user if the account's is another."""

    formula: AveragingFormula
    failure: Failure


@dataclass(slots=True)
class BatchState:
    """Filled response by response, emptied by each write. One thread uses it."""

    rows: list[tuple[Any, ...]] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)
    completed_times: list[tuple[str, datetime]] = field(default_factory=list)
    last_chunks: list[tuple[str, int | None]] = field(default_factory=list)
    done: list[UserOutcome] = field(default_factory=list)
    held: list[UserOutcome] = field(default_factory=list)
    """Done as well, but found gone or without sessions: not believed until the API is seen to know a user."""
    held_deletions: list[Deletion] = field(default_factory=list)
    unconfirmed: list[Failure] = field(default_factory=list)
    """Lists whose end, and sessions whose owner or stages, could not be confirmed."""
    foreign: set[tuple[str, str]] = field(default_factory=set)
    """User and session where the session is another user's, or the failure of both is recorded."""
    moved: list[str] = field(default_factory=list)
    """Sessions that the API returns for another user than the one under whom they are stored."""
    formulas: list[FittingFormula] = field(default_factory=list)
    """Users whose averages fit one formula only."""
    is_key_right: bool = False
    """The API has returned a user or a session."""

    def take(self, progress: Progress) -> None:
        """Take over what the sync of a user has found with its last response."""
        outcome, result = progress.outcome, progress.response.result
        if not isinstance(result, AsleepError) and not (isinstance(result, SessionList) and not result.rows):
            self.believe()
        self.rows += outcome.rows
        self.unconfirmed += outcome.damaged
        self.completed_times += outcome.completed_times
        self.last_chunks += outcome.last_chunks
        deletions = self.deletions if self.is_key_right else self.held_deletions
        deletions += outcome.deletions
        outcome.forget_taken()
        if progress.is_done and outcome.averaging_formula is not None:
            self.formulas.append(FittingFormula(outcome.averaging_formula, _of_another_formula(outcome)))
        if progress.is_done:
            (self.done if self.is_key_right or outcome.failures else self.held).append(outcome)

    def believe(self) -> None:
        """The key belongs to the users' environment."""
        self.is_key_right = True
        self.done += self.held
        self.deletions += self.held_deletions
        self.held, self.held_deletions = [], []

    def doubt(self) -> None:
        """Nothing shows whether the key belongs to the users' environment: those held fail, and are tried again."""
        for outcome in self.held:
            window = outcome.window
            outcome.gone = False
            outcome.failures = [Failure(outcome.user.user_id, None, window.start, window.end, *_DOUBT, None)]
        self.done += self.held
        self.held, self.held_deletions = [], []

    @property
    def has_news(self) -> bool:
        """True when there is something to write."""
        return bool(
            self.rows or self.deletions or self.completed_times or self.last_chunks or self.done or self.unconfirmed
        )

    @property
    def user_ids(self) -> set[str]:
        """Users about whom there is something to write."""
        return (
            {row[_USER_ID] for row in self.rows}
            | {deletion.user_id for deletion in self.deletions}
            | {outcome.user.user_id for outcome in self.done}
            | {failure.user_id for failure in self.unconfirmed}
        )

    def keep_only(self, user_ids: Container[str]) -> None:
        """Forget what belongs to other users."""
        self.rows = [row for row in self.rows if row[_USER_ID] in user_ids]
        self.done = [outcome for outcome in self.done if outcome.user.user_id in user_ids]
        self.unconfirmed = [failure for failure in self.unconfirmed if failure.user_id in user_ids]

    def not_found(self) -> list[str]:
        """Users done with that the API does not find."""
        return [outcome.user.user_id for outcome in self.done if outcome.gone]

    def found(self) -> list[str]:
        """Users done with that the API has listed."""
        return [o.user.user_id for o in self.done if o.listed_at is not None and not o.gone]

    def failures(self) -> list[Failure]:
        """What could not be synced, of users done with."""
        return [*(failure for outcome in self.done for failure in outcome.failures), *self.unconfirmed]

    def finished(self) -> list[FinishedUser]:
        """Users whose whole window is in."""
        return [
            FinishedUser(o.user.user_id, o.window.start, o.window.end, o.listed_at)
            for o in self.done
            if not o.failures and not o.damaged_ids and not o.gone and o.listed_at is not None
        ]

    def list_ends(self) -> list[ListEnd]:
        """Ends of lists to be confirmed, of users done with; a list that failed is read again anyway."""
        return [
            o.list_end
            for o in self.done
            if o.list_end is not None and not o.gone and all(failure.session_id for failure in o.failures)
        ]

    def listed_again(self) -> list[str]:
        """Users done with whose list was read, and had been read before."""
        return [o.user.user_id for o in self.done if o.user.listed_at is not None and o.listed_at is not None]

    def not_confirmed(self, end: ListEnd, error: AsleepError) -> None:
        """Record a list that may have been cut: the next run reads it again.

        Args:
            end: the end of the list.
            error: why it could not be requested.
        """
        message = f"The end of the list could not be confirmed: {error}"
        window = (end.window_start, end.window_end)
        self.unconfirmed.append(Failure(end.user_id, None, *window, error.kind, message, error.raw))

    def settle_owner(self, session_id: str, owner: str | None, user_ids: Collection[str]) -> None:
        """Keep a session's row under its owner alone; when the owner cannot be determined, keep none and record that.

        Args:
            session_id: the session.
            owner: the user for whom the API returns it, None when it is not one alone.
            user_ids: the users who are said to have it.
        """
        self.foreign.update((user_id, session_id) for user_id in user_ids if user_id != owner)
        is_kept = [row for row in self.rows if row[_ID] != session_id or row[_USER_ID] == owner]
        self.rows = is_kept
        if owner is not None:
            self.moved.append(session_id)
        else:
            for user_id in sorted(user_ids):
                failure = Failure(user_id, session_id, None, None, Malformed.kind, _TWO_OWNERS, None)
                self.unconfirmed.append(failure)

    def settle_lists(self) -> None:
        """Record users whose list lacks a session of theirs: it may lack others, too."""
        for outcome in self.done:
            if any((outcome.user.user_id, session_id) not in self.foreign for session_id in outcome.not_listed):
                outcome.fail(None, Malformed(NOT_LISTED))
            outcome.not_listed = set()

    def mended(self) -> list[int]:
        """Earlier failures that were not met again. Where a list failed again, nothing can be said."""
        found: list[int] = []
        for outcome in self.done:
            again = {failure.session_id for failure in outcome.failures} | outcome.damaged_ids
            if None not in again and not outcome.gone:
                before = zip(outcome.user.failure_ids, outcome.user.failed, strict=True)
                found.extend(failure_id for failure_id, session_id in before if session_id not in again)
        return found

    def forget_written(self) -> None:
        """Begin anew after a write."""
        self.rows, self.deletions, self.completed_times, self.last_chunks = [], [], [], []
        self.done, self.unconfirmed, self.moved = [], [], []


def _of_another_formula(outcome: UserOutcome) -> Failure:
    message = f"The API's averages of this user fit the formula {outcome.averaging_formula} only, unlike other users'."
    window = (outcome.window.start, outcome.window.end)
    return Failure(outcome.user.user_id, None, *window, DISAGREES, message, None)


def key_finds_no_user(requested: int) -> KeyRejected:
    """The error of a key for which every user is unknown: to believe it would erase all users here."""
    return KeyRejected(
        f"The Asleep API does not find any of {requested} users. Check that ASLEEP_API_KEY belongs to the users' "
        "environment (Live or Test). No user was marked as gone. If all were deleted indeed, set them inactive or "
        "forget them."
    )
