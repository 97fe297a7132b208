"""Records the requests of the doctor and writes them, redacted, as a cassette: a file that the simulated API replays.

`simulator/README.md` describes the file.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from resources.asleep.classification import judge
from resources.asleep.client import AsleepClient, Requests
from resources.asleep.errors import AsleepError, Malformed
from resources.asleep.transport import ApiRequest, ApiResult
from resources.contract.redaction import Exchange, redacted
from resources.contract.statements import Findings
from resources.json_decoding import decode

FORMAT = "asleep-sync cassette 1"
RECORDED_ON = date(2001, 1, 1)
"""Stands for the day of the recording: the replay moves all dates by the distance to its own day."""
MAX_REDACTIONS = 20
_DATE = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")


class CannotRedact(ValueError):
    """Redacted responses would be judged otherwise than the original ones, so they were not written."""


class Recorder:
    """Passes requests on and keeps each with its response."""

    def __init__(self, requests: Requests) -> None:
        self.exchanges: list[Exchange] = []
        self._requests = requests

    def get(self, request: ApiRequest) -> ApiResult:
        """Send a request."""
        query = {name: value for name, value in request.params.items() if not _DATE.fullmatch(value)}
        request_of_any_day = replace(request, params=query)
        try:
            found = self._requests.get(request)
        except AsleepError as error:
            if error.status is not None:
                self.exchanges.append(Exchange(request_of_any_day, error.status, _error_body(error.raw)))
            raise
        self.exchanges.append(Exchange(request_of_any_day, 200, {"detail": "OK", "result": found.result}))
        return found


def _error_body(raw: bytes | None) -> dict[str, Any]:
    try:
        body = decode(raw or b"")
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


class _Replay:
    """Returns recorded responses."""

    def __init__(self, exchanges: Sequence[Exchange]) -> None:
        self._exchanges = exchanges

    def get(self, request: ApiRequest) -> ApiResult:
        for recorded, status, body in self._exchanges:
            if recorded.path == request.path and recorded.params.items() <= request.params.items():
                judged = judge(request.endpoint, status, json.dumps(body).encode())
                if judged.result is None:
                    raise judged.error or Malformed()
                return ApiResult(judged.result, datetime.now(UTC))
        raise Malformed("this request was not recorded")


def cassette(exchanges: Sequence[Exchange], check: Callable[[AsleepClient, str], Findings]) -> str:
    """Redact responses and return the file.

    Args:
        exchanges: as recorded.
        check: checks a user's responses; redacted responses must give the findings of the original ones.

    Raises:
        CannotRedact: they do not.
    """
    user_id = exchanges[0].request.user_id

    def statements(exchanges: Sequence[Exchange], user_id: str) -> list[tuple[str, str]]:
        findings = check(AsleepClient(_Replay(exchanges)), user_id)
        return [(finding.statement, finding.result) for finding in findings.found]

    expected = statements(exchanges, user_id)
    for _ in range(MAX_REDACTIONS):
        copies, new_user_id = redacted(exchanges, user_id)
        if statements(copies, new_user_id) == expected:
            return _as_file(copies, new_user_id)
    raise CannotRedact(CannotRedact.__doc__)


def _as_file(exchanges: Sequence[Exchange], user_id: str) -> str:
    days = (RECORDED_ON - datetime.now(UTC).date()).days
    shown = [
        {
            "endpoint": request.endpoint,
            "path": request.path,
            "query": dict(request.params),
            "status": status,
            "body": _moved(body, days),
        }
        for request, status, body in exchanges
    ]
    content = {"format": FORMAT, "recorded_on": RECORDED_ON.isoformat(), "user_id": user_id, "exchanges": shown}
    return json.dumps(content, indent=1) + "\n"


def _moved(value: Any, days: int) -> Any:
    """A JSON value with every date moved by whole days."""
    if isinstance(value, dict):
        return {name: _moved(each, days) for name, each in value.items()}
    if isinstance(value, list):
        return [_moved(each, days) for each in value]
    if isinstance(value, str) and _DATE.fullmatch(value):
        return date.fromordinal(date.fromisoformat(value[:10]).toordinal() + days).isoformat() + value[10:]
    return value
