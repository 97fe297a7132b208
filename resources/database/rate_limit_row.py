"""The shared row of rate limit and circuit: its statements, sent over a connection of its own.

Lives here: connecting, one call per statement, the tuning that the statements take.  Not here: waiting, threads
that want turns (`rate_limit.py`), deciding who gets which slot (`rate_limit_line.py`).
"""

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from sqlalchemy import Connection, CursorResult, Engine, TextClause, create_engine, text
from sqlalchemy.dialects.postgresql.base import PGDialect
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from resources.database.server_clock import ServerClock

_PLAN_LOST = "26000"
"""SQLSTATE: no such prepared statement. A pooler between us and the server hands statements to any connection."""

_TYPES = {"key_id": "text", "wanted": "integer", "answered": "integer", "held_back": "jsonb"}
"""Of the parameters of a prepared statement that are not seconds or rates."""


class DatabaseAway(Exception):
    """The database that holds the rate limit cannot be reached."""

    def __init__(self, error: DBAPIError) -> None:
        reason = " ".join(str(error.orig).split())
        super().__init__(f"the database that holds the rate limit cannot be reached: {reason}")


@dataclass(frozen=True, slots=True)
class Tuning:
    """How the fleet slows down, recovers and stops. Every process of one key should use the same."""

    margin_seconds: float = 0.017
    """Slots for one second are spread over this much more: what the network may add to a request's way."""
    catch_up_seconds: float = 0.05
    catch_up_slots: float = 4.0
    """Slots that passed so recently, and not more of them, are given away all the same: all were busy elsewhere."""
    cut_factor: float = 0.5
    lowest_factor: float = 0.05
    recovery_step: float = 0.1
    """Share of the full rate given back every `recovery_step_seconds` without throttling."""
    recovery_step_seconds: float = 10.0
    pause_seconds: float = 1.0
    """Pause after throttling when the answer names none."""
    longest_pause_seconds: float = 300.0
    failures_to_open: int = 5
    attempts_to_judge: int = 20
    share_to_open: float = 0.5
    """The circuit also opens when this share of the last 20 to 40 attempts failed."""
    shortest_open_seconds: float = 1.0
    longest_open_seconds: float = 30.0
    probe_lease_seconds: float = 60.0
    """A probe that says nothing for so long is taken for dead; longer than any exchange may last."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What an exchange tells and asks the row."""

    wanted: int
    held_back: Mapping[int, float] = field(default_factory=dict)
    """Slots by number, and the moment before which each may not be used."""
    push_seconds: float = 0.0
    """By how much all slots not yet given away are to move."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the row said. Moments are seconds of the server's clock since 1970."""

    slots: int
    first_number: int
    now: float
    first_slot: float
    spacing_seconds: float
    requests_per_second: float
    held_back: Mapping[int, float]
    epoch: int
    circuit: str
    is_probe: bool
    failures_in_row: int
    paused_until: float | None
    opened_at: float | None
    probe_at: float | None
    broken_at: float | None


@dataclass(frozen=True, slots=True)
class Report:
    """One turn that was throttled or broken, or what a probe learnt."""

    granted_at: datetime
    is_probe: bool
    throttled: bool
    broken: bool
    retry_after_seconds: float | None


def key_id_of(api_key: str) -> str:
    """The name of a key's row: a fingerprint that tells nothing about the key."""
    return hashlib.sha256(api_key.encode()).hexdigest()[:16]


