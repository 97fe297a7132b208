"""All batches of a sync one after the other, in a step of their own, for runs that need no chart of batches.

Lives here: that loop.  Not here: the sync of one batch (`sync_batch.py`), which users, which window.
"""

from collections import Counter
from dataclasses import replace
from typing import Any

import dagster as dg

from assets.failures import told_to_dagster
from assets.sleep_sessions import Tally, batch_alone, batches_for
from assets.sync_batch import Batch, sync_batch
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


def sync_batch_after_batch(
    context: dg.OpExecutionContext, asleep_api: AsleepApi, database: Database, like: Batch, *, users_a_batch: int
) -> dict[str, Any]:
    """Sync every registered user as `like` says, `users_a_batch` at a time; returns the counts of all."""
    tally, totals = Tally(), Counter[str]()
    with told_to_dagster(context), asleep_api.client(database.engine, tally) as client:
        batches = batches_for(database, users_a_batch)
        for number in range(batches):
            batch = replace(like, number=number, of=batches)
            with batch_alone(context, database, batch):
                totals.update(sync_batch(database.engine, client, batch, dict))
    return {**totals, **tally.counts()}
