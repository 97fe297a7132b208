"""The table of the rate limiter, the functions that work on it, and its state for people."""

from collections.abc import Sequence

from sqlalchemy import CheckConstraint, Column, Connection, Double, MetaData, RowMapping, Table, Text, text

from resources.load_sql import load_sql
from resources.rate_limit.shared_row import LimiterConfig


def rate_limits_table(metadata: MetaData) -> Table:
    """Describe the table on the given metadata."""
    return Table(
        "rate_limits",
        metadata,
        Column("key_id", Text, primary_key=True, comment="First 16 hex digits of SHA-256 over the API key"),
        Column("requests_per_second", Double, nullable=False, comment="Lowest rate that a process announced lately"),
        _number("announced_at", "When that rate was last announced; a higher one counts a minute later"),
        _number("next_slot", "Moment of the next free slot"),
        _number("loose_until", "Slots before this moment keep the larger distance that loose slots need"),
        _number("idle_seconds", "Seconds for which next_slot lay in the past, fading; above 0.25 slots are loose"),
        _number("throttle_factor", "Share of the rate after the last pause; it has grown since", default="1"),
        _number("throttled_at", "When the API last throttled a request and the rate was cut"),
        _number("paused_until", "No request before this moment: Retry-After, or a pause of our own"),
        Column("circuit", Text, nullable=False, server_default=text("'closed'"),
               comment="closed: requests flow; open: none; half_open: one probe is under way"),
        _number("circuit_since", "When the circuit last opened or closed; older requests' failures do not count"),
        _number("failures", "Grows by 1 with a failure, shrinks by a half with a response; opens the circuit"),
        _number("failed_at", "Last failure: 5xx, time-out, connection refused or cut"),
        _number("probe_at", "When the next probe may go; half_open: when the present one is replaced"),
        _number("probe_reserved_at", "When the present probe was reserved: tells its result from an older one's"),
        _number("updated_at", "Last reservation"),
        CheckConstraint("circuit IN ('closed', 'open', 'half_open')", name="circuit_is_known"),
        comment="One row per API key: rate limit and circuit breaker of all processes. Moments are seconds since 1970, "
        "0 means never. Not for analysts.",
    )  # fmt: skip


def create_functions(connection: Connection) -> None:
    """Create or replace `reserve_slots` and `report_outcome`."""
    for name in ("reserve", "report"):
        connection.execute(load_sql(__package__, name))


def read_state(connection: Connection) -> Sequence[RowMapping]:
    """Return what is in force now, for `asleep-sync status` and `/health`: a row of `state.sql` per key."""
    values = {"recovery_per_second": LimiterConfig().recovery_per_second}
    return connection.execute(load_sql(__package__, "state"), values).mappings().all()


def _number(name: str, comment: str, default: str = "0") -> Column[float]:
    return Column(name, Double, nullable=False, server_default=text(default), comment=comment)
