"""The service as an ASGI application: its parts, its start and its end."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import structlog
from fastapi import FastAPI
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from pipelines.service.database_calls import DatabaseCalls
from pipelines.service.health import HEALTH_SECONDS, HealthCheck, health_routes
from pipelines.service.http.clients import Clients
from pipelines.service.http.http_errors import answer_errors
from pipelines.service.inbox_writer import InboxWriter
from pipelines.service.metrics import RequestMetrics, metrics_routes
from pipelines.service.options import ServiceOptions
from pipelines.service.read_api import read_routes
from pipelines.service.served_requests import ServedRequests, log_served
from pipelines.service.webhooks import webhook_routes
from resources.database.engine import make_engine
from resources.database.service.outbox import Outbox
from resources.notifications.sender import Notifier, deliver_due

_log = structlog.get_logger("asleep_sync.notify")

_ABOUT = """Receives Asleep's webhooks into an inbox, answers queries from the tables, and reports its health.

Every answer but `/metrics` is JSON; every refusal has one field, `detail`."""


def create_app(options: ServiceOptions) -> FastAPI:
    """Put the service together. Nothing is connected before the first request; the database may be down.

    The framework's own traces stay off: they would carry paths with user ids in them.
    """
    engine = make_engine(options.database_url, application_name="asleep-sync serve", pool_size=10)
    inbox_calls = DatabaseCalls(engine, seconds=options.inbox_seconds, at_once=8, name="inbox")
    read_calls = DatabaseCalls(engine, seconds=options.read_seconds, at_once=20, name="read-api")
    health_calls = DatabaseCalls(engine, seconds=HEALTH_SECONDS, at_once=4, name="health")
    inbox = InboxWriter(inbox_calls, seconds=options.inbox_seconds)
    clients = Clients(admitted_per_minute=options.events_per_minute, refused_per_minute=options.refusals_per_minute)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        stopped = threading.Event()
        sending = threading.Thread(target=_send_notifications, args=(engine, options, stopped), daemon=True)
        sending.start()
        yield
        stopped.set()
        await inbox.close()
        await run_in_threadpool(sending.join)
        engine.dispose()

    app = FastAPI(
        title="asleep-sync",
        version=version("asleep-sync"),
        description=_ABOUT,
        telemetry={"tracing": False, "metrics": False, "logs": False},
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    answer_errors(app)
    if options.enable_webhooks:
        app.include_router(webhook_routes(options, clients, inbox))
    if options.service_api_keys:
        app.include_router(read_routes(options, read_calls, clients))
    health_check, metrics = HealthCheck(health_calls, inbox, options), RequestMetrics(options.statsd)
    app.include_router(health_routes(health_check))
    app.include_router(metrics_routes(metrics, health_check, health_calls))
    listeners = (log_served, metrics.count)
    app.add_middleware(ServedRequests, listeners=listeners, at_once=options.requests_at_once)
    return app


def _send_notifications(engine: Engine, options: ServiceOptions, stopped: threading.Event) -> None:
    """Deliver what is due every few seconds; several workers share the work. While the database is down, wait."""
    url, secret = options.notify_url, options.notify_secret
    notifier = Notifier(url, secret) if url and secret else None
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
            stopped.wait(options.notify_every_seconds)
    if notifier is not None:
        notifier.close()
