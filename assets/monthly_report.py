"""The month in pictures, for the asset's page in the UI.

Lives here: the asset.  Not here: drawing (`report/`), the HTML report (`asleep-sync report`).
"""

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
    """The organisation's current month against the months before: stages, efficiency, bed times.

    The whole report, also of one user with hypnograms, is an HTML file: `asleep-sync report`.
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
