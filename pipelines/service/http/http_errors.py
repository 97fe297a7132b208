"""Turns errors into HTTP responses: JSON with one field, `detail`, that never repeats what was sent."""

import math
from collections.abc import Mapping

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from pipelines.service.database_calls import DatabaseUnavailable
from resources.database.session_settings import DatabaseUnsuitable

_log = structlog.get_logger("asleep_sync.service")

_UNAVAILABLE = (DatabaseUnavailable, DatabaseUnsuitable, OperationalError, InterfaceError, PoolTimeout)

RETRY_SECONDS = 5
"""When to try again while the database is down."""


class Problem(BaseModel):
    """Why a request was refused."""

    detail: str = Field(description="What is wrong, in words")


class Refused(Exception):
    """The request is refused; `retry_after` is in seconds."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        outcome: str,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.outcome = outcome
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["retry-after"] = str(max(1, math.ceil(retry_after)))


def database_unavailable() -> Refused:
    """The database cannot be used at this moment."""
    reason = "The database is not available; try again."
    return Refused(503, reason, outcome="database_unavailable", retry_after=RETRY_SECONDS)


def problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """The refusals of a route, for the OpenAPI document."""
    found: dict[int | str, dict[str, object]] = {
        status: {"model": Problem, "description": _DESCRIPTIONS[status]} for status in statuses
    }
    for status in {429, 503} & set(statuses):
        found[status]["headers"] = {"Retry-After": number_header("Seconds after which to come back")}
    return found


def number_header(description: str) -> dict[str, object]:
    """A header that holds a whole number, for the OpenAPI document."""
    return {"description": description, "schema": {"type": "integer", "minimum": 0}}


_DESCRIPTIONS = {
    400: "The request cannot be read",
    401: "No valid key, or no valid signature",
    404: "There is no such thing",
    408: "The body took too long to arrive",
    413: "The body is too large",
    422: "A parameter is not valid",
    429: "Too many requests; Retry-After tells when to come back",
    503: "The database is not available, or too much arrives at once; Retry-After gives the pause in seconds",
}


def answer_errors(app: FastAPI) -> None:
    """Let every error become JSON."""
    for kind in (Refused, HTTPException, RequestValidationError, *_UNAVAILABLE, SQLAlchemyError, Exception):
        app.add_exception_handler(kind, _answer)


async def _answer(request: Request, error: Exception) -> JSONResponse:
    refused = _refusal_of(error)
    request.state.outcome = refused.outcome
    if isinstance(error, (*_UNAVAILABLE, SQLAlchemyError)):
        event = f"database_{'failed' if isinstance(error, _UNAVAILABLE) else 'refused'}"
        _log.error(event, kind=type(error).__name__, route=request.scope["path"].split("/")[1])
    return JSONResponse({"detail": refused.detail}, refused.status, refused.headers)


def _refusal_of(error: Exception) -> Refused:
    """The refusal that an error becomes. An error in this program is one by its kind: its text may quote a row."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, HTTPException):
        return Refused(error.status_code, error.detail, outcome="unmatched", headers=error.headers)
    if isinstance(error, RequestValidationError):
        reasons = (f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
        return Refused(422, "; ".join(reasons), outcome="invalid")
    if isinstance(error, _UNAVAILABLE):
        return database_unavailable()
    return Refused(500, "Something went wrong here.", outcome="failed")
