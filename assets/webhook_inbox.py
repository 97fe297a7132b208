"""Webhook events from the inbox into the tables.

Lives here: the step that handles what waits and what comes meanwhile, chunk by chunk.  Not here: what an event means
(`webhook_events.py`), the inbox itself, averages.
"""

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy import Engine

from assets.failures import told_to_dagster
from assets.fan_out import fan_out
from assets.shaping import Row, session_row
from assets.sleep_sessions import COUNTED, Tally
from assets.sync_batch import Batch, sync_batch
from assets.webhook_events import Action, Event, decide, read_event, user_to_ask
from assets.window import Window
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, Gone, Malformed, Rejected, RequestRefused, Unavailable
from resources.asleep.events import pseudonym
from resources.asleep.parsing import parse_session_result
from resources.asleep.records import SleepSession
from resources.asleep.resource import AsleepApi
from resources.database import inbox, registry
from resources.database.event_context import KnownSession, known_sessions
from resources.database.inbox import FailedEvent, TakenEvent
from resources.database.resource import Database
from resources.database.upsert import upsert_sessions

EVENTS_AT_ONCE = 200
MOST_EVENTS = 20_000
LONGEST_SECONDS = 300.0
"""Of one run: then it ends and is told of, and the sensor starts the next one."""
LOOK_SECONDS = 1.0
DAYS_LISTED = 7
"""Of a user whose event names no session."""
PAUSE_SECONDS = 60.0
"""Before events are tried again that found the API away."""


@dataclass(slots=True)
class _Chunk:
    """Events taken together: what they ask for, and what has come of it."""

    events: dict[int, Event]
    known: Mapping[str, KnownSession]
    zones: Mapping[str, str]
    """Last known time zones by user."""
    actions: dict[int, Action] = field(default_factory=dict)
    rows: list[Row] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    failed: list[FailedEvent] = field(default_factory=list)
    postponed: list[int] = field(default_factory=list)
    changed: set[str] = field(default_factory=set)
    """Users whose cached list no longer holds."""

    def ids_of(self, *actions: Action) -> list[int]:
        return [event_id for event_id, action in self.actions.items() if action in actions]

    def fail(self, event_id: int, message: str, *, is_hopeless: bool = False) -> None:
        event = self.events[event_id]
        self.failed.append(FailedEvent(event_id, message, event.user_id, event.session_id, is_hopeless))

    def store(self, event_id: int, session: SleepSession) -> None:
        self.rows.append(session_row(session, last_known_zone=self.zones.get(session.user_id)))
        self.changed.add(session.user_id)
        self.done.append(event_id)


class InboxOptions(dg.Config):
    """How long a run stays for more."""

    idle_seconds: float = 0.0
    """It ends when nothing has come for so long, and after five minutes at the latest. Nights end together: a run that
    stays has the next one in the tables within a second, where a run for each would start a process every time."""


@dg.op(out=dg.Out(dg.Nothing), description="Handle the webhook events that are due, and those that come meanwhile.")
def handle_events(
    context: dg.OpExecutionContext,
    config: InboxOptions,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
) -> None:
    """Register the users that events name, store finished sessions, and ask the API for what is not whole."""
    tally, counts = Tally(), Counter[str]()
    with told_to_dagster(context), asleep_api.client(database.engine, tally) as client:
        database.require_migrated()
        for taken in chunks_due(database.engine, config.idle_seconds):
            counts.update(handle_chunk(database.engine, client, taken, context.run_id, asleep_api.max_connections))
            if counts["events"] >= MOST_EVENTS:
                break
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts, **tally.counts()})
    if counts["events_parked"]:
        context.log.error("%d events were given up; a person has to look at them", counts["events_parked"])


def handle_chunk(
    engine: Engine, client: AsleepClient, taken: Sequence[TakenEvent], run_id: str, workers: int
) -> dict[str, int]:
    """Handle events that this process holds; returns counts.

    Raises:
        Rejected: the account is refused; events not handled by then are given back.
    """
    chunk = _read(engine, taken)
    received = {event.event_id: event.received_at for event in taken}
    for event_id in chunk.ids_of(Action.STORE_BODY):
        _store_body(chunk, event_id, received[event_id])
    try:
        _fetch(chunk, client, workers)
        _list_users(chunk, engine, client, run_id, workers)
    except Rejected:
        settled = {*chunk.done, *(failure.event_id for failure in chunk.failed)}
        chunk.postponed = [event_id for event_id in chunk.events if event_id not in settled]
        _write(engine, chunk)
        raise
    return _write(engine, chunk)


def chunks_due(engine: Engine, idle_seconds: float) -> Iterator[list[TakenEvent]]:
    """Events that are due, taken in chunks, until none has come for so long."""
    began = last_came = time.monotonic()
    while time.monotonic() - began < LONGEST_SECONDS:
        with engine.begin() as connection:
            taken = inbox.take_events(connection, EVENTS_AT_ONCE)
        if taken:
            yield taken
            last_came = time.monotonic()
        elif time.monotonic() - last_came >= idle_seconds:
            return
        else:
            time.sleep(min(LOOK_SECONDS, idle_seconds))


