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
    503: "The database is not available, or too much arrives at once; Retry-After says when to come back",
}


def answer_errors(app: FastAPI) -> None:
    """Let every error become JSON."""
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(HTTPException, _unmatched)
    app.add_exception_handler(RequestValidationError, _invalid)
    for unavailable in (DatabaseUnavailable, DatabaseUnsuitable, OperationalError, InterfaceError, PoolTimeout):
        app.add_exception_handler(unavailable, _database_failed)
    app.add_exception_handler(SQLAlchemyError, _statement_refused)
    app.add_exception_handler(Exception, _failed)


def _answer(refused: Refused, request: Request) -> JSONResponse:
    request.state.outcome = refused.outcome
    return JSONResponse({"detail": refused.detail}, refused.status, refused.headers)


async def _refused(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Refused)  # noqa: S101 registered for it
    return _answer(error, request)


async def _unmatched(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101 registered for it
    return _answer(Refused(error.status_code, error.detail, outcome="unmatched", headers=error.headers), request)


async def _invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101 registered for it
    reasons = (f"{problem['loc'][-1]}: {problem['msg']}" for problem in error.errors())
    return _answer(Refused(422, "; ".join(reasons), outcome="invalid"), request)


async def _database_failed(request: Request, error: Exception) -> JSONResponse:
    _log.error("database_failed", kind=type(error).__name__, route=request.scope["path"].split("/")[1])
    return _answer(database_unavailable(), request)


async def _statement_refused(request: Request, error: Exception) -> JSONResponse:
    """An error in this program, reported by its kind: the database's message may quote a row."""
    _log.error("database_refused", kind=type(error).__name__, route=request.scope["path"].split("/")[1])
    return _answer(Refused(500, "Something went wrong here.", outcome="failed"), request)


async def _failed(request: Request, error: Exception) -> JSONResponse:  # noqa: ARG001 the server logs it
    return _answer(Refused(500, "Something went wrong here.", outcome="failed"), request)
