"""Asset checks: each states a truth and is a query that must return no rows.

Lives here: the truths and how grave it is when one does not hold.  Not here: repairs, SQL text.
"""

import dagster as dg

from assets.failures import told_to_dagster
from resources.database.resource import Database
from resources.database.statements import statement


def truth(
    name: str, asset: str, description: str, *, severity: dg.AssetCheckSeverity, blocking: bool = False
) -> dg.AssetChecksDefinition:
    """A check of `asset` named `name`, asked by `sql/check_<name>.sql`: rows of kind, found, since."""

    @dg.asset_check(asset=asset, name=name, description=description, blocking=blocking)
    def check(context: dg.AssetCheckExecutionContext, database: dg.ResourceParam[Database]) -> dg.AssetCheckResult:
        with told_to_dagster(context.op_execution_context), database.engine.connect() as connection:
            rows = connection.execute(statement(f"check_{name}", "assets")).all()
        found = {f"found: {row.kind}": row.found for row in rows}
        metadata = {"found": sum(row.found for row in rows), **found}
        return dg.AssetCheckResult(passed=not rows, severity=severity, metadata=metadata)

    return check


checks = (
    truth(
        "no_session_missing",
        "sleep_sessions",
        "Every user and session asked for was read. While this fails the data have a hole, so the run fails too; "
        "`asleep-sync status` lists the holes, and the next run tries them first.",
        severity=dg.AssetCheckSeverity.ERROR,
        blocking=True,
    ),
    truth(
        "sessions_end_after_they_start",
        "sleep_sessions",
        "No stored session ends before it starts.",
        severity=dg.AssetCheckSeverity.WARN,
    ),
    truth(
        "sessions_belong_to_registered_users",
        "sleep_sessions",
        "Every stored session's user is in the registry.",
        severity=dg.AssetCheckSeverity.ERROR,
    ),
    truth(
        "answers_follow_the_contract",
        "sleep_sessions",
        "The API's answers hold only fields, types and flags that its contract names. Odd ones are kept raw, and "
        "null in the typed column.",
        severity=dg.AssetCheckSeverity.WARN,
    ),
    truth(
        "averages_are_current",
        "monthly_averages",
        "No user-month waits for its averages to be computed.",
        severity=dg.AssetCheckSeverity.WARN,
    ),
)
