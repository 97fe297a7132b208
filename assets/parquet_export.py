"""Parquet and CSV files of the tables."""

import dagster as dg

from assets.export.export import ExportRequest, ExportTarget, export
from assets.ops.failures import as_dagster_failure
from assets.partitions import month_of_key, monthly
from resources.database.resource import Database


@dg.asset(
    deps=["sleep_sessions", "monthly_averages", "sleep_metrics"],
    partitions_def=monthly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="sleep",
    kinds={"parquet", "csv"},
    tags={"source": "asleep"},
    owners=["team:data"],
    code_version="1",
)
def parquet_export(
    context: dg.AssetExecutionContext,
    database: dg.ResourceParam[Database],
    export_target: dg.ResourceParam[ExportTarget],
) -> dg.MaterializeResult[None]:
    """Sessions, nights, monthly averages and metrics as Parquet and CSV in EXPORT_DIRECTORY, one folder per month.

    Only months that changed since the last export are written. Files appear complete or not at all, readable only by
    their owner.
    """
    with as_dagster_failure(context.op_execution_context):
        if export_target.directory is None:
            raise dg.Failure("EXPORT_DIRECTORY is not set: set it to a folder outside of git.", allow_retries=False)
        database.require_migrated()
        months = [month_of_key(key) for key in context.partition_keys]
        exported = export(database.engine, export_target.directory, ExportRequest(months=months))
    return dg.MaterializeResult(metadata={**exported._asdict(), "directory": str(export_target.directory)})