class FleetRow:
    """One API key's row, over one connection. One thread at a time talks to it, for all of the process."""

    def __init__(
        self,
        engine: Engine,
        *,
        key_id: str,
        requests_per_second: float,
        tuning: Tuning,
    ) -> None:
        self._engine = create_engine(engine.url, pool=engine.pool.recreate(), hide_parameters=True)
        self._key: Mapping[str, Any] = {"key_id": key_id, "requests_per_second": requests_per_second}
        self._tuning = asdict(tuning)
        self._connection: Connection | None = None
        self._keeps_plans = True
        self._prepared: dict[str, str] = {}
        self._settle_seconds = 0.0
        self.clock = ServerClock()
        self.exchange_seconds = 0.002
        """How long an exchange takes, smoothed."""

    def reserve(self, asked: Asked, *, patience_seconds: float, answered: int) -> Answer:
        """Ask for slots, none later than `patience_seconds` from now; zero of them only learns the news.

        Raises:
            DatabaseAway: it cannot be reached now.
        """
        values = {
            "wanted": asked.wanted,
            "push_seconds": asked.push_seconds,
            "held_back": json.dumps(asked.held_back),
            "patience_seconds": patience_seconds,
            "settle_seconds": self._settle_seconds,
            "answered": answered,
        }
        asked_at = time.monotonic()
        row = self._one_row("reserve", values)
        answer = Answer(**row | {"held_back": {int(number): until for number, until in row["held_back"].items()}})
        answered_at = time.monotonic()
        self._settle_seconds = 0.0
        self.clock.observe(asked_at=asked_at, server_seconds=answer.now, answered_at=answered_at)
        self.exchange_seconds += 0.1 * (answered_at - asked_at - self.exchange_seconds)
        return answer

    def report(self, report: Report, *, answered: int) -> int:
        """Tell the fleet; the epoch that counts from now on comes back. A service that throttles is alive.

        Raises:
            DatabaseAway: it cannot be reached now; tell again later.
        """
        return int(self._one_row("report", {**asdict(report), "answered": answered + report.throttled})["epoch"])

    def close(self) -> None:
        """Give the connection back. A later call opens a new one."""
        self._drop_connection()
        self._engine.dispose()

    def _one_row(self, name: str, values: Mapping[str, Any]) -> dict[str, Any]:
        parameters = {**self._key, **self._tuning, **values}
        try:
            connection = self._connection or self._connect()
            row = self._run(connection, name, parameters).mappings().first()
            if row is None:
                connection.execute(statement("register"), parameters)
                row = self._run(connection, name, parameters).mappings().one()
        except DBAPIError as error:
            self._forget_connection()
            if getattr(error.orig, "pgcode", None) == _PLAN_LOST:
                self._keeps_plans = False
                raise DatabaseAway(error) from error
            if isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated:
                raise DatabaseAway(error) from error
            raise
        return dict(row)

    def _run(self, connection: Connection, name: str, parameters: Mapping[str, Any]) -> CursorResult[Any]:
        """Planning costs three times what the execution costs, so the frequent statement is planned once."""
        if name not in self._prepared:
            return connection.execute(statement(name), parameters)
        return connection.exec_driver_sql(self._prepared[name], dict(parameters))

    def _connect(self) -> Connection:
        """Connect, and compare the clocks a few times: the first slots should be as exact as the later ones.

        Without waiting for the disk at each grant: should the server crash, the last moments' grants may be
        forgotten, so whoever lost a connection stays silent for as long as they could still count.
        """
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(text("SET synchronous_commit TO off"))
        connection.execute(text("SET statement_timeout TO '5s'"))
        for _ in range(5):
            asked_at = time.monotonic()
            seconds = connection.scalar(text("SELECT CAST(extract(EPOCH FROM clock_timestamp()) AS double precision)"))
            self.clock.observe(asked_at=asked_at, server_seconds=seconds, answered_at=time.monotonic())
        self._connection = connection
        if self._keeps_plans:
            self._prepare(connection, "reserve")
        return connection

    def _prepare(self, connection: Connection, name: str) -> None:
        dialect = PGDialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        compiled = statement(name).compile(dialect=dialect)
        parameters = compiled.positiontup or []
        types = ", ".join(_TYPES.get(parameter, "double precision") for parameter in parameters)
        values = ", ".join(f"%({parameter})s" for parameter in parameters)
        connection.exec_driver_sql(f"PREPARE rate_limit_{name} ({types}) AS {compiled}")
        self._prepared[name] = f"EXECUTE rate_limit_{name} ({values})"

    def _forget_connection(self) -> None:
        if self._connection is not None:
            self._settle_seconds = 1.0
            self._connection.invalidate()
        self._drop_connection()

    def _drop_connection(self) -> None:
        self._prepared.clear()
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@cache
def statement(name: str) -> TextClause:
    """A statement by its file's name."""
    return text((files("resources.database") / "sql" / f"rate_limit_{name}.sql").read_text(encoding="utf-8"))
