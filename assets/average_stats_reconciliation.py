"""The weekly comparison of stored data with the API's own statistics and averages.

Does not belong here: the comparison itself (`assets.sync.statistics_sync`, `assets.sync.comparison`).
"""

from datetime import UTC, date, datetime, timedelta

import dagster as dg
from pydantic import Field

from assets.ops.batches import API_POOL, SyncOptions, sync_batch_after_batch
from assets.ops.targeted_sync import MetricsOptions, recompute_what_is_stale
from assets.sync.statistics_sync import MAX_DAYS
from assets.sync.sync_batch import Batch, Mode
from assets.sync.window import Window
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database
from resources.database.sync.api_accounts import known_account


class Reconciliation(dg.Config):
    """Which days to hold against average-stats; 98 days and the day on each side are one request a user."""

    last_day: str | None = None
    days: int = Field(MAX_DAYS - 2, ge=1)
    users: list[str] | None = None


@dg.asset(
    deps=["asleep_api", "sleep_sessions", "monthly_averages"],
    pool=API_POOL,
    group_name="sleep",
    kinds={"postgres", "python"},
    tags={"source": "asleep"},
    owners=["team:data"],
)
def average_stats_reconciliation(  # noqa: PLR0913, PLR0917 Dagster hands resources over as arguments
    context: dg.AssetExecutionContext,
    config: Reconciliation,
    asleep_api: dg.ResourceParam[AsleepApi],
    database: dg.ResourceParam[Database],
    sync_options: dg.ResourceParam[SyncOptions],
    metrics_options: dg.ResourceParam[MetricsOptions],
) -> dg.MaterializeResult[None]:
    """Every user's statistics and averages of the last 98 days, compared with the API's own.

    Sessions re-analysed, changed or deleted since they were stored are read again, and the averages of their months
    are recomputed. Remaining differences are recorded as failures of kind `disagrees`, and this asset fails. The
    contract does not define how the API averages ratios: the formula that fits most users is used for all, and the
    metadata name it.
    """
    try:
        last_day = date.fromisoformat(config.last_day) if config.last_day else datetime.now(UTC).date()
    except ValueError:
        message = "last_day in the run config: write a date as YYYY-MM-DD. No request was made."
        raise dg.Failure(message, allow_retries=False) from None
    window = Window.of_days(last_day - timedelta(days=config.days - 1), last_day)
    batch = Batch(
        run_id=context.run.run_id,
        window=window,
        workers=asleep_api.max_connections,
        pseudonyms=None if config.users is None else tuple(config.users),
        mode=Mode.RECONCILE,
    )
    counts = sync_batch_after_batch(
        context.op_execution_context, asleep_api, database, batch, users_a_batch=sync_options.user_batch_size
    )
    recompute_what_is_stale(context.op_execution_context, database, metrics_options)
    with database.engine.connect() as connection:
        counts["averaging_formula"] = known_account(connection, asleep_api.account).averaging_formula or "not known"
    if counts.get("failures"):
        raise dg.Failure(
            f"{counts['failures']} users or sessions could not be read, or still differ from the API's own figures. "
            "`asleep-sync status` lists them; the next run tries them first.",
            metadata=counts,
            allow_retries=False,
        )
    return dg.MaterializeResult(metadata=counts)
