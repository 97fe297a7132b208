"""Rate limit and circuit breaker of all processes: one row per API key.

Lives here: structure and its comments.  Not here: statements (`sql/rate_limit_*.sql`), waiting (`rate_limit.py`).
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Double,
    Integer,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

_TIME = DateTime(timezone=True)


def rate_limits_table(metadata: MetaData) -> Table:
    """Describe the table on the given metadata."""
    return Table(
        "rate_limits",
        metadata,
        Column("key_id", Text, primary_key=True, comment="First 16 hex digits of SHA-256 over the API key"),
        *_rate_columns(),
        *_throttle_columns(),
        *_circuit_columns(),
        Column("updated_at", _TIME, nullable=False, server_default=func.now(), comment="Last change"),
        CheckConstraint("circuit IN ('closed', 'open', 'half_open')", name="circuit_is_known"),
        comment="One row per API key: rate limit and circuit breaker of all processes. Not for analysts.",
    )


def _number(name: str, default: str, comment: str) -> Column[float]:
    return Column(name, Double, nullable=False, server_default=text(default), comment=comment)


def _count(name: str, comment: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"), comment=comment)


def _rate_columns() -> tuple[Column[Any], ...]:
    return (
        Column("requests_per_second", Double, nullable=False, comment="Lowest rate announced by a live process"),
        Column(
            "announced_at",
            _TIME,
            nullable=False,
            server_default=func.now(),
            comment="Last time a process announced that rate; a higher one counts a minute later",
        ),
        Column(
            "next_slot_at",
            _TIME,
            nullable=False,
            server_default=func.now(),
            comment="Earliest moment not yet given away (the theoretical arrival time of GCRA)",
        ),
        Column(
            "slots_given",
            BigInteger,
            nullable=False,
            server_default=text("0"),
            comment="Slots given away so far: the number of the next one",
        ),
        Column(
            "held_back",
            JSONB,
            nullable=False,
            server_default=text("'{}'"),
            comment="Numbers of slots, each with the moment (seconds since 1970) before which it may not be used: "
            "a second after a request that was late",
        ),
        Column(
            "epoch",
            BigInteger,
            nullable=False,
            server_default=text("0"),
            comment="Grows when every slot given away so far becomes void",
        ),
    )


def _throttle_columns() -> tuple[Column[Any], ...]:
    return (
        _number("throttle_factor", "1", "Share of requests_per_second in force; halved by throttling"),
        Column(
            "recovering_since",
            _TIME,
            nullable=False,
            server_default=func.now(),
            comment="Steps of recovery of throttle_factor count from here",
        ),
        Column("throttled_at", _TIME, comment="Last time the API throttled us and the rate was cut"),
        Column("paused_until", _TIME, comment="No request before this moment: Retry-After, or our own pause"),
    )


def _circuit_columns() -> tuple[Column[Any], ...]:
    return (
        Column(
            "circuit",
            Text,
            nullable=False,
            server_default=text("'closed'"),
            comment="closed: requests flow; open: none; half_open: one probe is under way",
        ),
        Column("closed_at", _TIME, comment="Last time the circuit closed; older turns' failures do not count"),
        Column("opened_at", _TIME, comment="Since when the circuit has not been closed; null: it is closed"),
        _count("openings", "Times in a row that the circuit opened; each doubles the pause before a probe"),
        Column("probe_at", _TIME, comment="When the next single probe may go; half_open: the end of its lease"),
        Column("probe_slot_at", _TIME, comment="Slot of the latest probe: tells its answer from older ones"),
        _count("failures_in_row", "Failures since the last answer"),
        _number("recent_answered", "0", "Answers among the last 40 attempts or so, older ones fading"),
        _number("recent_broken", "0", "Failures among the last 40 attempts or so, older ones fading"),
        Column("recent_at", _TIME, comment="Last report; the two counts above are forgotten after a minute"),
        Column("broken_at", _TIME, comment="Last failure: 5xx, time-out, connection refused or cut"),
    )
