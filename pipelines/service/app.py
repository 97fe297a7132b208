"""The service as an ASGI application: its parts, its start and its end."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from datadog.dogstatsd.base import DogStatsd
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from pipelines.observability import statsd_client
from pipelines.service.bounds import Bounds
from pipelines.service.database_calls import DatabaseCalls
from pipelines.service.health import HEALTH_SECONDS, HealthCheck, health_routes
from pipelines.service.http.clients import Clients
from pipelines.service.http.http_errors import answer_errors
from pipelines.service.inbox_writer import InboxWriter
from pipelines.service.metrics import RequestMetrics, metrics_routes
from pipelines.service.read_api import read_routes
from pipelines.service.served_requests import ServedRequests, log_served
from pipelines.service.webhooks import webhook_routes
from pipelines.settings import Settings
from resources.database.engine import make_engine
from resources.database.service.outbox import Outbox
from resources.notifications.sender import Notifier, deliver_due

_log = structlog.get_logger("asleep_sync.notify")

_ABOUT = """Receives Asleep's webhooks into an inbox, answers queries from the tables, and reports its health.

Every answer but `/metrics` is JSON; every refusal has one field, `detail`."""


_BOUNDS = Bounds()


def require_servable(settings: Settings) -> None:
    """Check that the settings do not contradict each other.

    Raises:
        ValueError: names what is missing.
    """
    if settings.enable_webhooks and not settings.asleep_api_key:
        raise ValueError("Webhooks are compared with ASLEEP_API_KEY: set it, or set ENABLE_WEBHOOKS=false.")
    if settings.notify_url and not settings.notify_secret:
        raise ValueError("Notifications are signed: set NOTIFY_SECRET, too, or remove NOTIFY_URL.")


def create_app(settings: Settings, bounds: Bounds = _BOUNDS, statsd: DogStatsd | None = None) -> FastAPI:
    """Put the service together. Nothing is connected before the first request; the database may be down.

    The framework's own traces stay off: they would carry paths with user ids in them.

    Args:
        settings: the environment.
        bounds: of each worker.
        statsd: receives counts and times of requests, and the figures of the dependencies; by default as set.

    Raises:
        ValueError: the settings contradict each other, or there is no DATABASE_URL.
    """
    require_servable(settings)
    if statsd is None and settings.enable_metrics:
        statsd = statsd_client(settings)
    engine = make_engine(settings.require_database_url(), application_name="asleep-sync serve", pool_size=10)
    inbox_calls = DatabaseCalls(engine, seconds=bounds.inbox_seconds, at_once=8, name="inbox")
    read_calls = DatabaseCalls(engine, seconds=bounds.read_seconds, at_once=20, name="read-api")
    health_calls = DatabaseCalls(engine, seconds=HEALTH_SECONDS, at_once=4, name="health")
    inbox = InboxWriter(inbox_calls, seconds=bounds.inbox_seconds)
    clients = Clients(admitted_per_minute=bounds.events_per_minute, refused_per_minute=bounds.refusals_per_minute)

    app = FastAPI(
        title="asleep-sync",
        version=version("asleep-sync"),
        description=_ABOUT,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=lambda _app: _sending(engine, settings, bounds, inbox),
    )
    answer_errors(app)
    if settings.enable_webhooks:
        app.include_router(webhook_routes(settings, bounds, clients, inbox))
    if settings.service_api_keys:
        app.include_router(read_routes(settings, read_calls, clients))
    health_check, metrics = HealthCheck(health_calls, settings, statsd), RequestMetrics(statsd)
    app.include_router(health_routes(health_check))
    app.include_router(metrics_routes(metrics, health_check, health_calls))
    listeners = (log_served, metrics.count)
    app.add_middleware(ServedRequests, listeners=listeners, at_once=bounds.requests_at_once)
    return app


@asynccontextmanager
async def _sending(engine: Engine, settings: Settings, bounds: Bounds, inbox: InboxWriter) -> AsyncIterator[None]:
    """Deliver notifications while the service runs; close what it holds at its end."""
    stopped = threading.Event()
    args = (engine, settings, bounds.notify_every_seconds, stopped)
    sending = threading.Thread(target=_send_notifications, args=args, daemon=True)
    sending.start()
    yield
    stopped.set()
    await inbox.close()
    await run_in_threadpool(sending.join)
    engine.dispose()


def _send_notifications(engine: Engine, settings: Settings, every_seconds: float, stopped: threading.Event) -> None:
    """Deliver what is due every few seconds; several workers share the work. While the database is down, wait."""
    url, secret = settings.notify_url, settings.notify_secret
    notifier = Notifier(url, secret.get_secret_value()) if url and secret else None
    is_switched = False
    while not stopped.is_set():
        is_idle = True
        try:
            if not is_switched:
                with engine.begin() as connection:
                    outbox = Outbox(connection)
                    outbox.turn_on() if notifier else outbox.turn_off()
                is_switched = True
            if notifier is None:
                return
            is_idle = sum(deliver_due(engine, notifier, should_stop=stopped.is_set)) == 0
        except SQLAlchemyError as error:
            _log.warning("outbox_away", kind=type(error).__name__)
        except Exception:  # noqa: BLE001 logged with its trace, and tried again
            # A mistake of ours must not end the deliveries of a whole process: what was claimed comes back.
            _log.exception("notifying_failed")
        if is_idle:
            stopped.wait(every_seconds)
    if notifier is not None:
        notifier.close()
