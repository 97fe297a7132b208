"""Users who leave: noticed at the source, erased here after a grace.

Lives here: asking about each user, and the erasures that are due.  Not here: what belongs to a user
(`resources.database.erase`), when it runs.
"""

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

import dagster as dg
from sqlalchemy import Engine

from assets.failures import told_to_dagster
from assets.fan_out import fan_out
from assets.sleep_sessions import Tally
from assets.work import refuse_a_key_that_sees_nobody
from resources.asleep.client import AsleepClient
from resources.asleep.errors import AsleepError, UserGone
from resources.asleep.records import UserProfile
from resources.asleep.resource import AsleepApi
from resources.database import sync_state
from resources.database.erase import due_for_erasure, erase, note_to_be_deleted
from resources.database.registry import active_users
from resources.database.resource import Database

USERS_AT_ONCE = 500


class Grace(dg.Config):
    """How long data of a user gone at the source are kept."""

    days: int = 30


@dg.op(out=dg.Out(dg.Nothing), description="Ask the API about every active user: gone, or to be deleted?")
def look_for_departures(
    context: dg.OpExecutionContext, asleep_api: dg.ResourceParam[AsleepApi], database: dg.ResourceParam[Database]
) -> None:
    """One request for each user, two for one who is gone; what could not be asked is asked again next time."""
    tally, counts = Tally(), Counter[str]()
    with told_to_dagster(context), asleep_api.client(database.engine, tally) as client:
        database.require_migrated()
        with database.engine.connect() as connection:
            users = active_users(connection)
        for start in range(0, len(users), USERS_AT_ONCE):
            chunk = users[start : start + USERS_AT_ONCE]
            counts.update(_look(client, database.engine, chunk, workers=asleep_api.max_connections))
    context.add_output_metadata({**counts, **tally.counts()})


def _look(client: AsleepClient, engine: Engine, user_ids: Sequence[str], *, workers: int) -> Counter[str]:
    staying, leaving, gone = list[str](), list[str](), list[str]()
    suspected: list[str] = []
    for asked, missing in ((user_ids, suspected), (suspected, gone)):  # nobody is gone on the word of one answer
        for user_id, answer in fan_out(iter(asked), client.read_user, workers=workers):
            if isinstance(answer, UserProfile):
                (leaving if answer.to_be_deleted else staying).append(user_id)
            elif isinstance(answer, UserGone):
                missing.append(user_id)
            elif not isinstance(answer, AsleepError) or answer.stops_everything:
                raise answer
    if not staying and not leaving:
        refuse_a_key_that_sees_nobody(gone=len(gone))
    with engine.begin() as connection:
        note_to_be_deleted(connection, staying, scheduled=False)
        note_to_be_deleted(connection, leaving, scheduled=True)
        sync_state.users_gone(connection, gone)
    answered = len(staying) + len(leaving) + len(gone)
    return Counter(
        users=len(user_ids), to_be_deleted=len(leaving), gone=len(gone), not_answered=len(user_ids) - answered
    )


@dg.op(ins={"looked": dg.In(dg.Nothing)}, description="Erase users gone, or to be deleted, for longer than the grace.")
def erase_departed(context: dg.OpExecutionContext, config: Grace, database: dg.ResourceParam[Database]) -> None:
    """Each user in a transaction of their own; the record keeps a pseudonym and numbers."""
    counts: Counter[str] = Counter()
    with told_to_dagster(context):
        with database.engine.connect() as connection:
            due = due_for_erasure(connection, timedelta(days=config.days))
        for departed in due:
            with database.engine.begin() as connection:
                counts.update(erase(connection, departed.user_id, departed.reason))
    context.log.info("%d users erased", len(due))
    context.add_output_metadata({"users_erased": len(due), **{f"rows_{table}": n for table, n in counts.items()}})
