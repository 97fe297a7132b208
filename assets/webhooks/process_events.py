"""Webhook events from the inbox into the tables.

Lives here: the step that handles what waits and what comes meanwhile, chunk by chunk.  Not here: what a chunk asks for
(`webhook_chunk.py`), the inbox itself, averages.
"""

import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from assets.ops.batches import COUNTED, RequestCounts
from assets.ops.failures import as_dagster_failure
from assets.sync.fan_out import fan_out
from assets.sync.sync_batch import Batch, sync_batch
from assets.sync.window import Window
from assets.webhooks.event_chunk import Chunk, read_chunk
from assets.webhooks.event_decisions import Action
from resources.asleep.client import AsleepClient
from resources.asleep.errors import Rejected
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database
from resources.database.service import inbox
from resources.database.service.inbox import FailedEvent, TakenEvent
from resources.database.sync.event_context import note_event_only
from resources.database.sync.list_cache import expire_lists
from resources.database.sync.upsert import upsert_sessions
from resources.database.users import registry
from resources.pseudonyms import pseudonym

EVENTS_AT_ONCE = 200
MAX_EVENTS = 20_000
MAX_SECONDS = 300.0
"""Of one run: then it ends, and the sensor starts the next one."""
LOOK_SECONDS = 1.0
DAYS_LISTED = 7
"""Of a user whose event names no session."""
PAUSE_SECONDS = 60.0
"""Before events are tried again that found the API away."""


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
    tally, counts = RequestCounts(), Counter[str]()
    with as_dagster_failure(context), asleep_api.client(database.engine, tally) as client:
        database.require_migrated()
        for taken in chunks_due(database.engine, config.idle_seconds):
            counts.update(handle_events_of(database.engine, client, taken, context.run_id, asleep_api.max_connections))
            if counts["events"] >= MAX_EVENTS:
                break
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts, **tally.counts()})
    if counts["events_parked"]:
        context.log.error("%d events were given up; a person has to look at them", counts["events_parked"])


def handle_events_of(
    engine: Engine, client: AsleepClient, taken: Sequence[TakenEvent], run_id: str, workers: int
) -> Counter[str]:
    """Handle events that this process holds, one by one when together they cannot be: one shall not spoil all.

    Raises:
        Rejected: the account is refused; events not handled by then are given back.
    """
    try:
        return handle_chunk(engine, client, taken, run_id, workers)
    except (Rejected, OperationalError, InterfaceError):
        raise
    except Exception as error:  # noqa: BLE001 whatever it is, it is one event's, and stands in its row
        if len(taken) > 1:
            return sum((handle_events_of(engine, client, [event], run_id, workers) for event in taken), Counter())
        [event] = taken
        failure = FailedEvent(event.event_id, f"could not be handled: {type(error).__name__}")
        with engine.begin() as connection:
            inbox.mark_failed(connection, [failure])
        return Counter(events=1, events_failed=1)


def handle_chunk(
    engine: Engine, client: AsleepClient, taken: Sequence[TakenEvent], run_id: str, workers: int
) -> Counter[str]:
    """Handle events together; what needs no question is written before any is asked. Returns counts."""
    chunk = read_chunk(engine, taken)
    counts = _write(engine, chunk) + Counter(events=len(taken))
    if not chunk.ids_of(Action.FETCH_SESSION, Action.LIST_USER):
        return counts
    try:
        _fetch(chunk, client, workers)
        _list_users(chunk, engine, client, run_id, workers)
    except Rejected:
        chunk.postpone_the_rest()
        _write(engine, chunk)
        raise
    return counts + _write(engine, chunk)


def chunks_due(engine: Engine, idle_seconds: float) -> Iterator[list[TakenEvent]]:
    """Events that are due, taken in chunks, until none has come for so long."""
    began = last_came = time.monotonic()
    while time.monotonic() - began < MAX_SECONDS:
        with engine.begin() as connection:
            taken = inbox.take_events(connection, EVENTS_AT_ONCE)
        if taken:
            yield taken
            last_came = time.monotonic()
        elif time.monotonic() - last_came >= idle_seconds:
            return
        else:
            time.sleep(min(LOOK_SECONDS, idle_seconds))


def _fetch(chunk: Chunk, client: AsleepClient, workers: int) -> None:
    """Ask for each session once, however many events name it."""
    questions = chunk.questions()
    asked = fan_out(iter(questions), lambda whose: client.read_session(*whose), workers=workers)
    for whose, answer in asked:
        for event_id in questions[whose]:
            chunk.take(event_id, whose[0], answer)


def _list_users(chunk: Chunk, engine: Engine, client: AsleepClient, run_id: str, workers: int) -> None:
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


def _write(engine: Engine, chunk: Chunk) -> Counter[str]:
    """One short transaction: users, sessions, and what became of each event; what is written is settled."""
    dropped = chunk.ids_of(Action.DROP)
    with engine.begin() as connection:
        new = registry.register_users(connection, chunk.users_to_register(), "webhook")
        registry.hold_registered(connection, chunk.changed)
        written = upsert_sessions(connection, chunk.rows)
        note_event_only(connection, chunk.event_only)
        expire_lists(connection, chunk.changed)
        inbox.mark_done(connection, chunk.done)
        inbox.drop_events(connection, dropped)
        parked = inbox.mark_failed(connection, chunk.failed)
        inbox.postpone_events(connection, chunk.postponed, seconds=PAUSE_SECONDS)
    counts = Counter(
        events_done=len(chunk.done),
        events_dropped=len(dropped),
        events_failed=len(chunk.failed),
        events_parked=len(parked),
        events_postponed=len(chunk.postponed),
        users_new=len(new),
        sessions_inserted=written.inserted,
        sessions_updated=written.updated,
        sessions_unchanged=written.unchanged,
    )
    chunk.begin_anew()
    return counts
