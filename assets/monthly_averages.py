"""Monthly averages, one row per user and local month.

Lives here: the asset and when it follows its sessions.  Not here: arithmetic (`sql/monthly_averages.sql`).
"""

from collections import Counter

import dagster as dg

from assets.failures import told_to_dagster
from assets.monthly_summary import summarise
from assets.partitions import month_of, monthly
from resources.database.resource import Database

when_sessions_changed = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("sessions of the month changed")
"""`eager()` waits for every day of a month and looks at the newest month only; this one does neither."""


@dg.asset(
    deps=["sleep_sessions"],
    partitions_def=monthly,
    backfill_policy=dg.BackfillPolicy.single_run(),
    automation_condition=when_sessions_changed,
    group_name="sleep",
    kinds={"postgres", "sql"},
    tags={"source": "asleep"},
    owners=["team:data"],
)
def monthly_averages(
    context: dg.AssetExecutionContext, database: dg.ResourceParam[Database]
) -> dg.MaterializeResult[None]:
    """Averages of a user's sessions by local calendar month (table `asleep.monthly_averages`).

    Only user-months whose sessions changed since the last time are computed again; a month left without sessions
    disappears.
    """
    counts: Counter[str] = Counter()
    with told_to_dagster(context.op_execution_context):
        database.require_migrated()
        for key in context.partition_keys:
            with database.engine.begin() as connection:
                counts.update(summarise(connection, month_of(key))._asdict())
    return dg.MaterializeResult(metadata={"dagster/row_count": counts["written"] + counts["unchanged"], **counts})
