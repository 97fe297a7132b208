"""Records the requests of the doctor and writes them, redacted, as a cassette: a file that the simulated API replays.

`simulator/README.md` describes the file.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any

from resources.asleep.classification import judge
from resources.asleep.client import AsleepClient, Requests
from resources.asleep.errors import AsleepError, Malformed
from resources.asleep.transport import ApiResult
from resources.contract.findings import Findings
from resources.contract.redaction import Exchange, redacted
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

    def get(
        self, endpoint: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], user_id: str
    ) -> ApiResult:
        """Send a request; the arguments are those of `Transport.get`."""
        query = {name: value for name, value in params.items() if not _DATE.fullmatch(value)}
        try:
            found = self._requests.get(endpoint, path, params, headers, user_id)
        except AsleepError as error:
            if error.status is not None:
                body = _error_body(error.raw)
                self.exchanges.append(Exchange(endpoint, path, query, user_id, error.status, body))
            raise
        body = {"detail": "OK", "result": found.result}
        self.exchanges.append(Exchange(endpoint, path, query, user_id, 200, body))
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

    def get(
        self, endpoint: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], user_id: str
    ) -> ApiResult:
        del headers, user_id
        for exchange in self._exchanges:
            if exchange.path == path and exchange.query.items() <= params.items():
                judged = judge(endpoint, exchange.status, json.dumps(exchange.body).encode())
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
    user_id = exchanges[0].user_id
    expected = _statements(check(AsleepClient(_Replay(exchanges)), user_id))
    for _ in range(MAX_REDACTIONS):
        copies, new_user_id = redacted(exchanges, user_id)
        if _statements(check(AsleepClient(_Replay(copies)), new_user_id)) == expected:
            return _as_file(copies, new_user_id)
    raise CannotRedact(CannotRedact.__doc__)


def _statements(findings: Findings) -> list[tuple[str, str]]:
    return [(finding.statement, finding.result) for finding in findings.found]


def _as_file(exchanges: Sequence[Exchange], user_id: str) -> str:
    days = (RECORDED_ON - datetime.now(UTC).date()).days
    shown = [
        {
            "endpoint": exchange.endpoint,
            "path": exchange.path,
            "query": dict(exchange.query),
            "status": exchange.status,
            "body": _moved(exchange.body, days),
        }
        for exchange in exchanges
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
