"""What Dagster's UI shows about a table without a query: columns, their meaning, and the source of each."""

from collections.abc import Iterable, Mapping
from typing import Any

import dagster as dg
from sqlalchemy import Table

from resources.database.schema.session_columns import MEANS, NIGHT_COUNTS, RATIOS
from resources.database.schema.tables import monthly_averages


def table_metadata(table: Table) -> dict[str, Any]:
    """Name, and columns with types and comments; for an asset's definition."""
    key = [column.name for column in table.primary_key]
    only_key = key if len(key) == 1 else []
    columns = [
        dg.TableColumn(
            column.name,
            type=str(column.type).lower(),
            description=column.comment,
            constraints=dg.TableColumnConstraints(nullable=bool(column.nullable), unique=column.name in only_key),
        )
        for column in table.columns
    ]
    return {"dagster/table_name": table.fullname, "dagster/column_schema": dg.TableSchema(columns)}


def _lineage(asset: str, sources: Mapping[str, Iterable[str]]) -> dict[str, Any]:
    """The columns upstream that each column comes from; the UI looks for them on materialisations only."""
    columns = {name: [dg.TableColumnDep(asset, source) for source in sources[name]] for name in sources}
    return {"dagster/column_lineage": dg.TableColumnLineage(columns)}


SESSIONS_LINEAGE = _lineage("users", {"user_id": ["user_id"], "local_date": ["timezone"], "local_month": ["timezone"]})

_VALID = ("night_role", "time_in_bed", "missing_data_ratio")
_AVERAGED = {
    "user_id": ("user_id",),
    "month": ("night_month",),
    "sessions": ("session_id",),
    "nights": ("night_date", "night_role"),
    "naps": ("night_role", "episode_id"),
    "doubtful_sessions": ("night_role",),
    "overlapping_sessions": ("night_role",),
    **{name: ("night_date", "state", "night_role") for name, _ in NIGHT_COUNTS},
    "coverage": ("night_date", "night_role"),
    "valid_nights": _VALID,
    "avg_time_in_sleep_of_date": ("time_in_sleep", *_VALID),
    "avg_onset_of_night": ("asleep_from_local", *_VALID),
    "avg_wake_of_night": ("asleep_until_local", *_VALID),
    "avg_midpoint_of_night": ("asleep_from_local", "asleep_from", "asleep_until", *_VALID),
    "avg_efficiency_of_night": ("time_in_sleep", *_VALID),
    "avg_latency_of_night": ("sleep_latency", *_VALID),
    "avg_waso_of_night": ("time_in_wake", *_VALID),
    "avg_start_time": ("session_start_local",),
    "avg_end_time": ("session_end_local",),
    "avg_sleep_time": ("sleep_time_local",),
    "avg_wake_time": ("wake_time_local",),
    **{f"{kind}_sessions": ("state", "peculiarities", "time_in_sleep") for kind in ("slept", "never_slept")},
    "unanalysed_sessions": ("state", "peculiarities", "time_in_sleep"),
    **{f"avg_{name}": (name,) for name, _ in MEANS},
    **{f"avg_{name}": (top, bottom) for name, top, bottom in RATIOS},
}

AVERAGES_LINEAGE = _lineage(
    "sleep_sessions", {column.name: _AVERAGED[column.name] for column in monthly_averages.c if column.name in _AVERAGED}
)
