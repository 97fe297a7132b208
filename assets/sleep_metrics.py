"""The asset `sleep_metrics`: one row per user and week or month."""

import dagster as dg

from assets.ops.failures import as_dagster_failure
from assets.ops.table_metadata import table_metadata
from assets.ops.targeted_sync import MetricsOptions, recompute_metrics
from resources.database.resource import Database
from resources.database.schema import metrics_table


@dg.asset(
    deps=["sleep_sessions", "monthly_averages"],
    group_name="sleep",
    kinds={"postgres", "pandas"},
    tags={"source": "asleep", "grain": "user_period"},
    owners=["team:data"],
    code_version="1",
    metadata=table_metadata(metrics_table.sleep_metrics),
)
def sleep_metrics(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[Database],
    metrics_options: dg.ResourceParam[MetricsOptions],
) -> dg.MaterializeResult[None]:
    """Metrics of a user's weeks and months: coverage, means and spreads over main sleeps, regularity, social jetlag.

    Computed with pandas for periods whose sessions changed, and for current periods once a day
    (`asleep.sleep_metrics`). Each column's comment gives its definition, source and null rule.
    """
    with as_dagster_failure(context.op_execution_context):
        database.require_migrated()
        counts = recompute_metrics(database.engine, metrics_options)
    return dg.MaterializeResult(metadata=dict(counts))
