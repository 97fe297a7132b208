"""Runs the service for `asleep-sync serve`. Each worker calls the factory `build`."""

import logging
import os
import tempfile

from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import Connection

from pipelines.observability import LOGGER, set_up_logs, statsd_client
from pipelines.service.app import create_app
from pipelines.service.database_watch import DatabaseWatch
from pipelines.service.http.server import serve
from pipelines.service.metrics import SHARED_DIRECTORY
from pipelines.service.options import ServiceOptions
from pipelines.service.served_requests import count_served, report_levels
from pipelines.settings import Settings, load_settings
from resources.rate_limit.table import read_state

FACTORY = "pipelines.service.program:build"


def options_from(settings: Settings) -> ServiceOptions:
    """The service's options, from the environment.

    Raises:
        ValueError: the settings contradict each other, or there is no DATABASE_URL.
    """
    statsd = statsd_client(settings) if settings.enable_metrics else None
    return ServiceOptions(
        database_url=settings.require_database_url(),
        enable_webhooks=settings.enable_webhooks,
        api_keys=tuple(key.get_secret_value() for key in settings.asleep_api_key),
        webhook_secrets=_secrets(settings.webhook_secret),
        service_api_keys=tuple(key.get_secret_value() for key in settings.service_api_keys),
        read_requests_per_hour=settings.service_requests_per_hour,
        session_requests_per_minute=settings.service_sessions_per_minute,
        summary_requests_per_minute=settings.service_summaries_per_minute,
        notify_url=settings.notify_url,
        notify_secret=settings.notify_secret.get_secret_value() if settings.notify_secret else None,
        listeners=(count_served(statsd),) if statsd else (),
        levels=report_levels(statsd) if statsd else None,
        checks={"asleep_api": _asleep_api},
    )


def _secrets(several: SecretStr | None) -> tuple[str, ...]:
    """Secrets separated by commas: while one replaces another, both are accepted."""
    parts = several.get_secret_value().split(",") if several else []
    return tuple(part.strip() for part in parts if part.strip())


def _asleep_api(connection: Connection) -> dict[str, object]:
    """The state of the shared circuit breaker; a check of the API itself would cost requests."""
    states = read_state(connection)
    is_well = not states or (states[0]["circuit"] == "closed" and states[0]["paused_until"] is None)
    if not states:
        return {"state": "up"}
    circuit, rate = states[0]["circuit"], states[0]["rate_in_force"]
    figures = {"circuit": circuit, "circuit_open": int(circuit != "closed"), "requests_per_second": rate}
    return {"state": "up" if is_well else "degraded", **figures}


def build() -> FastAPI:
    """The application of one worker."""
    settings = load_settings()
    set_up_logs(settings)
    uvicorn_log, ours = logging.getLogger("uvicorn"), logging.getLogger(LOGGER)
    uvicorn_log.handlers, uvicorn_log.propagate = ours.handlers, False
    uvicorn_log.setLevel(ours.level)
    return create_app(options_from(settings))


def run_service(settings: Settings, *, host: str, port: int, workers: int) -> None:
    """Serve until SIGTERM or SIGINT, and alert of outages of the database meanwhile.

    Args:
        settings: the environment.
        host: address to listen on.
        port: port to listen on.
        workers: processes.
    """
    set_up_logs(settings)
    DatabaseWatch(settings, host, port).start()
    with tempfile.TemporaryDirectory(prefix="asleep-sync-metrics-") as directory:
        if workers > 1:
            os.environ[SHARED_DIRECTORY] = directory
        serve(FACTORY, host=host, port=port, workers=workers, trusted_proxies=settings.trusted_proxies)
