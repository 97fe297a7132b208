"""What webhook events contain, and what follows: alone, by pure functions, and taken together, with what is stored.

Versions V1 to V3 and both spellings of the outer names are read. What cannot be read in full is read from the API
instead, which always has the last word.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from typing import Any

from sqlalchemy import Engine

from assets.sync.comparison import stages_contradict
from assets.sync.session_rows import Row, session_row
from resources.asleep.errors import AsleepError, Gone, Malformed, RequestRefused, Unavailable
from resources.asleep.identifiers import can_be_sent
from resources.asleep.parsing import parse_session_result
from resources.asleep.records import SleepSession
from resources.database.service.inbox import MAX_ATTEMPTS, FailedEvent, TakenEvent
from resources.database.sync.stored_sessions import KnownSession, StoredSessions
from resources.database.sync.upsert import SESSION_COLUMNS
from resources.database.users.registry import Registry
from resources.json_decoding import decode

NEWS = (timedelta(days=-7), timedelta(days=1))
"""How far from its arrival a night may begin to be stored from the event's own body: the next syncs list those days and
read the session once more."""
SERVER_ERROR = 500
_ID, _USER = SESSION_COLUMNS.index("session_id"), SESSION_COLUMNS.index("user_id")
_WHOLE_RESULT = frozenset({"timezone", "peculiarities", "missing_data_ratio", "session", "stat"})
_WHOLE_SESSION = frozenset(
    {"id", "state", "start_time", "end_time", "created_timezone", "sleep_stages", "breath_stages", "snoring_stages"}
)
_ADDED = frozenset({"user_id", "event", "version", "callback_event", "callback_version", "timestamp"})
"""What webhooks add to the API's result."""


class Action(Enum):
    """What an event needs."""

    STORE_BODY = "store_body"  # write the session from the event's own body
    FETCH_SESSION = "fetch_session"  # read the session from the API
    LIST_USER = "list_user"  # only the user is known: list the user's recent sessions
    KEEP = "keep"  # register the user; otherwise nothing to do
    DROP = "drop"  # the user was erased here: remove the event
    PARK = "park"  # names no user: an operator has to decide


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook event, as far as it can be read."""

    name: str | None  # of what happened, such as SESSION_COMPLETE
    user_id: str | None
    session_id: str | None
    result: dict[str, Any] | None = field(default=None, repr=False)
    """The finished session as section 4 of the contract gives it, only when it is whole and uncontradicted."""


def read_event(body: bytes, headers: Mapping[str, str]) -> Event:
    """Read a body of any version; what is missing or of the wrong type is None, never an error.

    Args:
        body: as received; need not be JSON.
        headers: as received, with names in lower case.
    """
    outer: dict[str, Any] = {}
    with suppress(ValueError):
        outer = _object(decode(body))
    data = _object(outer.get("data", outer.get("callback_data"))) or outer
    result = _object(data.get("sleep_data")) or data
    session = _object(result.get("session"))
    users = _ids(headers.get("x-user-id"), data.get("user_id"), outer.get("user_id"))
    sessions = _ids(session.get("id"), session.get("session_id"), data.get("session_id"), outer.get("session_id"))
    name = outer.get("event", outer.get("callback_event"))
    is_certain = name == "SESSION_COMPLETE" and len(users) == len(sessions) == 1
    certain_and_whole = is_certain and _is_whole(result)
    return Event(
        name=name if isinstance(name, str) else None,
        user_id=_id(data.get("user_id")) or next(iter(users), None),
        session_id=next(iter(sessions), None),
        result={name: result[name] for name in result if name not in _ADDED} if certain_and_whole else None,
    )


def decide(event: Event, *, known: KnownSession | None, user_is_erased: bool) -> Action:
    """Choose the action for an event; when it contradicts what is stored, the session is requested from the API.

    Args:
        event: the event.
        known: the event's session as stored; None when it is not.
        user_is_erased: the event's user was erased from this database.
    """
    if user_is_erased:
        return Action.DROP
    if event.name == "INFERENCE_COMPLETE":
        return Action.KEEP
    if event.user_id is None:
        return Action.FETCH_SESSION if known is not None else Action.PARK
    if event.session_id is None:
        return Action.LIST_USER
    is_news = known is None or not (known.is_final or known.is_deleted or known.user_id != event.user_id)
    return Action.STORE_BODY if event.result is not None and is_news else Action.FETCH_SESSION


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _id(value: Any) -> str | None:
    """The id that a value holds: anything that can be sent as a header and stored, without blanks at its ends."""
    identifier = value.strip() if isinstance(value, str) else ""
    return identifier if can_be_sent(identifier) else None


def _ids(*values: Any) -> dict[str, None]:
    """The different ids among values, in order."""
    return {found: None for value in values if (found := _id(value)) is not None}


def _is_whole(result: dict[str, Any]) -> bool:
    """Whether the result has every part that the API's would have, and the session is finished."""
    session, stat = _object(result.get("session")), result.get("stat")
    return (
        result.keys() >= _WHOLE_RESULT
        and session.keys() >= _WHOLE_SESSION
        and session["state"] == "COMPLETE"
        and isinstance(session["start_time"], str)
        and isinstance(session["end_time"], str)
        and isinstance(result["peculiarities"], list)
        and (stat is None or isinstance(stat, dict))
    )


