"""What a batch has found since the last write, and what follows for users, failures and the key.

A key of the other environment finds no user and no session. So no user counts as gone, and no session as deleted,
before the API has returned at least one of the users or sessions.
"""

from collections.abc import Collection, Container
from dataclasses import dataclass, field

from assets.sync.comparison import AveragingFormula
from assets.sync.scheduler import Progress
from assets.sync.user_steps import NOT_LISTED, Findings, UserOutcome
from resources.asleep.errors import AsleepError, KeyRejected, Malformed, Unavailable
from resources.asleep.records import SessionList
from resources.database.sync.deletions import Deletion
from resources.database.sync.sync_state import DISAGREES, Failure, FinishedUser
from resources.database.sync.unconfirmed_lists import ListEnd
from resources.database.sync.upsert import SESSION_COLUMNS

_USER_ID = SESSION_COLUMNS.index("user_id")
_ID = SESSION_COLUMNS.index("session_id")
_TWO_OWNERS = (
    "The API returned this session for two users, and a second request did not settle to whom it belongs. It was not "
    "written. The next run tries again."
)
_KEY_NOT_CONFIRMED = (
    Unavailable.kind,
    "No other user could be read to confirm that the key belongs to the users' environment. The next run tries again.",
)


@dataclass(slots=True)
class BatchState(Findings):
    """Filled response by response, emptied by each write. One thread uses it."""

    done: list[UserOutcome] = field(default_factory=list)
    held: list[UserOutcome] = field(default_factory=list)
    """Done as well, but found gone or without sessions: held until the API has returned a user or a session."""
    held_deletions: list[Deletion] = field(default_factory=list)
    foreign: set[tuple[str, str]] = field(default_factory=set)  # user, and session of another user
    ownerless: set[tuple[str, str]] = field(default_factory=set)  # the same with owner unknown, on record
    moved: list[str] = field(default_factory=list)  # sessions that the API returns for another user than the stored one
    formulas: dict[AveragingFormula, list[Failure]] = field(default_factory=dict)
    """Of users whose averages fit one formula only: their failures, if the account's is another."""
    key_is_confirmed: bool = False  # the API has returned a user or a session

    def take(self, progress: Progress) -> None:
        """Take over what the sync of a user has found with its last response."""
        outcome, result = progress.outcome, progress.response.result
        if not isinstance(result, AsleepError) and not (isinstance(result, SessionList) and not result.rows):
            self.confirm_key()
        if not self.key_is_confirmed:
            self.held_deletions += outcome.deletions
            outcome.deletions = []
        outcome.move_to(self)
        if progress.is_done and outcome.averaging_formula is not None:
            formula = outcome.averaging_formula
            message = f"The API's averages of this user fit the formula {formula} only, unlike other users'."
            failure = Failure(outcome.user.user_id, None, *outcome.window.span, DISAGREES, message, None)
            self.formulas.setdefault(formula, []).append(failure)
        if progress.is_done:
            (self.done if self.key_is_confirmed or outcome.failures else self.held).append(outcome)

    def confirm_key(self) -> None:
        """The key belongs to the users' environment: accept what was held."""
        self.key_is_confirmed = True
        self.done += self.held
        self.deletions += self.held_deletions
        self.held, self.held_deletions = [], []

    def fail_held(self) -> None:
        """Nothing shows whether the key belongs to the users' environment: those held fail, and are tried again."""
        for outcome in self.held:
            outcome.gone = False
            outcome.failures = [Failure(outcome.user.user_id, None, *outcome.window.span, *_KEY_NOT_CONFIRMED, None)]
        self.done += self.held
        self.held, self.held_deletions = [], []

    @property
    def has_news(self) -> bool:
        """True when there is something to write."""
        return bool(self.done) or any(getattr(self, name) for name in Findings.__slots__)

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
            FinishedUser(o.user.user_id, *o.window.span, o.listed_at)
            for o in self.done
            if not self._failed(o) and not o.gone and o.listed_at is not None
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

    def settle_owner(self, session_id: str, owner: str | None, user_ids: Collection[str]) -> None:
        """Keep a session's row under its owner alone; when the owner cannot be determined, keep none and record that.

        Args:
            session_id: the session.
            owner: the only user for whom the API returns the session; None when there is no such user.
            user_ids: all users for whom a list or a stored row names the session.
        """
        self.foreign.update((user_id, session_id) for user_id in user_ids if user_id != owner)
        self.rows = [row for row in self.rows if row[_ID] != session_id or row[_USER_ID] == owner]
        if owner is not None:
            self.moved.append(session_id)
        else:
            self.ownerless.update((user_id, session_id) for user_id in user_ids)
            failed = [Failure(i, session_id, None, None, Malformed.kind, _TWO_OWNERS, None) for i in sorted(user_ids)]
            self.unconfirmed += failed

    def settle_lists(self) -> None:
        """Record users whose list lacks a session of theirs: it may lack others, too."""
        for outcome in self.done:
            if any((outcome.user.user_id, session_id) not in self.foreign for session_id in outcome.not_listed):
                outcome.fail(None, Malformed(NOT_LISTED))
            outcome.not_listed = set()

    def mended(self) -> list[int]:
        """Earlier failures that were not met again. Where a list failed again, nothing is known."""
        found: list[int] = []
        for outcome in self.done:
            again = self._failed(outcome)
            if None not in again and not outcome.gone:
                before = zip(outcome.user.failure_ids, outcome.user.failed, strict=True)
                found.extend(failure_id for failure_id, session_id in before if session_id not in again)
        return found

    def forget_written(self) -> None:
        """Begin anew after a write."""
        self.move_to(Findings())
        self.done, self.moved = [], []

    def _failed(self, outcome: UserOutcome) -> set[str | None]:
        """Sessions of a user that could not be synced; None in it stands for the list."""
        ownerless = {session_id for user_id, session_id in self.ownerless if user_id == outcome.user.user_id}
        return {failure.session_id for failure in outcome.failures} | outcome.damaged_ids | ownerless


def key_finds_no_user(requested: int) -> KeyRejected:
    """The error of a key for which every user is unknown: accepting that would erase all users here."""
    return KeyRejected(
        f"The Asleep API does not find any of {requested} users. Check that ASLEEP_API_KEY belongs to the users' "
        "environment (Live or Test). No user was marked as gone. If all were deleted indeed, set them inactive or "
        "forget them."
    )
