"""The registry of users to sync, filled by `asleep-sync users import` and webhooks."""

import dagster as dg
from sqlalchemy import func, select

from assets.ops.failures import as_dagster_failure
from assets.ops.table_metadata import table_metadata
from resources.database.resource import Database
from resources.database.schema import tables


@dg.asset(
    deps=["user_sources"],
    group_name="sleep",
    kinds={"postgres"},
    tags={"source": "registry", "grain": "user"},
    owners=["team:data"],
    code_version="1",
    metadata=table_metadata(tables.users),
)
def users(context: dg.AssetExecutionContext, database: dg.ResourceParam[Database]) -> dg.MaterializeResult[None]:
    """Registered users, one row per user (table `asleep.users`).

    The API cannot list users, so this registry determines who is synced. `asleep-sync users import` and webhooks
    fill it. `active` switches the sync of a user on and off; `gone_at` is the time since which the API no longer
    finds the user, whose rows stay until they are erased.
    """
    gone = tables.users.c.gone_at.is_not(None)
    query = select(
        func.count(),
        func.count().filter(tables.users.c.active, ~gone),
        func.count().filter(gone),
        func.count().filter(tables.users.c.to_be_deleted),
    )
    with as_dagster_failure(context.op_execution_context), database.engine.connect() as connection:
        database.require_migrated()
        total, synced, gone_count, to_be_deleted = connection.execute(query).one()
    return dg.MaterializeResult(
        metadata={"dagster/row_count": total, "synced": synced, "gone": gone_count, "to_be_deleted": to_be_deleted}
    )
