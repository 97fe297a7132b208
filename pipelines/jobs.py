"""Jobs: selections of assets, and the steps that sync some users only."""

from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets.checks.sql_checks import fail_if_data_missing
from assets.ops.deleted_users import erase_due_users, find_deleted_users
from assets.ops.targeted_sync import fail_if_users_failed, summarise_stale_months, sync_some_users
from assets.partitions import day_key
from assets.webhooks.process_events import handle_events
from pipelines.runtime.retention import remove_old_rows, remove_old_runs
from resources.database.first_day import EARLIEST_DAY


def op_config(op: str, **config: object) -> dict[str, Any]:
    """Return the run config of one op."""
    return {"ops": {op: {"config": config}}}


def retry_config() -> dict[str, Any]:
    """Return the run config of `retry_failures`: what failed, over the window that failed, up to today."""
    today = day_key(datetime.now(UTC).date())
    return op_config("sync_some_users", first_day=today, last_day=today, failed_only=True)


sync_sleep_sessions = dg.define_asset_job(
    "sync_sleep_sessions",
    owners=["team:data"],
    selection=dg.AssetSelection.assets("users", "sleep_sessions"),
    description="List every registered user's sessions of the selected days, and store new and changed ones.",
)

summarise_months = dg.define_asset_job(
    "summarise_months",
    owners=["team:data"],
    selection=dg.AssetSelection.assets("monthly_averages", "sleep_metrics"),
    description="Recompute averages of the selected months, and metrics of weeks and months, whose sessions changed.",
)

reconcile = dg.define_asset_job(
    "reconcile",
    owners=["team:data"],
    selection=dg.AssetSelection.assets("average_stats_reconciliation"),
    description="Compare stored data with the API's own statistics and averages, and read again what differs.",
)

report_month = dg.define_asset_job(
    "report_month",
    owners=["team:data"],
    selection=dg.AssetSelection.assets("monthly_report"),
    description="Draw charts that compare the current month with previous months.",
)


@dg.graph
def sync_some() -> None:
    """Sync some users, bring their averages up to date, and fail while anything is missing."""
    fail_if_data_missing(summarise_stale_months(sync_some_users()))


@dg.job(owners=["team:data"])
def sync_named_users() -> None:
    """Sync the named users (by pseudonym) over the whole window; no partition is marked as materialized."""
    fail_if_users_failed(summarise_stale_months(sync_some_users()))


retry_failures = sync_some.to_job(
    name="retry_failures",
    owners=["team:data"],
    description="Retry every user and session that could not be synced, over the window that failed.",
)


@dg.job(owners=["team:data"])
def process_webhook_events() -> None:
    """Handle waiting webhook events, and bring the averages of their months up to date."""
    summarise_stale_months(handle_events())


fill_stage_arrays = sync_some.to_job(
    name="fill_stage_arrays",
    owners=["team:data"],
    description="Read the stages of sessions stored from statistics only (SYNC_DETAIL=statistics): one request "
    "per session, without listing. Lower priority than every other job.",
    tags={"dagster/priority": "-1"},
    config=op_config(
        "sync_some_users", first_day=day_key(EARLIEST_DAY), last_day=day_key(EARLIEST_DAY), stages_only=True
    ),
)


@dg.job(owners=["team:data"])
def erase_deleted_users() -> None:
    """Find users deleted or to be deleted at the source; erase them here when their grace period is over."""
    erase_due_users(find_deleted_users())


@dg.job(owners=["team:data"])
def delete_old_records() -> None:
    """Delete old records of runs and handled events; data and asset history stay."""
    remove_old_rows()
    remove_old_runs()
