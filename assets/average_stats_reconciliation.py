"""The API as witness: what is stored, held against average-stats once a week.

Lives here: the asset that reports it, and its batches.  Not here: the comparison (`statistics_sync.py`, `witness.py`).
"""

from datetime import UTC, datetime, timedelta

import dagster as dg

from assets.ops.batches import API_POOL, SyncOptions, sync_batch_after_batch
from assets.sync.statistics_sync import MAX_DAYS
from assets.sync.sync_batch import Batch, Mode
from assets.sync.window import Window
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


class Reconciliation(dg.Config):
    """Which days to hold against average-stats; 98 days and the day on each side are one request a user."""

    last_day: str | None = None
    days: int = MAX_DAYS - 2
    users: list[str] | None = None


@dg.asset(
    deps=["asleep_api", "sleep_sessions", "monthly_averages"],
    pool=API_POOL,
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
    batch = Batch(
        run_id=context.run.run_id,
        number=0,
        of=1,
        window=window,
        workers=asleep_api.max_connections,
        cache_ttl_seconds=0,
        pseudonyms=None if config.users is None else tuple(config.users),
        mode=Mode.RECONCILE,
    )
    counts = sync_batch_after_batch(
        context.op_execution_context, asleep_api, database, batch, users_a_batch=sync_options.user_batch_size
    )
    return dg.MaterializeResult(metadata=counts)
