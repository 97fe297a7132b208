"""One request and one answer, without any transport."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote_plus

import orjson


@dataclass(slots=True)
class Request:
    """An HTTP request; header names are lower case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    arrived: float
    """Monotonic seconds."""

    def json(self) -> dict[str, Any]:
        """The body as a JSON object; an empty body is an empty object."""
        found = orjson.loads(self.body) if self.body else {}
        if not isinstance(found, dict):
            raise ApiError(422, "a JSON object is expected")
        return found


@dataclass(frozen=True, slots=True)
class Delivery:
    """How an answer travels: `whole`, `reset`, `never`, `drip`, `truncated`, `late_body` or `raw`."""

    manner: str = "whole"
    seconds: float = 0.0
    interim: tuple[int, ...] = ()
    """Statuses of interim responses that precede the answer."""
    raw: bytes = b""
    """For `raw`: every byte that is sent, head included."""


WHOLE = Delivery()


@dataclass(slots=True)
class Response:
    """An HTTP answer; `chunks`, when given, are sent instead of `body` as they come."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: dict[str, str] = field(default_factory=dict)
    chunks: Iterator[bytes] | None = None
    delivery: Delivery = WHOLE
    work: Callable[[], "Response"] | None = None
    """When given, the answer is what this returns; it may block and runs in a thread."""


class ApiError(Exception):
    """An answer of the API that is not a success."""

    def __init__(self, status: int, detail: Any) -> None:
        super().__init__(status, detail)
        self.status = status
        self.detail = detail

    def response(self) -> Response:
        """The error envelope."""
        return Response(self.status, orjson.dumps({"detail": self.detail}))


def json_response(content: Any, status: int = 200) -> Response:
    """`content` as JSON.

    Args:
        content: JSON value.
        status: of HTTP.
    """
    return Response(status, orjson.dumps(content))


def validation_error(place: str, name: str, message: str) -> ApiError:
    """A 422 with an array of objects.

    Args:
        place: `query` or `body`.
        name: of the parameter.
        message: as the API words it.
    """
    return ApiError(422, [{"loc": [place, name], "msg": message, "type": "value_error"}])


def parsed_query(text: str) -> dict[str, str]:
    """A query string as names and values; of a repeated name the last value counts."""
    found = {}
    for part in text.split("&"):
        name, equals, value = part.partition("=")
        if equals or name:
            found[unquote_plus(name)] = unquote_plus(value) if "%" in value or "+" in value else value
    return found
