"""Events taken together: what each needs, and its outcome."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from sqlalchemy import Engine

from assets.sync.comparison import stages_contradict
from assets.sync.session_rows import Row, session_row
from assets.webhooks.event_decisions import Action, Event, decide, read_event, user_to_request
from resources.asleep.errors import AsleepError, Gone, Malformed, Rejected, RequestRefused, Unavailable
from resources.asleep.parsing.parse_sessions import parse_session_result
from resources.asleep.records import SleepSession
from resources.database.service.inbox import FailedEvent, TakenEvent
from resources.database.sync.stored_sessions import KnownSession, known_sessions
from resources.database.users.registry import Registry

NEWS = (timedelta(days=-7), timedelta(days=1))
"""How far from its arrival a night may begin to be stored from the event's own body: the next syncs list those days and
read the session once more."""
SERVER_ERROR = 500


@dataclass(slots=True)
class Chunk:
    """Events taken together."""

    events: dict[int, Event]
    known: Mapping[str, KnownSession]
    actions: dict[int, Action] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    event_only: list[str] = field(default_factory=list)
    """Sessions among the rows that come from an event's body, or have damaged stages: the next sync reads them."""
    done: list[int] = field(default_factory=list)
    failed: list[FailedEvent] = field(default_factory=list)
    postponed: list[int] = field(default_factory=list)
    to_ask: list[int] = field(default_factory=list)
    """Events that were found to need a request."""
    changed: set[str] = field(default_factory=set)
    """Users whose cached list no longer holds."""

    def ids_of(self, *actions: Action) -> list[int]:
        """Events that need one of these."""
        return [event_id for event_id, action in self.actions.items() if action in actions]

    def fail(self, event_id: int, message: str, *, is_hopeless: bool = False) -> None:
        """Note that an event could not be handled.

        Args:
            event_id: which event.
            message: why, without ids or values.
            is_hopeless: whether trying again cannot help.
        """
        event = self.events[event_id]
        self.failed.append(FailedEvent(event_id, message, event.user_id, event.session_id, is_hopeless))

    def store(self, event_id: int, session: SleepSession) -> None:
        """Note the session that an event brought.

        Args:
            event_id: which event.
            session: as the event's body or the API gave it.
        """
        self.rows.append(session_row(session))
        if stages_contradict(session):
            self.event_only.append(session.session_id)
        self.changed.add(session.user_id)
        self.done.append(event_id)

    def questions(self) -> dict[tuple[str, str], list[int]]:
        """Events by the user and session to request for them."""
        found: dict[tuple[str, str], list[int]] = {}
        for event_id in self.ids_of(Action.FETCH_SESSION):
            event = self.events[event_id]
            user_id = user_to_request(event, self.known.get(event.session_id or ""))
            if user_id is not None and event.session_id is not None:
                found.setdefault((user_id, event.session_id), []).append(event_id)
        return found

    def take(self, event_id: int, user_id: str, answer: SleepSession | Exception) -> None:
        """Note the API's answer about an event's session.

        Args:
            event_id: which event.
            user_id: whose session was requested.
            answer: the session, or the error that the request ended with.
        """
        if isinstance(answer, SleepSession):
            self.store(event_id, answer)
        elif isinstance(answer, Gone):  # the next sync reads it once more before it is marked deleted
            self.changed.add(user_id)
            self.done.append(event_id)
        elif isinstance(answer, Unavailable) and (answer.status or 0) < SERVER_ERROR:
            self.postponed.append(event_id)
        elif isinstance(answer, Rejected) or not isinstance(answer, AsleepError):
            raise answer
        else:
            self.fail(event_id, str(answer), is_hopeless=isinstance(answer, RequestRefused))

    def users_to_register(self) -> set[str]:
        """Users named by events that were handled, or will be: their sessions come with the next sync at the latest."""
        trusted = {*self.done, *(failure.event_id for failure in self.failed if not failure.is_hopeless)}
        return {str(self.events[i].user_id) for i in trusted if self.events[i].user_id is not None}

    def postpone_the_rest(self) -> None:
        """Give back what has no outcome yet."""
        decided = {*self.done, *(failure.event_id for failure in self.failed)}
        self.postponed = [event_id for event_id in self.events if event_id not in decided]


def read_chunk(engine: Engine, taken: Sequence[TakenEvent]) -> Chunk:
    """Find out what events need; whole nights are stored from their bodies, unless the event must ask the API.

    Args:
        engine: the database.
        taken: events that this process holds.
    """
    events = {event.event_id: read_event(event.body, event.headers) for event in taken}
    with engine.begin() as connection:
        known = known_sessions(connection, (e.session_id for e in events.values() if e.session_id))
        erased = Registry(connection).erased_among(e.user_id for e in events.values() if e.user_id)
    chunk = Chunk(events, known)
    mentions = Counter(event.session_id for event in events.values() if event.result is not None)
    for event in taken:
        read = events[event.event_id]
        if event.is_exhausted:
            chunk.fail(event.event_id, "the last attempt never reported", is_hopeless=True)
            continue
        action = decide(read, known=known.get(read.session_id or ""), user_is_erased=read.user_id in erased)
        if action is Action.STORE_BODY:  # several bodies of one session contradict each other
            must_ask = event.must_ask or mentions[read.session_id] > 1
            action = Action.FETCH_SESSION if must_ask or not _store_body(chunk, event, read) else action
        chunk.actions[event.event_id] = action
        if action in {Action.FETCH_SESSION, Action.LIST_USER} and not event.must_ask:
            chunk.to_ask.append(event.event_id)
        if action is Action.PARK:
            chunk.fail(event.event_id, "names no user and no session that is known", is_hopeless=True)
        elif action is Action.KEEP:
            chunk.done.append(event.event_id)
    return chunk


def _store_body(chunk: Chunk, taken: TakenEvent, event: Event) -> bool:
    """Store the night from the event's body, if it can be read and is recent."""
    assert event.user_id is not None  # noqa: S101 `decide` stores only what names its user
    try:
        session = parse_session_result(event.result, user_id=event.user_id, asked_at=taken.received_at)
    except Malformed:
        return False
    if not NEWS[0] <= session.session_start_time - taken.received_at <= NEWS[1]:
        return False
    chunk.store(taken.event_id, session)
    chunk.event_only.append(session.session_id)
    return True
