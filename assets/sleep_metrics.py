"""The asset `sleep_metrics`: one row per user and week or month."""

from datetime import UTC, datetime

import dagster as dg

from assets.ops.failures import as_dagster_failure
from assets.ops.table_metadata import table_metadata
from assets.ops.targeted_sync import MetricsOptions
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
    from assets.metrics.sleep_metrics import compute_metrics  # it loads pandas

    with as_dagster_failure(context.op_execution_context):
        database.require_migrated()
        counts = compute_metrics(database.engine, datetime.now(UTC).date(), metrics_options.free_days)
    return dg.MaterializeResult(metadata=dict(counts._asdict()))
