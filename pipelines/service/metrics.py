"""`/metrics` in Prometheus' text format: requests of all workers, and what the health check and the tables show.

No label holds an id, a pseudonym or a client. StatsD gets the same counts. Alert rules: `deploy`.
"""

import os
from collections.abc import Iterable, Iterator
from contextlib import suppress

from datadog.dogstatsd.base import DogStatsd
from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector
from sqlalchemy.exc import SQLAlchemyError

from pipelines.service.database_calls import DatabaseCalls, DatabaseUnavailable, Kept
from pipelines.service.health import Health, HealthCheck
from pipelines.service.served_requests import Served
from resources.database.service.completeness import Completeness, read_completeness
from resources.database.session_settings import DatabaseUnsuitable

SHARED_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"
"""Variable of prometheus_client: where several workers keep their counts, so that each can report the sum."""
KEPT_SECONDS = 10.0
_COMPLETENESS = {
    "missing_data": "Users and sessions that could not be synced",
    "never_synced_users": "Active users who were never synced",
    "oldest_sync_seconds": "Age of the last complete sync: of the active user who has waited longest",
}


class RequestMetrics:
    """Counts of requests served, by this worker or, with a shared directory, by all workers; StatsD gets them, too."""

    def __init__(self, statsd: DogStatsd | None) -> None:
        self._statsd = statsd
        self._registry = registry = CollectorRegistry()
        labels = ["route", "method", "status", "outcome"]
        self._requests = Counter("asleep_sync_service_requests", "Requests to the service", labels, registry=registry)
        self._seconds = Histogram(
            "asleep_sync_service_request_seconds", "Time to answer a request", ["route"], registry=registry
        )
        self._events = Counter(
            "asleep_sync_webhook_events", "Webhook events received, by what became of them", ["outcome"],
            registry=registry,
        )  # fmt: skip
        self._events.labels("stored")

    def count(self, served: Served) -> None:
        """Count a request."""
        self._requests.labels(served.route, served.method, str(served.status), served.outcome).inc()
        self._seconds.labels(served.route).observe(served.duration_seconds)
        if served.route == "/webhooks/asleep":
            self._events.labels(served.outcome).inc()
        if self._statsd is not None:
            tags = [
                f"route:{served.route}",
                f"method:{served.method}",
                f"status:{served.status}",
                f"outcome:{served.outcome}",
                f"client:{served.client or 'none'}",
            ]
            self._statsd.increment("asleep_sync.service.requests", 1, tags)
            self._statsd.timing("asleep_sync.service.request.duration", served.duration_seconds * 1000, tags[:1])

    def text(self, levels: Iterable[Metric]) -> bytes:
        """The counts, and the levels given, as Prometheus reads them."""
        if SHARED_DIRECTORY in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry = self._registry
        shown = CollectorRegistry()
        shown.register(registry)
        shown.register(_Levels(levels))
        return generate_latest(shown)


class _Levels(Collector):
    def __init__(self, levels: Iterable[Metric]) -> None:
        self._levels = list(levels)

    def collect(self) -> Iterable[Metric]:
        return self._levels


def metrics_routes(metrics: RequestMetrics, health_check: HealthCheck, calls: DatabaseCalls) -> APIRouter:
    """The route that Prometheus requests.

    Args:
        metrics: the counts of this worker.
        health_check: of this application.
        calls: how the tables are read.
    """
    router = APIRouter()

    async def read() -> Completeness | None:
        with suppress(SQLAlchemyError, DatabaseUnavailable, DatabaseUnsuitable):
            return await calls.run(read_completeness)
        return None

    completeness = Kept(read, seconds=KEPT_SECONDS)

    @router.get("/metrics", summary="What does Prometheus show?", response_class=PlainTextResponse)
    async def show_metrics() -> Response:
        """Counts of requests and levels of all dependencies, as text."""
        health = await health_check.check()
        found = await completeness.get() if health.state != "down" else None
        return Response(metrics.text(_levels(health, found)), media_type=CONTENT_TYPE_LATEST)

    return router


def _levels(health: Health, completeness: Completeness | None) -> Iterator[Metric]:
    """Gauges named after dependencies and their figures, as the StatsD ones are."""
    for name, dependency in health.dependencies.items():
        up = f"1 unless {name} is down"
        yield GaugeMetricFamily(f"asleep_sync_{name}_up", up, value=dependency.state != "down")
        for figure, value in dependency.figures().items():
            about = f"{figure} of {name}, as /health shows it"
            yield GaugeMetricFamily(f"asleep_sync_{name}_{figure}", about, value=value)
    if completeness is not None:
        for figure, about in _COMPLETENESS.items():
            yield GaugeMetricFamily(f"asleep_sync_{figure}", about, value=getattr(completeness, figure))
