"""Users deleted at the source: noticed by one request each, erased here after a grace period."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice

import dagster as dg
from sqlalchemy import Engine

from assets.export.export import ExportTarget, refresh
from assets.ops.batches import RequestCounts
from assets.ops.failures import as_dagster_failure
from assets.sync.api_requests import as_value
from assets.sync.batch_state import key_finds_no_user
from assets.sync.scheduler import threads_with_context
from resources.asleep.client import AsleepClient
from resources.asleep.errors import UserGone
from resources.asleep.records import UserProfile
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database
from resources.database.sync.sync_state import SyncState
from resources.database.users.erase import Erasures
from resources.database.users.registry import Registry

USERS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Retention:
    """The Dagster resource `retention`: how long data that should go are kept.

    The values come from the settings, never from a run's configuration: everyone who reaches Dagster's UI can write
    that, and a shorter grace would erase people.
    """

    erasure_grace: timedelta = timedelta(days=30)  # after a user was found gone at the source
    events: timedelta = timedelta(days=30)  # of webhook events that were handled or given up


@dg.op(
    out=dg.Out(dg.Nothing, is_required=False),
    description="Request every user: is it gone, or scheduled for deletion? When the API finds no user at all, no user "
    "is erased: the key may belong to the other environment.",
)
def find_deleted_users(
    context: dg.OpExecutionContext, asleep_api: dg.ResourceParam[AsleepApi], database: dg.ResourceParam[Database]
) -> Iterator[dg.Output[None]]:
    """One request for each user, two for one who is gone; what failed is requested again next time.

    Includes users found deleted before, so that a mistake is corrected before anything is erased; and inactive ones,
    because an erasure at the source concerns them as well.
    """
    tally, counts = RequestCounts(), Counter[str]()
    with as_dagster_failure(context), asleep_api.client(database.engine, tally) as client:
        database.require_migrated()
        with database.engine.connect() as connection:
            users = Registry(connection).presence()
        for start in range(0, len(users), USERS_AT_ONCE):
            chunk = dict(islice(users.items(), start, start + USERS_AT_ONCE))
            found = _find(client, list(chunk), workers=asleep_api.max_connections)
            if not counts["known"] and not any(found.values()) and not all(chunk[user_id] for user_id in found):
                raise key_finds_no_user(len(found))
            counts.update(users=len(chunk), **_note(database.engine, found))
    if counts["known"]:
        yield dg.Output(None, metadata={**counts, **tally.counts()})
    else:
        context.log.warning("The API finds none of the users, so no user is erased; `asleep-sync forget` erases one.")


def _find(client: AsleepClient, user_ids: Sequence[str], *, workers: int) -> dict[str, UserProfile | None]:
    """The users, without those whose request failed; None for one whom neither the user endpoint nor the list finds."""
    today = datetime.now(UTC).date()

    def request(user_id: str) -> object:
        answer = as_value(client.read_user, user_id)
        if not isinstance(answer, UserGone):
            return answer
        listed = as_value(client.list_page, user_id, today, today, offset=0)
        return None if not listed or isinstance(listed, UserGone) else listed

    with threads_with_context(workers) as threads:
        answers = zip(user_ids, threads.map(request, user_ids), strict=True)
        return {user_id: user for user_id, user in answers if user is None or isinstance(user, UserProfile)}


def _note(engine: Engine, found: Mapping[str, UserProfile | None]) -> dict[str, int]:
    known = {user_id: user.to_be_deleted for user_id, user in found.items() if user is not None}
    with engine.begin() as connection:
        for scheduled in (False, True):
            named = [user_id for user_id, to_be_deleted in known.items() if to_be_deleted is scheduled]
            Erasures(connection).note_to_be_deleted(named, scheduled=scheduled)
        back = Registry(connection).note_return(list(known))
        SyncState(connection).users_found(list(known))
        not_found = SyncState(connection).users_not_found([user_id for user_id, user in found.items() if user is None])
    return {
        "known": len(known),
        "to_be_deleted": sum(known.values()),
        "gone": not_found["users_gone"],
        "not_found": not_found["users_not_found"],
        "back": back,
    }


@dg.op(ins={"looked": dg.In(dg.Nothing)}, description="Erase users gone, or to be deleted, for longer than the grace.")
def erase_due_users(
    context: dg.OpExecutionContext,
    database: dg.ResourceParam[Database],
    retention: dg.ResourceParam[Retention],
    export_target: dg.ResourceParam[ExportTarget],
) -> None:
    """Erase each user in a separate transaction, then rewrite exported months; the record keeps a pseudonym."""
    counts: Counter[str] = Counter()
    with as_dagster_failure(context):
        with database.engine.connect() as connection:
            due = Erasures(connection).due(retention.erasure_grace)
        for departed in due:
            with database.engine.begin() as connection:
                counts.update(Erasures(connection).erase(departed.user_id, departed.reason))
        if export_target.directory is not None:
            refresh(database.engine, export_target.directory)
    context.log.info("%d users erased", len(due))
    context.add_output_metadata({"users_erased": len(due), **{f"rows_{table}": n for table, n in counts.items()}})
