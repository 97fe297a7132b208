"""Alerts of an outage of the database: while it lasts Dagster can start nothing, so the service has to send the alert.

One thread per `asleep-sync serve`, however many workers it has; it reads what `/health` says.
"""

import json
import threading
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from http.client import HTTPException, HTTPResponse

import structlog

from pipelines.notifications.alerts import OUTAGE_ALERT_AFTER, alert_of_outage
from pipelines.settings import Settings
from resources.notifications.deliver import NotDelivered

POLL_SECONDS = 10.0
ANSWER_SECONDS = 5.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104 compared, not bound

_log = structlog.get_logger("asleep_sync.service")


class DatabaseWatch(threading.Thread):
    """Looks every 10 seconds; alerts once when an outage has lasted for 2 minutes, and once when it is over."""

    def __init__(self, settings: Settings, host: str, port: int, clock: Callable[[], datetime] | None = None) -> None:
        """Prepare.

        Args:
            settings: where alerts go.
            host: address on which the service listens.
            port: port on which it listens.
            clock: returns the current moment in UTC.
        """
        super().__init__(name="database-watch", daemon=True)
        self._settings = settings
        named = f"[{host}]" if ":" in host else host
        self._url = f"http://{_ANY_ADDRESS.get(host, named)}:{port}/health"
        self._clock = clock or (lambda: datetime.now(UTC))
        self._down_since: datetime | None = None
        self._is_reported = False

    def run(self) -> None:
        """Look again and again; the thread ends with its process."""
        pause = threading.Event()
        while not pause.wait(POLL_SECONDS):
            self.look()

    def look(self) -> None:
        """Look once, and alert when there is a reason."""
        is_up = _is_database_up(self._url)
        if is_up is None:
            return
        now = self._clock()
        if is_up and not self._is_reported:
            self._down_since = None
        elif is_up:
            self._alert(ended_at=now)
        elif self._down_since is None:
            self._down_since = now
        elif not self._is_reported and now - self._down_since >= OUTAGE_ALERT_AFTER:
            self._alert(ended_at=None)

    def _alert(self, *, ended_at: datetime | None) -> None:
        """Send the alert; one that was not delivered is sent again by the next look."""
        try:
            alert_of_outage(self._settings, "database", self._down_since, ended_at=ended_at)
        except NotDelivered as error:
            _log.error("alert_not_delivered", reason=str(error))
        else:
            self._is_reported = ended_at is None


class _AnyStatus(urllib.request.HTTPErrorProcessor):
    def http_response(self, request: urllib.request.Request, response: HTTPResponse) -> HTTPResponse:
        del request
        return response


_opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _AnyStatus)
"""Uses no proxy of the environment: it could not reach our own address."""


def _is_database_up(url: str) -> bool | None:
    """Whether the service reaches the database; None when the service does not say so."""
    try:
        with _opener.open(url, timeout=ANSWER_SECONDS) as response:
            return bool(json.load(response)["dependencies"]["database"]["state"] == "up")
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return None
