"""Steps that every mode of a user's sync shares: read sessions, and find out whether the user still exists."""

from collections.abc import Container
from dataclasses import dataclass, field
from datetime import datetime

from assets.sync.api_requests import Endpoint, Request, Response, Steps, is_made_up
from assets.sync.outcome import Outcome
from assets.sync.window import Window
from resources.asleep.errors import AsleepError, Malformed, SessionGone, UserGone
from resources.asleep.records import SleepSession

EXISTS_AFTER_ALL = "The API reported the user as not found, but returned the user when requested directly."


@dataclass(slots=True)
class UserSteps:
    """One user's sync over one window; the modes derive from it."""

    outcome: Outcome
    requested: set[str] = field(default_factory=set)
    """Sessions requested."""
    _existence_was_checked: bool = False

    def request(
        self, endpoint: Endpoint, *, session_id: str | None = None, window: Window | None = None
    ) -> Steps[Response]:
        """Make one request about this user and wait for its response."""
        response = yield [Request(self.outcome.user.user_id, endpoint, session_id, window)]
        return response

    def read(self, session_id: str) -> Steps[None]:
        """Read one session in full."""
        self.requested.add(session_id)
        response = yield from self.request(Endpoint.READ_SESSION, session_id=session_id)
        match response.result:
            case _ if self.outcome.gone:
                return
            case SleepSession() as session:
                self.take(session)
            case SessionGone() as error:
                self.not_found(session_id, error, response.sent_at)
            case AsleepError() as error:
                yield from self.refused(response, error)

    def take(self, session: SleepSession) -> None:
        """Take a session read in full; one that cannot be made a row is that session's failure."""
        try:
            self.have_read(session)
        except Exception as error:  # noqa: BLE001 it concerns this session alone
            problem = Malformed(f"the session could not be made a row ({type(error).__name__})", raw=session.raw)
            self.outcome.fail(session.session_id, problem)

    def have_read(self, session: SleepSession) -> None:
        """Take a session read in full."""
        raise NotImplementedError

    def not_found(self, session_id: str, error: SessionGone, sent_at: datetime) -> None:
        """Take that a session does not exist."""
        raise NotImplementedError

    def known(self) -> Container[str]:
        """Sessions that a table or an answer of the API names."""
        raise NotImplementedError

    def refused(self, response: Response, error: AsleepError) -> Steps[None]:
        """Record what failed; a user reported as not found is requested directly, once."""
        session_id = response.request.session_id
        if isinstance(error, UserGone) and not self._existence_was_checked:
            self._existence_was_checked = True
            if (yield from self.user_exists()):
                self.outcome.fail(session_id, error, EXISTS_AFTER_ALL)
        elif not is_made_up(error, response.request, self.known()):
            self.outcome.fail(session_id, error)

    def user_exists(self) -> Steps[bool]:
        """Request the user directly; False when there is no such user, or no answer."""
        response = yield from self.request(Endpoint.READ_USER)
        match response.result:
            case _ if self.outcome.gone:
                return False
            case UserGone():
                self.outcome.user_is_gone()
            case AsleepError() as error:
                self.outcome.fail(None, error)
            case _:
                return True
        return False
