"""The datasets that can be exported: how rows are assigned to months, and how a changed month is recognised."""

from dataclasses import dataclass

_ARRAYS = frozenset({"sleep_stages", "breath_stages", "snoring_stages"})


@dataclass(frozen=True, slots=True)
class Dataset:
    """A table or view, one Parquet and one CSV file for each month."""

    name: str
    relation: str
    order_by: str
    month: str = "night_month"
    """SQL expression: first day of the month to which a row belongs."""
    source: str = "asleep.sleep_sessions"
    """Relation by whose rows a changed month is recognised."""
    source_month: str = "night_month"
    """SQL expression: the same month in `source`."""
    key: str = "session_id"
    """Columns of the key of `source`."""
    left_out: frozenset[str] = frozenset()


_SESSIONS_ORDER = "user_id, session_start_time, session_id"

DATASETS = (
    Dataset("sessions", "asleep.sleep_sessions", _SESSIONS_ORDER, left_out=_ARRAYS | {"payload_hash"}),
    Dataset("nights", "asleep.nights", "user_id, night_date"),
    Dataset(
        "monthly_averages",
        "asleep.monthly_averages",
        "user_id, month",
        month="month",
        source="asleep.monthly_averages",
        source_month="month",
        key="user_id, month",
    ),
    Dataset(
        "sleep_metrics",
        "asleep.sleep_metrics",
        "user_id, period, period_start",
        month="date_trunc('month', period_start)::date",
        source="asleep.sleep_metrics",
        source_month="date_trunc('month', period_start)::date",
        key="user_id, period, period_start",
    ),
)
"""Exported by default."""

STAGES = Dataset("stages", "asleep.sleep_sessions", _SESSIONS_ORDER, left_out=frozenset({"payload_hash"}))
"""Sessions with their stage arrays."""

EPOCHS = Dataset(
    "epochs", "asleep.sleep_stage_epochs", "user_id, session_id, epoch", month="date_trunc('month', night_date)::date"
)
"""One row for each 30 seconds."""
