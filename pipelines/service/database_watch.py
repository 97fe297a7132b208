"""Alerts of an outage of the database: while it lasts Dagster can start nothing, so the service has to send the alert.

One thread per `asleep-sync serve`, however many workers it has; it reads what `/health` says. Of several instances the
one that held the lock when the database went away alerts first. The others cannot see whether it still lives, so they
alert when the outage lasts much longer: a second alert is better than none.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from http.client import HTTPConnection, HTTPException

import structlog
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from pipelines.notifications.alerts import OUTAGE_ALERT_AFTER, alert_of_outage
from pipelines.settings import Settings
from resources.database.advisory_lock import try_lock
from resources.database.engine import make_engine
from resources.database.session_settings import DatabaseUnsuitable
from resources.notifications.deliver import NotDelivered

OTHER_INSTANCES_ALERT_AFTER = timedelta(minutes=10)
POLL_SECONDS = 10.0
RESPONSE_SECONDS = 5.0
_ANY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 compared, not bound

_log = structlog.get_logger("asleep_sync.service")


class Leader(threading.Thread):
    """Competes for a lock. While the database is away, `is_leading` stays as it was."""

    def __init__(self, engine: Engine) -> None:
        super().__init__(name="leader", daemon=True)
        self._engine = engine
        self._connection: Connection | None = None
        self.is_leading = False

    def run(self) -> None:
        """Compete again and again; the thread ends with its process."""
        while True:
            self.compete()
            time.sleep(POLL_SECONDS)

    def compete(self) -> None:
        """Take the lock if it is free, on one connection that stays open."""
        try:
            if self._connection is None:
                self._connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            self.is_leading = try_lock(self._connection, "asleep-sync alerts of outages")
        except (SQLAlchemyError, DatabaseUnsuitable):
            self.close()

    def close(self) -> None:
        """Give the lock up."""
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
        self._connection = None


class DatabaseWatch(threading.Thread):
    """Checks every 10 seconds; alerts once when an outage has lasted for 2 minutes, and once when it is over."""

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
        self._address = (_ANY_ADDRESS.get(host, host), port)
        self._clock = clock or (lambda: datetime.now(UTC))
        self._down_since: datetime | None = None
        self._is_reported = False
        url = settings.require_database_url()
        self.leader = Leader(make_engine(url, application_name="asleep-sync serve: outages", pool_size=1))

    def run(self) -> None:
        """Check again and again; the thread ends with its process."""
        self.leader.start()
        while True:
            time.sleep(POLL_SECONDS)
            self.check()

    def check(self) -> None:
        """Check once, and alert when there is a reason."""
        is_up = _is_database_up(*self._address)
        if is_up is None:
            return
        now = self._clock()
        patience = OUTAGE_ALERT_AFTER if self.leader.is_leading else OTHER_INSTANCES_ALERT_AFTER
        if is_up and not self._is_reported:
            self._down_since = None
        elif is_up:
            self._alert(ended_at=now)
        elif self._down_since is None:
            self._down_since = now
        elif not self._is_reported and now - self._down_since >= patience:
            self._alert(ended_at=None)

    def _alert(self, *, ended_at: datetime | None) -> None:
        """Send the alert; one that was not delivered is sent again by the next check."""
        try:
            alert_of_outage(self._settings, "database", self._down_since, ended_at=ended_at)
        except NotDelivered as error:
            _log.error("alert_not_delivered", reason=str(error))
        else:
            self._is_reported = ended_at is None


def _is_database_up(host: str, port: int) -> bool | None:
    """Whether the service reaches the database; None when the service does not say so."""
    try:
        with closing(HTTPConnection(host, port, timeout=RESPONSE_SECONDS)) as connection:
            connection.request("GET", "/health")
            return bool(json.load(connection.getresponse())["dependencies"]["database"]["state"] == "up")
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return None
