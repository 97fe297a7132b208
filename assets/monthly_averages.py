"""The asset `monthly_averages`: one row per user and month of nights.

Does not belong here: arithmetic (`metrics/averages_statement.py`), when it runs.
"""

from datetime import UTC, datetime

import dagster as dg

from assets.metrics.monthly_summary import stale_months, summarise_month
from assets.ops.failures import as_dagster_failure
from assets.ops.table_metadata import AVERAGES_LINEAGE, table_metadata
from assets.partitions import month_key, monthly, months_of
from resources.database.resource import Database
from resources.database.schema import tables

sessions_of_the_month = dg.AssetDep(
    "sleep_sessions", partition_mapping=dg.TimeWindowPartitionMapping(allow_nonexistent_upstream_partitions=True)
)
"""Future days do not exist yet: without this, Dagster refuses every backfill that includes the current month."""


@dg.asset(
    deps=[sessions_of_the_month],
    partitions_def=monthly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="sleep",
    kinds={"postgres", "sql"},
    tags={"source": "asleep", "grain": "user_month"},
    owners=["team:data"],
    code_version="2",
    metadata=table_metadata(tables.monthly_averages),
)
def monthly_averages(
    context: dg.AssetExecutionContext, database: dg.ResourceParam[Database]
) -> dg.MaterializeResult[None]:
    """Averages of a user's finished nights, one row per user and calendar month (`asleep.monthly_averages`).

    A night belongs to the local date of waking up. Columns named as in the API average slept sessions, those that end
    in `_of_night` or `_of_date` valid nights. Durations and counts are means, ratios are sums divided by sums, clock
    times are circular means, so that 23:50 and 00:10 give midnight. The current month is included and changes until it
    ends.

    Only user-months whose sessions changed since the last computation are recomputed; the row of a month that has no
    sessions left is deleted.
    """
    partitions = context.assets_def.partitions_def or monthly
    with as_dagster_failure(context.op_execution_context):
        database.require_migrated()
        with database.engine.connect() as connection:
            stale = stale_months(connection)
        for month in months_of(context.partition_keys, partitions, datetime.now(UTC).date(), stale):
            with database.engine.begin() as connection:
                counts = summarise_month(connection, month)
            if (key := month_key(month)) in context.partition_keys:
                context.add_asset_metadata(counts | AVERAGES_LINEAGE, partition_key=key)
    return dg.MaterializeResult()
