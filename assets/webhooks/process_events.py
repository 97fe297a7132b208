"""The step that brings webhook events into the tables: what a chunk of events needs, in transactions and requests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import dagster as dg
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from assets.ops.batches import COUNTED, RequestCounts
from assets.ops.failures import as_dagster_failure
from assets.sync.api_requests import as_value
from assets.sync.scheduler import threads_with_context
from assets.sync.sync_batch import Batch, sync_batch
from assets.sync.window import Window
from assets.webhooks.events import Action, Chunk
from assets.webhooks.inbox_loop import Handle, handle_inbox
from resources.asleep.client import AsleepClient
from resources.asleep.errors import Rejected
from resources.asleep.resource import AsleepApi
from resources.database.engine import concerns_every_statement
from resources.database.resource import Database
from resources.database.service.inbox import FailedEvent, Inbox, TakenEvent
from resources.database.sync.stored_sessions import StoredSessions
from resources.database.sync.sync_state import SyncState
from resources.database.sync.upsert import disputed_sessions, upsert_sessions
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym

DAYS_LISTED = 7  # of a user whose event names no session
PAUSE_SECONDS = 60.0  # before events are tried again that the API did not answer


class InboxOptions(dg.Config):
    """What a run handles."""

    idle_seconds: float = 0.0
    """The run ends when no event has come for this long, and after five minutes at the latest. Nights end together: a
    run that stays stores the next one within a second, while a run for each would start a process every time."""
    may_call_api: bool = (
        True  # False while the API refuses the account: then events that need a request stay in the inbox
    )


@dg.op(out=dg.Out(dg.Nothing), description="Handle the webhook events that are due, and those that come meanwhile.")
def handle_events(
    context: dg.OpExecutionContext,
    config: InboxOptions,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
) -> None:
    """Register the users that events name, store finished sessions, and read from the API what is not whole."""
    tally = RequestCounts()
    with as_dagster_failure(context), asleep_api.client(database.engine, tally) as client:
        database.require_migrated()
        handler = EventHandler(database.engine, client, context.run_id, asleep_api.max_connections)
        ask = handler.ask if config.may_call_api else None
        counts = handle_inbox(database.engine, handler.store, ask, idle_seconds=config.idle_seconds)
    context.add_output_metadata({**dict.fromkeys(COUNTED, 0), **counts, **tally.counts()})
    if counts["events_parked"]:
        context.log.error("%d events were given up; a person has to look at them", counts["events_parked"])


@dataclass(frozen=True, slots=True)
class EventHandler:
    """Handles events taken from the inbox. Events that cannot be handled together are handled one by one.

    So none stops the others. `Rejected`, and an outage of the database or a lack of its resources, concern all events
    and are raised.
    """

    engine: Engine
    client: AsleepClient
    run_id: str
    workers: int  # most requests under way at once

    def store(self, taken: Sequence[TakenEvent]) -> Counter[str]:
        """Store what events bring themselves, and mark those that must ask the API; returns counts for the log."""
        return self._one_by_one(self._store, taken)

    def ask(self, taken: Sequence[TakenEvent]) -> Counter[str]:
        """Read from the API what events do not bring, and store it; returns counts for the log.

        Raises:
            Rejected: the API refuses the account; events not handled by then are given back.
        """
        return self._one_by_one(self._ask, taken)

    def _one_by_one(self, handle: Handle, taken: Sequence[TakenEvent]) -> Counter[str]:
        try:
            return handle(taken)
        except Rejected:
            raise
        except Exception as error:  # whatever it is, it is one event's, and stands in its row
            if isinstance(error, DBAPIError) and concerns_every_statement(error):
                raise
            if len(taken) > 1:
                return sum((self._one_by_one(handle, [event]) for event in taken), Counter())
            failure = FailedEvent(taken[0].event_id, f"could not be handled: {type(error).__name__}")
            with self.engine.begin() as connection:
                Inbox(connection).mark_failed([failure])
            return Counter(events_failed=1)

    def _store(self, taken: Sequence[TakenEvent]) -> Counter[str]:
        return self._write(Chunk.read(self.engine, taken))

    def _ask(self, taken: Sequence[TakenEvent]) -> Counter[str]:
        chunk = Chunk.read(self.engine, taken)
        try:
            self._fetch(chunk)
            self._list_users(chunk)
        except Rejected:
            chunk.postpone_the_rest()
            self._write(chunk)
            raise
        return self._write(chunk)

    def _fetch(self, chunk: Chunk) -> None:
        """Request each session once, however many events name it."""
        questions = chunk.questions()
        with threads_with_context(self.workers) as threads:
            answers = threads.map(lambda whose: as_value(self.client.read_session, *whose), questions)
            for (whose, event_ids), answer in zip(questions.items(), answers, strict=True):
                for event_id in event_ids:
                    chunk.take(event_id, whose[0], answer)

    def _list_users(self, chunk: Chunk) -> None:
        """Events that name a user and no session: sync that user's last days."""
        by_user: dict[str, list[int]] = {}
        for event_id in chunk.ids_of(Action.LIST_USER):
            by_user.setdefault(str(chunk.events[event_id].user_id), []).append(event_id)
        if not by_user:
            return
        with self.engine.begin() as connection:
            Registry(connection).register(by_user, "webhook")
        today = datetime.now(UTC).date()
        batch = Batch(
            run_id=self.run_id,
            window=Window.of_days(today - timedelta(days=DAYS_LISTED - 1), today),
            workers=self.workers,
            pseudonyms=tuple(pseudonym(user_id) for user_id in by_user),
        )
        sync_batch(self.engine, self.client, batch, dict)
        chunk.done.extend(event_id for ids in by_user.values() for event_id in ids)

    def _write(self, chunk: Chunk) -> Counter[str]:
        """One short transaction: users, sessions, and what became of each event."""
        dropped = chunk.ids_of(Action.DROP)
        with self.engine.begin() as connection:
            new = Registry(connection).register(chunk.users_to_register(), "webhook")
            registered = Registry(connection).hold(chunk.changed)
            chunk.keep_only(registered, disputed_sessions(connection, chunk.rows))
            written = upsert_sessions(connection, chunk.rows)
            StoredSessions(connection).note_event_only(chunk.event_only)
            SyncState(connection).expire_lists(chunk.changed)
            inbox = Inbox(connection)
            inbox.mark_done(chunk.done)
            inbox.drop(dropped)
            parked = inbox.mark_failed(chunk.failed)
            inbox.give_back(chunk.postponed, seconds=PAUSE_SECONDS)
            inbox.give_back(chunk.to_ask, must_ask=True)
        return Counter(
            events_done=len(chunk.done),
            events_dropped=len(dropped),
            events_failed=len(chunk.failed),
            events_parked=len(parked),
            events_postponed=len(chunk.postponed),
            users_new=len(new),
            **written,
        )
