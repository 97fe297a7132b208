"""What Dagster loads: `build_definitions`, and `defs` built from the environment."""

from datetime import date, timedelta

import dagster as dg
import structlog
from sqlalchemy.exc import SQLAlchemyError

from assets.average_stats_reconciliation import average_stats_reconciliation
from assets.checks.sql_checks import checks
from assets.export.export import ExportTarget
from assets.external import external_assets
from assets.monthly_averages import monthly_averages
from assets.monthly_report import monthly_report
from assets.ops.batches import SyncOptions
from assets.ops.deleted_users import Retention
from assets.ops.targeted_sync import MetricsOptions
from assets.parquet_export import parquet_export
from assets.partitions import months_from, starting_on
from assets.sleep_metrics import sleep_metrics
from assets.sleep_sessions import sleep_sessions
from assets.users import users
from pipelines import jobs
from pipelines.notifications.alert_sensors import (
    alert_on_api_outage,
    alert_on_run_failure,
    alert_on_silent_webhooks,
    heartbeat,
)
from pipelines.observability import LOGGER, listeners, set_up_logs
from pipelines.runtime.executors import executor_for
from pipelines.runtime.presentation import address_of_database, presented, shown_resource
from pipelines.schedules import (
    daily_report,
    daily_sync,
    hourly_retry,
    monthly_close,
    nightly_clearing,
    weekly_erasure,
    weekly_reconcile,
)
from pipelines.sensors import stale_months_sensor, webhook_inbox
from pipelines.settings import Settings, load_settings, runs_under_dagster_dev
from resources.asleep.resource import AsleepApi
from resources.database.first_day import EARLIEST_DAY, default_first_day, read_first_day
from resources.database.resource import Database
from resources.database.sync.api_accounts import ApiAddresses

ASSETS = (
    users,
    sleep_sessions,
    monthly_averages,
    sleep_metrics,
    average_stats_reconciliation,
    monthly_report,
    parquet_export,
)


def build_definitions(
    settings: Settings, executor: dg.ExecutorDefinition | None = None, *, first_day: date = EARLIEST_DAY
) -> dg.Definitions:
    """Return everything, wired by the settings. Nothing outside is touched until something runs.

    Args:
        settings: the environment.
        executor: where steps run; by default those of DAGSTER_EXECUTOR.
        first_day: of the partitions.
    """
    return dg.Definitions(
        assets=presented([*starting_on(ASSETS, first_day), *external_assets], settings),
        asset_checks=checks,
        jobs=dg.load_definitions_from_modules([jobs]).jobs,
        schedules=[
            daily_sync(settings.recent_days, first_day),
            hourly_retry,
            weekly_reconcile,
            weekly_erasure(settings.erasure_grace_days),
            monthly_close(first_day),
            nightly_clearing,
            daily_report,
        ],
        sensors=[
            stale_months_sensor(months_from(first_day)),
            webhook_inbox(enabled=settings.enable_webhooks),
            alert_on_run_failure(settings),
            alert_on_silent_webhooks(settings),
            alert_on_api_outage(settings),
            heartbeat(settings),
        ],
        executor=executor or executor_for(settings),
        resources=_resources(settings),
    )


def asleep_api_of(settings: Settings) -> AsleepApi:
    """Return the API as the settings describe it."""
    return AsleepApi(
        base_url=settings.asleep_base_url,
        key=settings.calling_key,
        requests_per_second=settings.asleep_requests_per_second,
        max_connections=settings.max_connections,
        timeout_seconds=settings.request_timeout,
        listeners=listeners(settings),
        ca_bundle=settings.ca_bundle,
        proxy=settings.asleep_proxy.get_secret_value() if settings.asleep_proxy else None,
        addresses=ApiAddresses(),
    )


def _resources(settings: Settings) -> dict[str, object]:
    api = asleep_api_of(settings)
    options = SyncOptions(
        user_batch_size=settings.user_batch_size,
        cache_ttl_seconds=settings.cache_ttl_seconds if settings.enable_caching else 0.0,
        detail=settings.sync_detail,
    )
    return {
        "asleep_api": shown_resource(
            api,
            "The Asleep API, behind one rate limit for all processes and machines.",
            base_url=(api.base_url, "ASLEEP_BASE_URL"),
            key=("ASLEEP_API_KEY", "Name of the variable that holds the key"),
            requests_per_second=(api.requests_per_second, "ASLEEP_REQUESTS_PER_SECOND"),
            max_connections=(api.max_connections, "MAX_CONNECTIONS"),
            timeout_seconds=(api.timeout_seconds, "REQUEST_TIMEOUT"),
        ),
        "database": shown_resource(
            Database(settings.require_database_url),
            "Postgres, where everything is stored.",
            address=(address_of_database(settings), "Host, port and database of DATABASE_URL"),
            url=("DATABASE_URL", "Name of the variable that holds the URL with its password"),
        ),
        "sync_options": shown_resource(
            options,
            "Batch size, cache time and detail of a sync.",
            user_batch_size=(options.user_batch_size, "USER_BATCH_SIZE: users of one step"),
            cache_ttl_seconds=(
                options.cache_ttl_seconds,
                "CACHE_TTL_SECONDS: users synced within it are skipped; 0: none",
            ),
            detail=(options.detail, "SYNC_DETAIL: full or statistics"),
        ),
        "retention": Retention(
            erasure_grace=timedelta(days=settings.erasure_grace_days),
            events=timedelta(days=settings.event_retention_days),
        ),
        "export_target": ExportTarget(settings.export_directory),
        "metrics_options": MetricsOptions(free_days=frozenset(settings.free_days)),
    }


def _first_day(settings: Settings) -> date:
    """Return the first day that the database holds. Definitions load without a database, too, for Dagster's tools."""
    if settings.database_url is not None:
        database = Database(settings.require_database_url, application_name="asleep-sync definitions")
        try:
            with database.engine.connect() as connection:
                return read_first_day(connection)
        except SQLAlchemyError:
            structlog.get_logger(LOGGER).warning("The first day cannot be read from the database: taking the default")
        finally:
            database.engine.dispose()
    return settings.first_day or default_first_day()


@dg.definitions
def defs() -> dg.Definitions:
    """The definitions of this environment."""
    settings = load_settings()
    set_up_logs(settings)
    if runs_under_dagster_dev():
        structlog.get_logger(LOGGER).warning(
            "`dagster dev` lets any web page that you open command this UI: use `asleep-sync dev` instead"
        )
    return build_definitions(settings, first_day=_first_day(settings))
