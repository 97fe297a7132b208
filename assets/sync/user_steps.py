"""What the sync of one user finds, and the steps that every mode shares: list, read sessions, request the user."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Any

from assets.sync.api_requests import Endpoint, Request, Response, Steps, together
from assets.sync.comparison import AveragingFormula, stages_contradict
from assets.sync.session_rows import Row, session_row
from assets.sync.window import Window, windows_of
from resources.asleep.errors import AsleepError, IdentifierRefused, Malformed, SessionGone, UserGone
from resources.asleep.records import ListedSession, SessionList, SleepSession
from resources.database.sync.deletions import Deletion
from resources.database.sync.stored_sessions import StoredSession
from resources.database.sync.sync_state import DAMAGED, DISAGREES, Failure, UserToSync
from resources.database.sync.unconfirmed_lists import ListEnd

NOT_LISTED = "The API returns sessions that it does not list, so others may be missing, too."
EXISTS_AFTER_ALL = "The API reported the user as not found, but returned the user when requested directly."
_DAMAGED = "The stages contradict the statistics. They are stored; the next run reads the session once more."

Rows = dict[str, ListedSession]


@dataclass(slots=True, kw_only=True)
class Findings:
    """What was found and is not written yet."""

    rows: list[Row] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)
    completed_times: list[tuple[str, datetime]] = field(default_factory=list)  # of stored sessions, by average-stats
    last_chunks: list[tuple[str, int | None]] = field(default_factory=list)  # of stored sessions that had none
    unconfirmed: list[Failure] = field(default_factory=list)
    """Lists whose end, and sessions whose owner or stages, could not be confirmed: recorded with the next write."""

    def move_to(self, other: "Findings") -> None:
        """Add everything to the other's, and begin anew."""
        for name in Findings.__slots__:
            getattr(other, name).extend(getattr(self, name))
            setattr(self, name, [])


@dataclass(slots=True)
class UserOutcome(Findings):
    """Of one user and window."""

    user: UserToSync
    window: Window
    not_found: set[str] = field(default_factory=set)  # all sessions of this sync that no longer exist
    failures: list[Failure] = field(default_factory=list)
    damaged_ids: set[str] = field(default_factory=set)  # sessions of this sync whose stages contradict their statistics
    gone: bool = False
    unchanged: int = 0
    listed_at: datetime | None = None  # when the list of the window was requested; None while it has not arrived
    list_end: ListEnd | None = None  # how the list of the window ended, when that is to be confirmed
    not_listed: set[str] = field(default_factory=set)  # sessions that average-stats name for this user and no list does
    list_lacked_a_session: bool = False  # a list that was thought to be whole did not name a session that exists
    averaging_formula: AveragingFormula | None = None  # the only one by which the API's averages fit ours
    violations: set[str] = field(default_factory=set)  # fields of average-stats that break the contract
    is_repeated: bool = False  # the user was synced before in this batch, by a list that was cut

    @property
    def failed_session_ids(self) -> set[str]:
        """Sessions that failed before."""
        return {session_id for session_id in self.user.failed if session_id is not None}

    def fail(self, session_id: str | None, error: AsleepError, message: str = "") -> None:
        """Record that a session, or the whole window, could not be synced.

        Args:
            session_id: the session; None for the whole window.
            error: why.
            message: recorded in place of the error's own text; empty for the latter.
        """
        start, end = self.window.span if session_id is None else (None, None)
        failure = Failure(self.user.user_id, session_id, start, end, error.kind, message or str(error), error.raw)
        self.failures.append(failure)

    def disagree(self, session_id: str | None, message: str) -> None:
        """Record that two results of the API, or its averages and ours, contradict each other.

        Args:
            session_id: the session; None for the averages.
            message: names the fields that differ, without their values.
        """
        self.failures.append(Failure(self.user.user_id, session_id, *self.window.span, DISAGREES, message, None))

    def session_is_gone(self, session_id: str, sent_at: datetime) -> None:
        """Note that a session no longer exists.

        Args:
            session_id: the session.
            sent_at: when the request was sent.
        """
        self.deletions.append(Deletion(self.user.user_id, session_id, sent_at))
        self.not_found.add(session_id)


