"""The API as witness: what is stored, held against average-stats once a week.

Lives here: the asset that reports it, and its batches.  Not here: the comparison (`statistics_sync.py`, `witness.py`).
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.failures import told_to_dagster
from assets.sleep_sessions import ASKING_POOL, SyncOptions, Tally
from assets.statistics_sync import MOST_DAYS
from assets.sync_batch import Batch, Mode, sync_batch
from assets.window import Window
from resources.asleep.resource import AsleepApi
from resources.database import sync_state
from resources.database.resource import Database


class Reconciliation(dg.Config):
    """Which days to hold against average-stats; 98 days and the day on each side are one request a user."""

    last_day: str | None = None
    days: int = MOST_DAYS - 2
    users: list[str] | None = None


@dg.asset(
    deps=["sleep_sessions", "monthly_averages"],
    pool=ASKING_POOL,
    group_name="sleep",
    kinds={"postgres", "python"},
    tags={"source": "asleep"},
    owners=["team:data"],
)
def average_stats_reconciliation(
    context: dg.AssetExecutionContext,
    config: Reconciliation,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
    sync_options: dg.ResourceParam[SyncOptions],
) -> dg.MaterializeResult[None]:
    """Every user's statistics and averages of the last 98 days, compared with the API's own.

    Sessions analysed again, changed or deleted since they were stored are read again. What still disagrees is
    recorded as a failure of kind `disagrees`.
    """
    today = datetime.fromisoformat(config.last_day).date() if config.last_day else datetime.now(UTC).date()
    window = Window.of_days(today - timedelta(days=config.days - 1), today)
    tally, totals = Tally(), Counter[str]()
    with (
        told_to_dagster(context.op_execution_context),
        asleep_api.client(database.engine, tally) as client,
    ):
        database.require_migrated()
        with database.engine.connect() as connection:
            users = sync_state.count_users(connection)
        batches = max(1, -(-users // sync_options.user_batch_size))
        for number in range(batches):
            batch = Batch(
                run_id=context.run.run_id,
                number=number,
                of=batches,
                window=window,
                workers=asleep_api.max_connections,
                cache_ttl_seconds=0,
                pseudonyms=None if config.users is None else tuple(config.users),
                mode=Mode.RECONCILE,
            )
            totals.update(sync_batch(database.engine, client, batch, dict))
    return dg.MaterializeResult(metadata={**totals, **tally.counts()})
