"""Sleep sessions, one row per session."""

from typing import Any

import dagster as dg

from assets.ops.session_steps import plan_batches, report_sessions, sync_users
from assets.ops.table_metadata import table_metadata
from assets.partitions import daily
from resources.database.schema import tables


@dg.graph_asset(
    partitions_def=daily,
    backfill_policy=dg.BackfillPolicy.single_run(),
    group_name="sleep",
    kinds={"postgres", "python"},
    ins={
        "registered": dg.AssetIn(key="users", dagster_type=dg.Nothing),
        "api": dg.AssetIn(key="asleep_api", dagster_type=dg.Nothing),
    },
    tags={"source": "asleep", "grain": "session"},
    owners=["team:data"],
    code_version="1",
    metadata=table_metadata(tables.sleep_sessions),
)
def sleep_sessions(registered: Any, api: Any) -> Any:
    """Every sleep session of the registered users, one row per session (table `asleep.sleep_sessions`).

    A partition is a UTC day of session starts. A row holds the latest version of a session: times, the API's 38
    statistics under its names, and the stages as one value per 30 seconds. `deleted_at` marks sessions deleted
    at the source. For nights by local date use the view `asleep.nights`, which contains neither deleted nor
    running sessions.

    A range of days is one run: each user is listed once for the whole range, and only new, unfinished or changed
    sessions are read in full. Repeating a run changes nothing.
    """
    return report_sessions(plan_batches(registered=registered, api=api).map(sync_users).collect())
