"""What Dagster loads.

Lives here: `build_definitions`, and `defs` built from the environment.  Not here: assets, jobs, classes.
"""

import dagster as dg

from assets.checks import checks
from assets.monthly_averages import monthly_averages
from assets.sleep_sessions import SyncOptions, sleep_sessions
from assets.users import users
from pipelines.database_url import find_database_url
from pipelines.jobs import retry_failures, summarise_months, sync_named_users, sync_sleep_sessions
from pipelines.observability import listeners, set_up_logs
from pipelines.schedules import daily_sync
from pipelines.settings import Settings, load_settings
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


def build_definitions(settings: Settings) -> dg.Definitions:
    """Everything, wired by these settings. Nothing outside is touched until something runs."""
    return dg.Definitions(
        assets=[users, sleep_sessions, monthly_averages],
        asset_checks=checks,
        jobs=[sync_sleep_sessions, summarise_months, sync_named_users, retry_failures],
        schedules=[daily_sync(settings.recent_days)],
        executor=dg.multiprocess_executor if settings.dagster_executor == "multiprocess" else dg.in_process_executor,
        resources={
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
        },
    )


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this environment."""
    settings = load_settings()
    set_up_logs(settings)
    return build_definitions(settings)
