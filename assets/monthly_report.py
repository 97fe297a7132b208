"""The asset `monthly_report`: the month's charts for the asset's page in the UI. `report/` draws them."""

from datetime import UTC, datetime

import dagster as dg

from assets.ops.failures import as_dagster_failure
from resources.database.resource import Database


@dg.asset(
    deps=["monthly_averages"],
    group_name="sleep",
    kinds={"matplotlib"},
    tags={"source": "asleep"},
    owners=["team:data"],
)
def monthly_report(
    context: dg.AssetExecutionContext, database: dg.ResourceParam[Database]
) -> dg.MaterializeResult[None]:
    """The organisation's current month compared with previous months: stages, efficiency, bed times.

    `asleep-sync report` writes the complete report, or one user's report with hypnograms, as an HTML file.
    """
    from assets.report.monthly_report import previews

    month = datetime.now(UTC).date().replace(day=1)
    with as_dagster_failure(context.op_execution_context), database.engine.connect() as connection:
        database.require_migrated()
        pictures = previews(connection, month)
    return dg.MaterializeResult(
        metadata={
            "month": month.isoformat(),
            **{name: dg.MetadataValue.md(picture) for name, picture in pictures.items()},
        }
    )
