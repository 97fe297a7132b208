"""The check `no_session_missing` as a step, for jobs that materialise no sessions."""

from typing import Any

import dagster as dg

from assets.checks.check_rows import rows_of_check
from assets.ops.failures import as_dagster_failure, missing_data_failure
from resources.database.resource import Database


@dg.op(ins={"summarised": dg.In(dg.Nothing)}, description="Fail while a user or session is missing.")
def fail_if_data_missing(context: dg.OpExecutionContext, database: dg.ResourceParam[Database]) -> None:
    """The truth of the check `no_session_missing`, for jobs that materialise no sessions."""
    with as_dagster_failure(context), database.engine.connect() as connection:
        missing: dict[str, Any] = {row.kind: row.found for row in rows_of_check(connection, "no_session_missing")}
    evaluation = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("sleep_sessions"), check_name="no_session_missing", passed=not missing, metadata=missing
    )
    context.instance.report_runless_asset_event(evaluation)
    if missing:
        with database.engine.connect() as connection:
            raise missing_data_failure(connection)
