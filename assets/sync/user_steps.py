"""What the sync of one user finds, and the steps that every mode shares: list, read sessions, request the user."""

from dataclasses import dataclass, field, replace
from datetime import date, datetime

from assets.sync.api_requests import Endpoint, Request, Response, Steps, is_made_up, together
from assets.sync.comparison import AveragingFormula, stages_contradict
from assets.sync.session_rows import Row, session_row
from assets.sync.window import Window, windows_of
from resources.asleep.errors import AsleepError, Malformed, SessionGone, UserGone
from resources.asleep.records import ListedSession, SessionList, SleepSession
from resources.database.sync.list_cache import ListEnd
from resources.database.sync.stored_sessions import StoredSession
from resources.database.sync.sync_state import DAMAGED, DISAGREES, Deletion, Failure, UserToSync

NOT_LISTED = "The API returns sessions that it does not list, so others may be missing, too."
EXISTS_AFTER_ALL = "The API reported the user as not found, but returned the user when requested directly."

Rows = dict[str, ListedSession]


@dataclass(slots=True)
class UserOutcome:
    """Of one user and window. Rows, deletions, times and chunks are those found since the last write took them."""

    user: UserToSync
    window: Window
    rows: list[Row] = field(default_factory=list)
    deletions: list[Deletion] = field(default_factory=list)
    completed_times: list[tuple[str, datetime]] = field(default_factory=list)
    """When stored sessions were analysed, by average-stats."""
    last_chunks: list[tuple[str, int | None]] = field(default_factory=list)
    """`last_received_seq_num` of stored sessions that had none."""
    not_found: set[str] = field(default_factory=set)
    """All sessions of this sync that no longer exist."""
    failures: list[Failure] = field(default_factory=list)
    damaged: list[Failure] = field(default_factory=list)
    """Sessions whose stages contradict their statistics; written with their rows, since nothing else shows it later."""
    damaged_ids: set[str] = field(default_factory=set)
    """All such sessions of this sync."""
    gone: bool = False
    unchanged: int = 0
    listed_at: datetime | None = None
    """When the list of the window was requested; None while it has not arrived."""
    list_end: ListEnd | None = None
    """How the list of the window ended, when that is to be confirmed."""
    not_listed: set[str] = field(default_factory=set)
    """Sessions that average-stats name for this user and no list does."""
    list_lacked_a_session: bool = False
    """A list that was thought to be whole did not name a session that exists."""
    averaging_formula: AveragingFormula | None = None
    """The only one by which the API's averages of this user agree with ours."""
    violations: set[str] = field(default_factory=set)
    """What average-stats holds that the contract does not allow: names of fields and types."""
    is_repeated: bool = False
    """The user was synced before in this batch, by a list that was cut."""

    @property
    def failed_session_ids(self) -> set[str]:
        """Sessions that failed before."""
        return {session_id for session_id in self.user.failed if session_id is not None}

    def fail(self, session_id: str | None, error: AsleepError, message: str = "") -> None:
        """Record that a session, or without `session_id` the window, could not be synced.

        Args:
            session_id: None for the whole window.
            error: what the API answered.
            message: in place of the error's own.
        """
        self._add(session_id, error.kind, message or str(error), error.raw, has_window=session_id is None)

    def disagree(self, session_id: str | None, message: str) -> None:
        """Record that two answers of the API, or its averages and ours, contradict each other.

        Args:
            session_id: None for the averages.
            message: which fields differ; no values.
        """
        self._add(session_id, DISAGREES, message, None, has_window=True)

    def note_damaged(self, session_id: str) -> None:
        """Record that the stages of a session contradict its statistics: the next run reads it once more."""
        message = "The stages contradict the statistics. They are stored; the next run reads the session once more."
        self.damaged.append(Failure(self.user.user_id, session_id, None, None, DAMAGED, message, None))
        self.damaged_ids.add(session_id)

    def session_is_gone(self, session_id: str, sent_at: datetime) -> None:
        """Note that a session no longer exists.

        Args:
            session_id: the session.
            sent_at: when the request was sent.
        """
        self.deletions.append(Deletion(self.user.user_id, session_id, sent_at))
        self.not_found.add(session_id)

    def user_is_gone(self) -> None:
        """The user no longer exists: its failures can never be resolved."""
        self.gone = True
        self.failures.clear()

    def forget_taken(self) -> None:
        """Begin anew after the scheduler's caller took what was found."""
        self.rows, self.deletions, self.completed_times, self.last_chunks = [], [], [], []
        self.damaged = []

    def _add(self, session_id: str | None, kind: str, message: str, raw: bytes | None, *, has_window: bool) -> None:
        start, end = (self.window.start, self.window.end) if has_window else (None, None)
        self.failures.append(Failure(self.user.user_id, session_id, start, end, kind, message, raw))


