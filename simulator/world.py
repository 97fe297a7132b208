"""The state of the simulated service: users, their sessions, its clock."""

from bisect import bisect_left, bisect_right, insort
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from string import ascii_letters, ascii_lowercase, digits
from typing import Any

from simulator.behaviour import Behaviour
from simulator.model import Session, User


class Clock:
    """The service's idea of now: real time, shifted, or standing still."""

    def __init__(self, fixed: datetime | None = None) -> None:
        self._fixed = fixed
        self._shift = timedelta()

    def now(self) -> datetime:
        """The present in UTC, whole seconds."""
        return (self._fixed or datetime.now(UTC) + self._shift).replace(microsecond=0)

    def stop_at(self, moment: datetime) -> None:
        """Stand still at `moment`."""
        self._fixed = moment

    def advance(self, seconds: float) -> None:
        """Move on; a standing clock stands later, a running one runs ahead."""
        if self._fixed:
            self._fixed += timedelta(seconds=seconds)
        else:
            self._shift += timedelta(seconds=seconds)

    def run(self) -> None:
        """Show real time again."""
        self._fixed, self._shift = None, timedelta()


@dataclass(slots=True)
class World:
    """Users by id, sessions by id, both also of the past; one user's sessions in order of their start."""

    seed: int
    clock: Clock
    behaviour: Behaviour
    users: dict[str, User] = field(default_factory=dict)
    sessions: dict[str, Session] = field(default_factory=dict)
    version: int = 0
    """Grows with every change, so that what was derived from the world can be thrown away."""

    def user(self, user_id: str) -> User | None:
        """The user, unless unknown or deleted."""
        user = self.users.get(user_id)
        return None if user is None or user.deleted else user

    def session(self, session_id: str) -> Session | None:
        """The session, unless unknown, deleted or not begun yet."""
        session = self.sessions.get(session_id)
        return session if session and session.start <= self.clock.now() else None

    def begun(self, user: User) -> list[Session]:
        """The user's sessions that have begun, by start."""
        return user.sessions[: bisect_right(user.sessions, self.clock.now(), key=_start)]

    def between(self, user: User, start: datetime, end: datetime) -> list[Session]:
        """The user's sessions with a start in `[start, end)`, as far as they have begun.

        Args:
            user: the user.
            start: first moment of session starts.
            end: end of session starts, exclusive.
        """
        first = bisect_left(user.sessions, start, key=_start)
        last = bisect_left(user.sessions, end, key=_start)
        last = min(last, bisect_right(user.sessions, self.clock.now(), key=_start))
        return user.sessions[first:last]

    def put(self, session: Session) -> None:
        """Take in a session."""
        self.sessions[session.session_id] = session
        insort(self.users[session.user_id].sessions, session, key=lambda each: (each.start, each.session_id))
        self.version += 1

    def remove(self, session: Session) -> None:
        """Forget a session, except that it was there."""
        del self.sessions[session.session_id]
        user = self.users[session.user_id]
        user.sessions.remove(session)
        user.deleted_session_ids.append(session.session_id)
        self.version += 1

    def forget_renderings(self, session: Session | None = None) -> None:
        """What was rendered of one session, or of all, no longer holds."""
        for each in self.sessions.values() if session is None else (session,):
            each.row_json = None
        self.version += 1

    def new_session_id(self, user_id: str, start: datetime, *, old_form: bool = False) -> str:
        """An id that no session had: 14 digits of the start, and five characters in the newer form.

        Args:
            user_id: the user's id.
            start: start of the session.
            old_form: True for an id of digits only.
        """
        moment = start.strftime("%Y%m%d%H%M%S")
        if old_form:
            return moment
        dice = Random(f"{self.seed} session {user_id} {moment}")
        while (name := f"{moment}_{''.join(dice.choices(ascii_lowercase + digits, k=5))}") in self.sessions:
            pass
        return name

    def new_user_id(self, registered: datetime) -> str:
        """An id that no user had."""
        dice = Random(f"{self.seed} user {len(self.users)}")
        return f"G-{registered:%Y%m%d%H%M%S}-{''.join(dice.choices(ascii_letters, k=20))}"


def _start(session: Session) -> datetime:
    return session.start


def moment_of(text: Any) -> datetime:
    """An ISO 8601 timestamp, date or `Z` form as UTC in whole seconds; without offset it is UTC."""
    moment = datetime.fromisoformat(str(text))
    aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return aware.astimezone(UTC).replace(microsecond=0)