@dataclass(slots=True)
class Chunk:
    """Events taken together."""

    events: dict[int, Event]
    known: Mapping[str, KnownSession]
    last_attempts: frozenset[int]  # events that are not tried again after this
    actions: dict[int, Action] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    event_only: list[str] = field(default_factory=list)
    """Sessions among the rows that come from an event's body, or have damaged stages: the next sync reads them."""
    done: list[int] = field(default_factory=list)
    failed: list[FailedEvent] = field(default_factory=list)
    postponed: list[int] = field(default_factory=list)
    to_ask: list[int] = field(default_factory=list)  # events that were found to need a request
    changed: set[str] = field(default_factory=set)  # users whose cached list no longer holds

    @classmethod
    def read(cls, engine: Engine, taken: Sequence[TakenEvent]) -> "Chunk":
        """Find out what events need; whole nights are stored from their bodies, unless the event must ask the API.

        Args:
            engine: of the database with the tables.
            taken: events taken from the inbox.
        """
        events = {event.event_id: read_event(event.body, event.headers) for event in taken}
        with engine.begin() as connection:
            known = StoredSessions(connection).known(e.session_id for e in events.values() if e.session_id)
            erased = Registry(connection).erased_among(e.user_id for e in events.values() if e.user_id)
        chunk = cls(events, known, frozenset(event.event_id for event in taken if event.attempts >= MAX_ATTEMPTS))
        mentions = Counter(event.session_id for event in events.values() if event.result is not None)
        for event in taken:
            read = events[event.event_id]
            if event.is_exhausted:
                chunk._fail(event.event_id, "the last attempt never reported", is_hopeless=True)
                continue
            action = decide(read, known=known.get(read.session_id or ""), user_is_erased=read.user_id in erased)
            if action is Action.STORE_BODY:  # several bodies of one session contradict each other
                must_ask = event.must_ask or mentions[read.session_id] > 1
                action = Action.FETCH_SESSION if must_ask or not chunk._store_body(event, read) else action
            chunk.actions[event.event_id] = action
            if action in {Action.FETCH_SESSION, Action.LIST_USER} and not event.must_ask:
                chunk.to_ask.append(event.event_id)
            if action is Action.PARK:
                chunk._fail(event.event_id, "names no user and no session that is known", is_hopeless=True)
            elif action is Action.KEEP:
                chunk.done.append(event.event_id)
        return chunk

    def ids_of(self, *actions: Action) -> list[int]:
        """Events that need one of these."""
        return [event_id for event_id, action in self.actions.items() if action in actions]

    def _fail(self, event_id: int, message: str, *, is_hopeless: bool = False) -> None:
        """Note why an event could not be handled, without ids or values; one that cannot succeed is not tried again."""
        event = self.events[event_id]
        self.failed.append(FailedEvent(event_id, message, event.user_id, event.session_id, is_hopeless))

    def _store(self, event_id: int, session: SleepSession) -> None:
        """Note the session that an event, or the request for it, brought."""
        self.rows.append(session_row(session))
        if stages_contradict(session):
            self.event_only.append(session.session_id)
        self.changed.add(session.user_id)
        self.done.append(event_id)

    def questions(self) -> dict[tuple[str, str], list[int]]:
        """Events by the user and session to request for them.

        The user is the stored owner, so that a false name never makes a session look deleted.
        """
        found: dict[tuple[str, str], list[int]] = {}
        for event_id in self.ids_of(Action.FETCH_SESSION):
            event = self.events[event_id]
            known = self.known.get(event.session_id or "")
            user_id = event.user_id if known is None else known.user_id
            if user_id is not None and event.session_id is not None:
                found.setdefault((user_id, event.session_id), []).append(event_id)
        return found

    def take(self, event_id: int, user_id: str, answer: SleepSession | AsleepError) -> None:
        """Note the result of the request for an event's session.

        Args:
            event_id: the event.
            user_id: the user for whom the session was requested.
            answer: the session, or why it could not be read.
        """
        if isinstance(answer, SleepSession):
            self._store(event_id, answer)
        elif isinstance(answer, Gone) and event_id in self.last_attempts:
            self.changed.add(user_id)  # the next sync reads what is stored once more before it is marked deleted
            self.done.append(event_id)
        elif isinstance(answer, Unavailable) and (answer.status or 0) < SERVER_ERROR:
            self.postponed.append(event_id)
        else:
            self._fail(event_id, str(answer), is_hopeless=isinstance(answer, RequestRefused))

    def keep_only(self, user_ids: Container[str], disputed: Container[str]) -> None:
        """Drop the rows of other users and of disputed sessions; the events of the latter are tried again.

        Args:
            user_ids: registered users.
            disputed: ids of sessions that belong to another user or to two users.
        """
        self.rows = [row for row in self.rows if row[_USER] in user_ids and row[_ID] not in disputed]
        for event_id in [i for i in self.done if self.events[i].session_id in disputed]:
            self.done.remove(event_id)
            self._fail(event_id, "its session is another user's, or of two users")

    def users_to_register(self) -> set[str]:
        """Users named by events that were handled, or will be: their sessions come with the next sync at the latest."""
        trusted = {*self.done, *(failure.event_id for failure in self.failed if not failure.is_hopeless)}
        return {str(self.events[i].user_id) for i in trusted if self.events[i].user_id is not None}

    def postpone_the_rest(self) -> None:
        """Give back what has no outcome yet."""
        decided = {*self.done, *(failure.event_id for failure in self.failed)}
        self.postponed = [event_id for event_id in self.events if event_id not in decided]

    def _store_body(self, taken: TakenEvent, event: Event) -> bool:
        """Store the night from the event's body, if it can be read and is recent."""
        assert event.user_id is not None  # noqa: S101 `decide` stores only what names its user
        try:
            session = parse_session_result(event.result, user_id=event.user_id, asked_at=taken.received_at)
        except Malformed:
            return False
        if not NEWS[0] <= session.session_start_time - taken.received_at <= NEWS[1]:
            return False
        self._store(taken.event_id, session)
        self.event_only.append(session.session_id)
        return True
