"""Is it alive, may it get traffic, and how is each dependency?

Lives here: three routes and the states they tell.  Not here: what to do about it (the runbook).
"""

import threading
import time
from collections.abc import Callable
from typing import Literal

from fastapi import APIRouter, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from pipelines.service.options import ServiceOptions
from resources.database.inbox_care import count_inbox
from resources.database.migrate import NotMigrated, require_migrated
from resources.database.outbox import count_outbox

State = Literal["up", "degraded", "down"]

_KEPT_SECONDS = 1.0
_DELAYED_SECONDS = 900.0
_ORDER: tuple[State, ...] = ("up", "degraded", "down")


class Dependency(BaseModel):
    """One thing that the service needs."""

    model_config = ConfigDict(extra="allow")
    state: State


class Health(BaseModel):
    """The worst state of all dependencies, and each of them."""

    state: State
    dependencies: dict[str, Dependency] = Field(description="By name; figures beside the state")


class Status(BaseModel):
    """One word."""

    status: str


class HealthCheck:
    """Looks at the dependencies, at most once a second however many ask."""

    def __init__(self, engine: Engine, options: ServiceOptions) -> None:
        self._engine = engine
        self._options = options
        self._lock = threading.Lock()
        self._looked_at = float("-inf")
        self._health = Health(state="down", dependencies={})

    def look(self) -> Health:
        """The state of all dependencies, at most a second old."""
        with self._lock:
            if time.monotonic() - self._looked_at > _KEPT_SECONDS:
                found = self._look()
                worst = max((dependency.state for dependency in found.values()), key=_ORDER.index)
                self._health = Health(state=worst, dependencies=found)
                self._looked_at = time.monotonic()
                self._tell(found)
            return self._health

    def _look(self) -> dict[str, Dependency]:
        """Without the database nothing else can be known."""
        started = time.perf_counter()
        try:
            with self._engine.connect() as connection:
                connection.execute(text("SET LOCAL statement_timeout = 5000"))
                found = {"database": Dependency(state="up"), "schema": _schema(connection)}
                found["database"] = Dependency.model_validate(
                    {"state": "up", "milliseconds": round((time.perf_counter() - started) * 1000, 1)}
                )
                if found["schema"].state == "up":
                    found |= {name: check(connection) for name, check in self._checks().items()}
                return found
        except SQLAlchemyError as error:
            return {"database": Dependency.model_validate({"state": "down", "reason": type(error).__name__})}

    def _tell(self, found: dict[str, Dependency]) -> None:
        if self._options.levels is None:
            return
        for name, dependency in found.items():
            for figure, value in (dependency.model_extra or {}).items():
                if isinstance(value, int | float):
                    self._options.levels(name, figure, value)

    def _checks(self) -> dict[str, Callable[[Connection], Dependency]]:
        checks: dict[str, Callable[[Connection], Dependency]] = {}
        if self._options.enable_webhooks:
            checks["inbox"] = _inbox
        if self._options.notify_url:
            checks["notifications"] = _outbox
        for name, check in self._options.checks.items():
            checks[name] = lambda connection, check=check: Dependency.model_validate(check(connection))  # type: ignore[misc]
        return checks


def health_routes(check: HealthCheck) -> APIRouter:
    """The routes that orchestrators and people ask."""
    router = APIRouter()

    @router.get("/live", summary="Is the process alive?")
    async def live() -> Status:
        """Needs nothing but the process: a failure means restart."""
        return Status(status="live")

    @router.get(
        "/ready", summary="May it get traffic?", responses={503: {"model": Status, "description": "Not at this moment"}}
    )
    def ready(response: Response) -> Status:
        """Database reachable and migrated."""
        found = check.look().dependencies
        is_ready = all(name in found and found[name].state == "up" for name in ("database", "schema"))
        response.status_code = 200 if is_ready else 503
        return Status(status="ready" if is_ready else "not ready")

    @router.get(
        "/health", summary="How is each dependency?", responses={503: {"model": Health, "description": "One is down"}}
    )
    def health(response: Response) -> Health:
        """Each dependency with its state; 503 when one is down, 200 when one is merely degraded."""
        found = check.look()
        response.status_code = 503 if found.state == "down" else 200
        return found

    return router


def _schema(connection: Connection) -> Dependency:
    try:
        require_migrated(connection)
    except NotMigrated as error:
        return Dependency.model_validate({"state": "down", "reason": str(error)})
    return Dependency(state="up")


def _inbox(connection: Connection) -> Dependency:
    counts = count_inbox(connection)
    is_well = counts.parked == 0 and counts.oldest_seconds < _DELAYED_SECONDS
    return Dependency.model_validate(
        {
            "state": "up" if is_well else "degraded",
            "waiting": counts.untried + counts.tried,
            "oldest_seconds": round(counts.oldest_seconds),
            "parked": counts.parked,
        }
    )


def _outbox(connection: Connection) -> Dependency:
    counts = count_outbox(connection)
    is_well = counts.is_on and counts.parked == 0 and counts.oldest_seconds < _DELAYED_SECONDS
    return Dependency.model_validate(
        {
            "state": "up" if is_well else "degraded",
            "waiting": counts.waiting,
            "oldest_seconds": round(counts.oldest_seconds),
            "parked": counts.parked,
        }
    )
