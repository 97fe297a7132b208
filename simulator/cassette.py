"""Replays recorded responses instead of simulated ones: the file that `asleep-sync doctor --record` writes."""

import re
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson

from simulator.messages import ApiError, Request, Response, json_response

FORMAT = "asleep-sync cassette 1"
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")


class CassetteInvalid(ValueError):
    """The file is not a cassette."""


class Cassette:
    """Recorded exchanges; see README.md for the file."""

    def __init__(self, content: Any) -> None:
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise CassetteInvalid(f"not a file of the format {FORMAT!r}")
        self.user_id: str = content["user_id"]
        self._recorded_on = date.fromisoformat(content["recorded_on"])
        self._exchanges: list[dict[str, Any]] = content["exchanges"]

    @classmethod
    def read(cls, path: Path) -> "Cassette":
        """Read a file.

        Raises:
            CassetteInvalid: it is not a cassette.
        """
        try:
            return cls(orjson.loads(path.read_bytes()))
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise CassetteInvalid(f"{path} cannot be replayed: {error}") from None

    def answer(self, request: Request, now: datetime) -> Response:
        """The recorded response to a request.

        Args:
            request: a GET of the API; dates in its query do not matter.
            now: stands for the moment of the recording: all dates are moved to it by whole days.

        Raises:
            ApiError: nothing was recorded for this path and query.
        """
        days = (now.date() - self._recorded_on).days
        for exchange in self._exchanges:
            if exchange["path"] == request.path and exchange["query"].items() <= request.query.items():
                return json_response(_moved(exchange["body"], days), exchange["status"])
        raise ApiError(404, f"Not Found: {request.method} {request.path} is not in the cassette")


def _moved(value: Any, days: int) -> Any:
    if isinstance(value, dict):
        return {name: _moved(each, days) for name, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, days) for each in value]
    if isinstance(value, str) and _DATE.fullmatch(value):
        return date.fromordinal(date.fromisoformat(value[:10]).toordinal() + days).isoformat() + value[10:]
    return value