@dataclass(slots=True)
class UserSteps:
    """One user's sync over one window; the modes derive from it."""

    outcome: UserOutcome
    stored: dict[str, StoredSession] = field(default_factory=dict)
    requested: set[str] = field(default_factory=set)  # sessions requested
    listed: Rows = field(default_factory=dict)
    touched: dict[str, date] = field(default_factory=dict)  # sessions read without a list row, and when they began
    existence_was_checked: bool = False

    def _have_read(self, session: SleepSession) -> None:
        """Take a session read in full."""
        raise NotImplementedError

    def _not_found(self, session_id: str, error: SessionGone, sent_at: datetime) -> None:
        """Handle the API's report that a session does not exist; `sent_at` is when it was requested."""
        raise NotImplementedError

    def _known(self) -> set[str]:
        """Sessions that a table or a list names."""
        return self.stored.keys() | self.listed.keys()

    def read(self, session_id: str) -> Steps[None]:
        """Read one session in full."""
        self.requested.add(session_id)
        response = yield from self._request(Endpoint.READ_SESSION, session_id=session_id)
        match response.result:
            case _ if self.outcome.gone:
                return
            case SleepSession() as session:
                self._take(session)
            case SessionGone() as error:
                self._not_found(session_id, error, response.sent_at)
            case AsleepError() as error:
                yield from self._refused(response, error)

    def list_window(self, window: Window, *, until_empty: bool = False) -> Steps[Rows | None]:
        """List the user's sessions.

        Args:
            window: days to list; the list is one day wider on both sides.
            until_empty: read pages until one brings nothing new.

        Returns:
            The rows by session id; None when the list could not be read.
        """
        response = yield from self._request(Endpoint.LIST_SESSIONS, window=window, until_empty=until_empty)
        if self.outcome.gone:
            return None
        if isinstance(response.result, AsleepError):
            yield from self._refused(response, response.result)
        if not isinstance(response.result, SessionList):
            return None
        if window == self.outcome.window:
            self.outcome.listed_at = self.outcome.listed_at or response.sent_at
            self.outcome.list_end = self._end_of(response.result)
        for row in response.result.rows:
            if row.problem is not None:
                self.outcome.fail(None, row.problem)
        return {row.session_id: row for row in response.result.rows if row.problem is None}

    def _list_changed_days(self) -> Steps[None]:
        """List the days of sessions that were read without a list: `last_received_seq_num` stands nowhere else."""
        if self.touched and not self.outcome.gone:
            yield from together(self._list_changed(window) for window in windows_of(self.touched.values()))

    def _note_unchanged(self, session_id: str) -> None:
        """Note the last chunk of a listed session that is not read, when none is stored."""
        if self.stored[session_id].last_received_seq_num is None:
            self.outcome.last_chunks.append((session_id, self.listed[session_id].last_received_seq_num))

    def _note_changed(self, session: SleepSession) -> None:
        """Note a session read in full whose last chunk no list has given."""
        stored = self.stored.get(session.session_id)
        is_chunk_known = stored is not None and stored.last_received_seq_num is not None
        if not is_chunk_known and session.session_id not in self.listed:
            self.touched[session.session_id] = session.session_start_time.date()

    def _full_row(self, session: SleepSession, completed_time: datetime | None = None) -> Row:
        """The table row of a session read in full, with what the list and, if it is given, average-stats add."""
        listed = self.listed.get(session.session_id)
        if listed is None:
            return session_row(session, completed_time=completed_time)
        odd = tuple(f"list.{violation}" for violation in listed.contract_violations)
        session = replace(session, contract_violations=(*session.contract_violations, *odd)) if odd else session
        number = listed.last_received_seq_num
        return session_row(session, last_received_seq_num=number, completed_time=completed_time)

    def _refused(self, response: Response, error: AsleepError) -> Steps[None]:
        """Record what failed; a user reported as not found is requested directly, once.

        When the API refuses the form of a session id that only a webhook event named, no failure is recorded.
        """
        session_id = response.request.session_id
        is_invented = session_id is not None and session_id not in self._known()
        if isinstance(error, UserGone) and not self.existence_was_checked:
            self.existence_was_checked = True
            if (yield from self._user_exists()):
                self.outcome.fail(session_id, error, EXISTS_AFTER_ALL)
        elif not (isinstance(error, IdentifierRefused) and is_invented):
            self.outcome.fail(session_id, error)

    def _user_exists(self) -> Steps[bool]:
        """Request the user directly; False when there is no such user, or no answer."""
        response = yield from self._request(Endpoint.READ_USER)
        match response.result:
            case _ if self.outcome.gone:
                return False
            case UserGone():
                self.outcome.gone = True
                self.outcome.failures.clear()  # they can never be resolved
            case AsleepError() as error:
                self.outcome.fail(None, error)
            case _:
                return True
        return False

    def _request(self, endpoint: Endpoint, **of: Any) -> Steps[Response]:
        """Make one request about this user and wait for its response."""
        response = yield [Request(self.outcome.user.user_id, endpoint, **of)]
        return response

    def _end_of(self, answer: SessionList) -> ListEnd | None:
        """How the list of the window ended; None when it was read until nothing more came.

        An empty list is taken for sure unless it is the user's first: that one is read once more by the next run.
        """
        if not answer.last_page_rows and (answer.rows or self.outcome.user.listed_at is not None):
            return None
        start, end = self.outcome.window.span
        rows, last_id = (len(answer.rows), answer.last_page_rows), answer.last_session_id
        last_start = max((row.session_start_time for row in answer.rows if row.session_start_time), default=None)
        return ListEnd(self.outcome.user.user_id, start, end, *rows, last_id, last_start)

    def _list_changed(self, window: Window) -> Steps[None]:
        rows = (yield from self.list_window(window)) or {}
        found = {i: rows[i].last_received_seq_num for i in self.touched.keys() & rows.keys()}
        self.outcome.last_chunks.extend((i, number) for i, number in sorted(found.items()) if number is not None)

    def _take(self, session: SleepSession) -> None:
        """Take a session read in full; one that cannot be made a row is that session's failure."""
        outcome, session_id = self.outcome, session.session_id
        if stages_contradict(session):
            violations = (*session.contract_violations, "session.sleep_stages: differ from stat")
            session = replace(session, contract_violations=violations)
            if session_id not in outcome.user.damaged_session_ids:  # written with the row: nothing else shows it later
                outcome.damaged_ids.add(session_id)
                failure = Failure(outcome.user.user_id, session_id, None, None, DAMAGED, _DAMAGED, None)
                outcome.unconfirmed.append(failure)
        try:
            self._have_read(session)
        except Exception as error:  # noqa: BLE001 it concerns this session alone
            problem = Malformed(f"the session could not be made a row ({type(error).__name__})", raw=session.raw)
            outcome.fail(session_id, problem)
