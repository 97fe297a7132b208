"""The row of one API key in `rate_limits`, reached over a connection of its own: reserve slots, report outcomes."""

import hashlib
import time
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, TextClause, create_engine, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

SILENT_SECONDS = 1.6  # after a lost connection: a crashed database forgets grants, which reach half a second ahead
LOCK_TIMEOUT_SECONDS = 2  # longer than any statement of another process holds the row
MAX_CLOCK_DRIFT = 2e-4  # by how much two clocks may run apart: more than NTP slews in practice

_READ_CLOCK = text("SELECT CAST(extract(EPOCH FROM clock_timestamp()) AS float8) AS moment")
_RESERVE = text(
    "SELECT * FROM asleep.reserve_slots(:key_id, :rate, :wanted, :answered, :late_seconds, :silent_seconds, "
    ":margin_seconds, :loose_seconds, :block_seconds, :ahead_seconds, :recovery_per_second, :probe_lease_seconds)"
)
_REPORT = text(
    "SELECT * FROM asleep.report_outcome(:key_id, :reserved_at, :outcome, :retry_after_seconds, :cut_factor, "
    ":min_factor, :recovery_per_second, :pause_seconds, :max_pause_seconds, :failures_to_open, :min_open_seconds, "
    ":max_open_seconds)"
)


@dataclass(frozen=True, slots=True)
class LimiterConfig:
    """How the processes slow down, recover and stop. Every process of one key should use the same."""

    margin_seconds: float = 0.017  # slots of one second are spread over this much more: jitter of the network
    late_seconds: float = 0.008  # the part of the margin that a request may use up by being sent late
    loose_seconds: float = 0.2  # when the rate does not bind, a slot may be used for this long after its moment
    block_seconds: float = 0.05  # slots reserved at once; one at least
    ahead_seconds: float = 0.5  # no slot is reserved further ahead: late requests move those not reserved yet
    cut_factor: float = 0.5
    min_factor: float = 0.05
    recovery_per_second: float = 0.01  # share of the full rate that comes back per second without throttling
    pause_seconds: float = 1.0  # after throttling, when the response names no pause
    max_pause_seconds: float = 300.0
    failures_to_open: float = 5.0  # a failure counts 1, a response takes a half away
    min_open_seconds: float = 1.0  # until the first probe; a failed one doubles the time
    max_open_seconds: float = 30.0
    probe_lease_seconds: float = 60.0  # a probe without a result is then replaced; longer than any request lasts


def key_id_of(api_key: str) -> str:
    """Return the name of a key's row: a fingerprint that reveals nothing about the key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:16]


class ServerClock:
    """The server's clock against this process's monotonic one: the difference lies between a statement's ends."""

    def __init__(self) -> None:
        self._low, self._high, self._seen_at = float("-inf"), float("inf"), 0.0
        self.offset = 0.0  # to be added to a moment of the server's clock to have it by the monotonic clock

    def observe(self, *, asked_at: float, server_seconds: float, answered_at: float) -> None:
        """Learn from one statement; an interval that contradicts all before means that a clock was set.

        Args:
            asked_at: before the statement, in seconds of the monotonic clock.
            server_seconds: during the statement, in seconds of the server's clock.
            answered_at: after the statement, in seconds of the monotonic clock.
        """
        slack = MAX_CLOCK_DRIFT * (answered_at - self._seen_at)
        earliest, latest = asked_at - server_seconds, answered_at - server_seconds
        low, high = max(self._low - slack, earliest), min(self._high + slack, latest)
        self._low, self._high = (low, high) if low <= high else (earliest, latest)
        self._seen_at, self.offset = answered_at, (self._low + self._high) / 2


class SharedRow:
    """One key's row. Not for several threads at once. Methods raise `ConnectionError` when it cannot be reached now."""

    def __init__(self, engine: Engine, *, api_key: str, requests_per_second: float, config: LimiterConfig) -> None:
        self._engine = create_engine(engine.url, pool=engine.pool.recreate(), hide_parameters=True)
        self._values = asdict(config) | {"key_id": key_id_of(api_key), "rate": requests_per_second}
        self._silent_seconds = 0.0
        self.connection: Connection | None = None
        self.clock = ServerClock()

    def reserve(self, **values: float) -> Row[Any]:
        """Reserve slots; arguments and result are those of `reserve.sql`."""
        row = self._run(_RESERVE, silent_seconds=self._silent_seconds, **values)
        self._silent_seconds = 0.0
        return row

    def report(self, reserved_at: float, outcome: str, retry_after_seconds: float | None) -> None:
        """Report one outcome.

        Args:
            reserved_at: `moment` of the reservation, in seconds of the server's clock.
            outcome: a value of `Outcome`.
            retry_after_seconds: pause that the response demands; None when it names none.
        """
        self._run(_REPORT, reserved_at=reserved_at, outcome=outcome, retry_after_seconds=retry_after_seconds)

    def _run(self, statement: TextClause, **values: Any) -> Row[Any]:
        try:
            if self.connection is None:
                self.connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
                self.connection.execute(text(f"SET lock_timeout TO '{LOCK_TIMEOUT_SECONDS}s'"))
                for _ in range(3):  # the first slots should be as exact as the later ones
                    self._run(_READ_CLOCK)
            asked_at = time.monotonic()
            row = self.connection.execute(statement, self._values | values).one()
            self.clock.observe(asked_at=asked_at, server_seconds=row.moment, answered_at=time.monotonic())
        except DBAPIError as error:
            if self.connection is not None:
                self._silent_seconds = SILENT_SECONDS
                self.connection.invalidate()
                self.close()
            if not isinstance(error, OperationalError | InterfaceError) and not error.connection_invalidated:
                raise
            reason = " ".join(str(error.orig).split())
            raise ConnectionError(f"the database that holds the rate limit cannot be used: {reason}") from error
        return row

    def close(self) -> None:
        """Give the connection back. A later call opens a new one."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None
        self._engine.dispose()
