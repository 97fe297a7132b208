"""What Dagster loads.

Lives here: `build_definitions`, and `defs` built from the environment.  Not here: assets, jobs, classes.
"""

import dagster as dg

from assets.checks import checks
from assets.monthly_averages import monthly_averages
from assets.monthly_report import monthly_report
from assets.reconciling import average_stats_reconciliation
from assets.sleep_sessions import SyncOptions, sleep_sessions
from assets.users import users
from pipelines.alerts import tell_a_person
from pipelines.database_url import find_database_url
from pipelines.executors import executor_for
from pipelines.freshness import with_freshness
from pipelines.jobs import (
    clear_away,
    departures,
    fill_stage_arrays,
    process_webhook_events,
    reconcile,
    report_month,
    retry_failures,
    summarise_months,
    sync_named_users,
    sync_sleep_sessions,
)
from pipelines.observability import listeners, set_up_logs
from pipelines.schedules import (
    daily_report,
    daily_sync,
    hourly_retry,
    monthly_close,
    nightly_clearing,
    weekly_departures,
    weekly_reconcile,
)
from pipelines.sensors import months_follow_sessions, waiting_events
from pipelines.settings import Settings, load_settings
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything, wired by these settings. Nothing outside is touched until something runs."""
    return dg.Definitions(
        assets=[
            *map(with_freshness, (users, sleep_sessions, monthly_averages, average_stats_reconciliation)),
            monthly_report,
        ],
        asset_checks=checks,
        jobs=[
            sync_sleep_sessions,
            summarise_months,
            reconcile,
            report_month,
            sync_named_users,
            retry_failures,
            process_webhook_events,
            fill_stage_arrays,
            departures,
            clear_away,
        ],
        schedules=[
            daily_sync(settings.recent_days),
            hourly_retry,
            weekly_reconcile,
            weekly_departures(settings.erasure_grace_days),
            monthly_close,
            nightly_clearing,
            daily_report,
        ],
        sensors=[months_follow_sessions, waiting_events(enabled=settings.enable_webhooks), tell_a_person(settings)],
        executor=executor_for(settings),
        resources=_resources(settings),
    )


def _resources(settings: Settings) -> dict[str, object]:
    return {
        "asleep_api": AsleepApi(
            base_url=settings.asleep_base_url,
            key=settings.calling_key,
            requests_per_second=settings.asleep_requests_per_second,
            max_connections=settings.max_connections,
            timeout_seconds=settings.request_timeout,
            listeners=listeners(settings),
        ),
        "database": Database(lambda: find_database_url(settings)),
        "sync_options": SyncOptions(
            user_batch_size=settings.user_batch_size,
            cache_ttl_seconds=settings.cache_ttl_seconds if settings.enable_caching else 0.0,
            detail=settings.sync_detail,
        ),
    }


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this environment."""
    settings = load_settings()
    set_up_logs(settings)
    return build_definitions(settings)