@dataclass(slots=True)
class UserSteps:
    """One user's sync over one window; the modes derive from it."""

    outcome: UserOutcome
    stored: dict[str, StoredSession] = field(default_factory=dict)
    requested: set[str] = field(default_factory=set)
    """Sessions requested."""
    listed: Rows = field(default_factory=dict)
    touched: dict[str, date] = field(default_factory=dict)
    """Sessions read in full of which no list row came, and the day on which they began."""
    _existence_was_checked: bool = False

    def request(
        self,
        endpoint: Endpoint,
        *,
        session_id: str | None = None,
        window: Window | None = None,
        until_empty: bool = False,
    ) -> Steps[Response]:
        """Make one request about this user and wait for its response.

        Args:
            endpoint: which call.
            session_id: of a session.
            window: of a list or of averages.
            until_empty: of a list: read until a page brings nothing new.
        """
        response = yield [Request(self.outcome.user.user_id, endpoint, session_id, window, until_empty)]
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

    def list_window(self, window: Window, *, until_empty: bool = False) -> Steps[Rows | None]:
        """The rows of a list, by id; None when it could not be had.

        Args:
            window: which days; the list is one day wider on both sides.
            until_empty: read until a page brings nothing new.
        """
        response = yield from self.request(Endpoint.LIST_SESSIONS, window=window, until_empty=until_empty)
        if self.outcome.gone:
            return None
        if isinstance(response.result, AsleepError):
            yield from self.refused(response, response.result)
        if not isinstance(response.result, SessionList):
            return None
        if window == self.outcome.window:
            self.outcome.listed_at = self.outcome.listed_at or response.sent_at
            self.outcome.list_end = self.end_of(response.result)
        for row in response.result.rows:
            if row.problem is not None:
                self.outcome.fail(None, row.problem)
        return {row.session_id: row for row in response.result.rows if row.problem is None}

    def end_of(self, answer: SessionList) -> ListEnd | None:
        """How the list of the window ended; None when it was read until nothing more came.

        An empty list is taken for sure unless it is the user's first: that one is read once more by the next run.
        """
        window = self.outcome.window
        last_start = max((row.session_start_time for row in answer.rows if row.session_start_time), default=None)
        rows = (len(answer.rows), answer.last_page_rows, answer.last_session_id)
        is_sure = not answer.last_page_rows and (bool(answer.rows) or self.outcome.user.listed_at is not None)
        return None if is_sure else ListEnd(self.outcome.user.user_id, window.start, window.end, *rows, last_start)

    def note_chunk(self, row: ListedSession, stored: StoredSession) -> None:
        """Note the last chunk of a session that is not read, when none is stored.

        Args:
            row: of the list.
            stored: the same session as stored.
        """
        if stored.last_received_seq_num is None:
            self.outcome.last_chunks.append((row.session_id, row.last_received_seq_num))

    def list_changed_days(self) -> Steps[None]:
        """List the days of sessions that were read without a list: `last_received_seq_num` stands nowhere else."""
        if self.touched and not self.outcome.gone:
            yield from together(self.list_changed(window) for window in windows_of(self.touched.values()))

    def list_changed(self, window: Window) -> Steps[None]:
        """Note the last chunks of the sessions touched in a window."""
        rows = yield from self.list_window(window)
        found = {i: rows[i].last_received_seq_num for i in self.touched.keys() & rows.keys()} if rows else {}
        self.outcome.last_chunks.extend((i, number) for i, number in sorted(found.items()) if number is not None)

    def take(self, session: SleepSession) -> None:
        """Take a session read in full; one that cannot be made a row is that session's failure."""
        if stages_contradict(session):
            violations = (*session.contract_violations, "session.sleep_stages: differ from stat")
            session = replace(session, contract_violations=violations)
            if session.session_id not in self.outcome.user.damaged_session_ids:
                self.outcome.note_damaged(session.session_id)
        try:
            self.have_read(session)
        except Exception as error:  # noqa: BLE001 it concerns this session alone
            problem = Malformed(f"the session could not be made a row ({type(error).__name__})", raw=session.raw)
            self.outcome.fail(session.session_id, problem)

    def full_row(self, session: SleepSession, completed_time: datetime | None = None) -> Row:
        """The table row of a session read in full, with what the list adds.

        Args:
            session: as the API returned it.
            completed_time: when it was analysed, by average-stats.
        """
        listed = self.listed.get(session.session_id)
        if listed is None:
            return session_row(session, completed_time=completed_time)
        odd = tuple(f"list.{violation}" for violation in listed.contract_violations)
        session = replace(session, contract_violations=(*session.contract_violations, *odd)) if odd else session
        number = listed.last_received_seq_num
        return session_row(session, last_received_seq_num=number, completed_time=completed_time)

    def have_read(self, session: SleepSession) -> None:
        """Take a session read in full."""
        raise NotImplementedError

    def not_found(self, session_id: str, error: SessionGone, sent_at: datetime) -> None:
        """Take that a session does not exist.

        Args:
            session_id: the session.
            error: what the API answered.
            sent_at: when the request was sent.
        """
        raise NotImplementedError

    def known(self) -> set[str]:
        """Sessions that a table or a list names."""
        return self.stored.keys() | self.listed.keys()

    def note_changed(self, session: SleepSession) -> None:
        """Note a session read in full whose last chunk no list has given."""
        stored = self.stored.get(session.session_id)
        is_chunk_known = stored is not None and stored.last_received_seq_num is not None
        if not is_chunk_known and session.session_id not in self.listed:
            self.touched[session.session_id] = session.session_start_time.date()

    def refused(self, response: Response, error: AsleepError) -> Steps[None]:
        """Record what failed; a user reported as not found is requested directly, once.

        Args:
            response: with the error.
            error: the same, narrowed.
        """
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
