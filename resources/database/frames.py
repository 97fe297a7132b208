"""Nights, epochs, monthly averages and metrics as pandas DataFrames, for notebooks and reports.

An analyst's rights are enough. Dates are `datetime64`, whole numbers are nullable integers, clock times are timedeltas
since midnight, instants are aware. pandas is imported with this module, which no command imports at its start.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from functools import partial
from typing import Any, TypedDict, Unpack

import pandas as pd
from sqlalchemy import ARRAY, ColumnElement, Connection, Text, any_, column, literal, select, table, text

CHUNK_ROWS = 50_000

_SOURCES = {
    "nights": ("night_date", "user_id, night_date"),
    "night_calendar": ("night_date", "user_id, night_date"),
    "sleep_sessions": ("night_date", "user_id, session_start_time"),
    "sleep_stage_epochs": ("night_date", "user_id, epoch_start_time"),
    "monthly_averages": ("month", "user_id, month"),
    "user_months": ("month", "user_id, month"),
    "monthly_overview": ("month", "month"),
    "sleep_metrics": ("period_start", "user_id, period, period_start"),
}
"""Tables and views: the column that dates are compared with, and the order of rows."""


def _clock_times(values: pd.Series) -> pd.Series:
    shown: Any = [None if value is None else value.isoformat() for value in values]
    return pd.Series(pd.to_timedelta(shown), index=values.index)


_DTYPES: dict[int, str | Callable[[pd.Series], pd.Series]] = {
    16: "boolean",
    20: "Int64",
    21: "Int64",
    23: "Int64",
    25: "str",
    701: "float64",
    1082: lambda values: pd.to_datetime(values).astype("datetime64[s]"),
    1083: _clock_times,
    1114: lambda values: pd.to_datetime(values).astype("datetime64[us]"),
    1184: lambda values: pd.to_datetime(values, utc=True).astype("datetime64[us, UTC]"),
    1700: "float64",
}
"""dtype by the number of the Postgres type: bool, int8, int2, int4, text, float8, date, time, timestamps, numeric."""


class Chosen(TypedDict, total=False):
    """Which rows and columns are read; by default all."""

    users: Sequence[str]
    """Only theirs."""
    first: date
    """First date, included; of months and periods, of their first day."""
    last: date
    """Last date, included."""
    columns: Sequence[str]
    """Only these columns, in this order."""


def read(connection: Connection, source: str, **chosen: Unpack[Chosen]) -> pd.DataFrame:
    """The rows of a table or view as one frame.

    Args:
        connection: open.
        source: one of nights, night_calendar, sleep_sessions (deleted ones included), sleep_stage_epochs (about 900
            rows a night, so choose users and dates), monthly_averages, user_months, monthly_overview, sleep_metrics.
        chosen: users, dates and columns, see `Chosen`.
    """
    chunks = list(read_chunks(connection, source, **chosen))
    return chunks[0] if len(chunks) == 1 else pd.concat(chunks, ignore_index=True)


nights = partial(read, source="nights")
"""Main sleeps, one row per user and date."""
calendar = partial(read, source="night_calendar")
"""One row per active user and date, also where nothing was recorded."""
epochs = partial(read, source="sleep_stage_epochs")
"""Stages, one row per 30 seconds."""
monthly_averages = partial(read, source="monthly_averages")
"""One row per user and month."""
sleep_metrics = partial(read, source="sleep_metrics")
"""One row per user and week or month."""


def read_chunks(
    connection: Connection, source: str, *, rows: int = CHUNK_ROWS, **chosen: Unpack[Chosen]
) -> Iterator[pd.DataFrame]:
    """The same in frames of at most `rows` rows, so that memory stays bounded; at least one frame, maybe empty.

    Args:
        connection: open; it holds a cursor until the last chunk is read.
        source: as for `read`.
        rows: most rows of a frame.
        chosen: as for `read`.
    """
    dated, order = _SOURCES[source]
    day: ColumnElement[date] = column(dated)
    names: list[Any] = [column(name) for name in chosen.get("columns", ())] or [text("*")]
    statement = select(*names).select_from(table(source, schema="asleep")).order_by(text(order))
    if "users" in chosen:
        statement = statement.where(column("user_id") == any_(literal(list(chosen["users"]), ARRAY(Text))))
    if "first" in chosen:
        statement = statement.where(day >= chosen["first"])
    if "last" in chosen:
        statement = statement.where(day <= chosen["last"])
    with connection.execute(statement.limit(0)) as nothing:
        kinds: dict[str, Any] = {described[0]: described[1] for described in nothing.cursor.description}
    found = False
    options = {"stream_results": True, "max_row_buffer": rows}
    with connection.execute(statement, execution_options=options) as result:
        while fetched := result.fetchmany(rows):
            found = True
            yield _frame(fetched, kinds)
    if not found:
        yield _frame([], kinds)


def _frame(rows: Sequence[Any], kinds: dict[str, Any]) -> pd.DataFrame:
    frame = pd.DataFrame([tuple(row) for row in rows], columns=list(kinds), dtype=object)
    for name, kind in kinds.items():
        dtype = _DTYPES.get(kind)
        if callable(dtype):
            frame[name] = dtype(frame[name])
        elif dtype is not None:
            frame[name] = frame[name].astype(dtype)  # type: ignore[call-overload]
    return frame