def _read(engine: Engine, taken: Sequence[TakenEvent]) -> _Chunk:
    events = {event.event_id: read_event(event.body, event.headers) for event in taken}
    with engine.begin() as connection:
        known = known_sessions(connection, (e.session_id for e in events.values() if e.session_id))
        erased = registry.erased_among(connection, (e.user_id for e in events.values() if e.user_id))
        owners = {session.user_id for session in known.values()}
        zones = registry.zones_of(connection, owners | {e.user_id for e in events.values() if e.user_id})
    chunk = _Chunk(events, known, zones)
    for event in taken:
        read = events[event.event_id]
        if event.is_exhausted:
            chunk.fail(event.event_id, "the last attempt never reported", is_hopeless=True)
            continue
        stored = known.get(read.session_id or "")
        action = decide(read, known=stored, user_is_erased=read.user_id in erased)
        chunk.actions[event.event_id] = action
        if action is Action.PARK:
            chunk.fail(event.event_id, "names no user and no session that is known", is_hopeless=True)
        elif action is Action.KEEP:
            chunk.done.append(event.event_id)
    return chunk


def _store_body(chunk: _Chunk, event_id: int, received_at: datetime) -> None:
    event = chunk.events[event_id]
    assert event.user_id is not None  # noqa: S101 `decide` stores only what names its user
    try:
        session = parse_session_result(event.result, user_id=event.user_id, asked_at=received_at)
    except Malformed:
        chunk.actions[event_id] = Action.FETCH_SESSION
    else:
        chunk.store(event_id, session)


def _fetch(chunk: _Chunk, client: AsleepClient, workers: int) -> None:
    """Ask for each session once, however many events name it."""
    by_session: dict[tuple[str, str], list[int]] = {}
    for event_id in chunk.ids_of(Action.FETCH_SESSION):
        event = chunk.events[event_id]
        user_id = user_to_ask(event, chunk.known.get(event.session_id or ""))
        if user_id is not None and event.session_id is not None:
            by_session.setdefault((user_id, event.session_id), []).append(event_id)
    asked = fan_out(iter(by_session), lambda whose: client.read_session(*whose), workers=workers)
    for whose, answer in asked:
        for event_id in by_session[whose]:
            _take_answer(chunk, event_id, whose[0], answer)


def _take_answer(chunk: _Chunk, event_id: int, user_id: str, answer: SleepSession | Exception) -> None:
    if isinstance(answer, SleepSession):
        chunk.store(event_id, answer)
    elif isinstance(answer, Gone):  # the next sync looks a second time before anything is called deleted
        chunk.changed.add(user_id)
        chunk.done.append(event_id)
    elif isinstance(answer, Unavailable):
        chunk.postponed.append(event_id)
    elif isinstance(answer, Rejected) or not isinstance(answer, AsleepError):
        raise answer
    else:
        chunk.fail(event_id, str(answer), is_hopeless=isinstance(answer, RequestRefused))


def _list_users(chunk: _Chunk, engine: Engine, client: AsleepClient, run_id: str, workers: int) -> None:
    """Events that name a user and no session: sync that user's last days."""
    by_user: dict[str, list[int]] = {}
    for event_id in chunk.ids_of(Action.LIST_USER):
        by_user.setdefault(str(chunk.events[event_id].user_id), []).append(event_id)
    if not by_user:
        return
    with engine.begin() as connection:
        registry.register_users(connection, by_user, "webhook")
    today = datetime.now(UTC).date()
    batch = Batch(
        run_id=run_id,
        number=0,
        of=1,
        window=Window.of_days(today - timedelta(days=DAYS_LISTED - 1), today),
        workers=workers,
        cache_ttl_seconds=0,
        pseudonyms=tuple(pseudonym(user_id) for user_id in by_user),
    )
    sync_batch(engine, client, batch, dict)
    chunk.done.extend(event_id for ids in by_user.values() for event_id in ids)


def _write(engine: Engine, chunk: _Chunk) -> dict[str, int]:
    """One short transaction: users, sessions, and what became of each event."""
    dropped = chunk.ids_of(Action.DROP)
    named = {str(e.user_id) for i, e in chunk.events.items() if e.user_id and i not in dropped and i in chunk.done}
    with engine.begin() as connection:
        new = registry.register_users(connection, named, "webhook")
        written = upsert_sessions(connection, chunk.rows)
        registry.expire_lists(connection, chunk.changed)
        inbox.mark_done(connection, chunk.done)
        inbox.drop_events(connection, dropped)
        parked = inbox.mark_failed(connection, chunk.failed)
        inbox.postpone_events(connection, chunk.postponed, seconds=PAUSE_SECONDS)
    return {
        "events": len(chunk.events),
        "events_done": len(chunk.done),
        "events_dropped": len(dropped),
        "events_failed": len(chunk.failed),
        "events_parked": len(parked),
        "events_postponed": len(chunk.postponed),
        "users_new": len(new),
        "sessions_inserted": written.inserted,
        "sessions_updated": written.updated,
        "sessions_unchanged": written.unchanged,
    }
