"""Reports whether the process lives, whether it may get traffic, and the state of each dependency.

The answer comes within two seconds whatever the database does. It is found by trying: a connection is used, and an
event is written and rolled back.
"""

import os
import time
from typing import Literal

from datadog.dogstatsd.base import DogStatsd
from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from pipelines.service.database_calls import DatabaseCalls, DatabaseUnavailable, Kept
from pipelines.service.http.http_errors import RETRY_SECONDS
from pipelines.settings import Settings
from resources.database.migrate import NotMigrated, require_migrated
from resources.database.service.inbox import Inbox, IncomingEvent
from resources.database.service.outbox import Outbox
from resources.database.service.queue import QueueCounts
from resources.database.session_settings import DatabaseUnsuitable
from resources.rate_limit.table import read_state

State = Literal["up", "degraded", "down"]

HEALTH_SECONDS = 1.5
"""Deadline for the database. The answer is sent within 2 seconds."""
_KEPT_SECONDS = 1.0
_DELAYED_SECONDS = 900.0
_TRIAL_BYTES = 8 * 1024
"""Of an event written on trial: random, so that it needs pages of its own, as a night does."""
_ORDER: tuple[State, ...] = ("up", "degraded", "down")


class Dependency(BaseModel):
    """One thing that the service needs."""

    model_config = ConfigDict(extra="allow")
    state: State

    def figures(self) -> dict[str, float]:
        """The numbers beside the state."""
        return {name: value for name, value in (self.model_extra or {}).items() if isinstance(value, int | float)}


class Health(BaseModel):
    """The worst state of all dependencies, and each of them."""

    state: State
    dependencies: dict[str, Dependency] = Field(description="By name; figures beside the state")


class Status(BaseModel):
    """One word."""

    status: str


class HealthCheck:
    """Checks the dependencies at most once a second, however many requests come. Belongs to one event loop.

    The deadline of its calls is `HEALTH_SECONDS`.
    """

    def __init__(self, calls: DatabaseCalls, settings: Settings, statsd: DogStatsd | None) -> None:
        self._calls = calls
        self._settings = settings
        self._statsd = statsd
        self._health = Kept(self._read, seconds=_KEPT_SECONDS)

    async def check(self) -> Health:
        """The state of all dependencies, at most a second old."""
        return await self._health.get()

    async def is_ready(self) -> bool:
        """Whether requests and events would be served."""
        found = (await self.check()).dependencies
        needed = ("database", "schema", *(("inbox",) if self._settings.enable_webhooks else ()))
        return all(name in found and found[name].state != "down" for name in needed)

    async def _read(self) -> Health:
        """Check everything; without the database nothing else can be known."""
        started = time.perf_counter()
        try:
            found = await self._calls.run(self._examine)
            milliseconds = round((time.perf_counter() - started) * 1000, 1)
            found["database"] = Dependency.model_validate({"state": "up", "milliseconds": milliseconds})
        except DatabaseUnsuitable as error:
            found = {"database": _down(str(error))}
        except (SQLAlchemyError, DatabaseUnavailable) as error:
            found = {"database": _down(type(error).__name__)}
        worst = max((dependency.state for dependency in found.values()), key=_ORDER.index)
        self._report(found)
        return Health(state=worst, dependencies=found)

    def _examine(self, connection: Connection) -> dict[str, Dependency]:
        try:
            require_migrated(connection)
        except NotMigrated as error:
            return {"schema": _down(str(error))}
        found = {"schema": Dependency(state="up")}
        if self._settings.enable_webhooks:
            found["inbox"] = _queue(Inbox(connection).count())
        if self._settings.notify_url:
            found["notifications"] = _queue(Outbox(connection).count(), is_on=Outbox(connection).is_on())
        found["asleep_api"] = _asleep_api(connection)
        if self._settings.enable_webhooks and (reason := _why_no_event_can_be_stored(connection)) is not None:
            found["inbox"] = _down(f"events cannot be stored ({reason})")
        return found

    def _report(self, found: dict[str, Dependency]) -> None:
        if self._statsd is not None:
            for name, dependency in found.items():
                for figure, value in dependency.figures().items():
                    self._statsd.gauge(f"asleep_sync.{name}.{figure}", value)


def health_routes(health_check: HealthCheck) -> APIRouter:
    """The routes that orchestrators and people request. Each answers GET and HEAD."""
    router = APIRouter()
    not_now = {"Retry-After": {"description": "Seconds", "schema": {"type": "integer", "minimum": 0}}}

    async def live() -> Status:
        """Needs nothing but the process: a failure means restart."""
        return Status(status="live")

    async def ready(response: Response) -> Status:
        """Database reachable and migrated, and events can be stored."""
        is_ready = await health_check.is_ready()
        _set_status(response, is_well=is_ready)
        return Status(status="ready" if is_ready else "not ready")

    async def health(response: Response) -> Health:
        """Each dependency with its state; 503 when one is down, 200 when one is merely degraded."""
        found = await health_check.check()
        _set_status(response, is_well=found.state != "down")
        return found

    for path, answer, model, summary in (
        ("/live", live, None, "Is the process alive?"),
        ("/ready", ready, Status, "May it get traffic?"),
        ("/health", health, Health, "How is each dependency?"),
    ):
        problem = {503: {"model": model, "description": "Not at this moment", "headers": not_now}} if model else {}
        router.add_api_route(path, answer, methods=["GET"], summary=summary, responses=problem)  # type: ignore[arg-type]
        router.add_api_route(path, answer, methods=["HEAD"], include_in_schema=False)
    return router


def _set_status(response: Response, *, is_well: bool) -> None:
    response.status_code = 200 if is_well else 503
    if not is_well:
        response.headers["retry-after"] = str(RETRY_SECONDS)


def _down(reason: str) -> Dependency:
    return Dependency.model_validate({"state": "down", "reason": reason})


def _why_no_event_can_be_stored(connection: Connection) -> str | None:
    """The kind of error that storing an event meets now; None when it can be stored. Nothing stays behind."""
    trial = connection.begin_nested()
    try:
        Inbox(connection).put([IncomingEvent(os.urandom(_TRIAL_BYTES), {})])
    except DBAPIError as error:
        return type(error.orig).__name__
    finally:
        trial.rollback()
    return None


def _asleep_api(connection: Connection) -> Dependency:
    """The state of the shared circuit breaker; a check of the API itself would cost requests."""
    state = next(iter(read_state(connection)), None)
    if state is None:
        return Dependency(state="up")
    circuit, rate = state["circuit"], state["rate_in_force"]
    figures = {"circuit": circuit, "circuit_open": int(circuit != "closed"), "requests_per_second": rate}
    is_well = circuit == "closed" and state["paused_until"] is None
    return Dependency.model_validate({"state": "up" if is_well else "degraded", **figures})


def _queue(counts: QueueCounts, *, is_on: bool = True) -> Dependency:
    is_well = is_on and counts.parked == 0 and counts.oldest_seconds < _DELAYED_SECONDS
    figures = {"waiting": counts.waiting, "oldest_seconds": round(counts.oldest_seconds), "parked": counts.parked}
    return Dependency.model_validate({"state": "up" if is_well else "degraded", **figures})
