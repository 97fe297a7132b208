"""Nights, epochs, monthly averages and metrics as pandas DataFrames, for notebooks and reports.

An analyst's rights are enough. Dates are `datetime64`, whole numbers are nullable integers, clock times are timedeltas
since midnight, instants are aware. pandas is imported with this module, which no command imports at its start.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import Any

import pandas as pd
from sqlalchemy import Connection, text

CHUNK_ROWS = 50_000

_SOURCES = {
    "nights": ("night_date", "user_id, night_date"),
    "night_calendar": ("night_date", "user_id, night_date"),
    "sleep_stage_epochs": ("night_date", "user_id, epoch_start_time"),
    "monthly_averages": ("month", "user_id, month"),
    "user_months": ("month", "user_id, month"),
    "sleep_metrics": ("period_start", "user_id, period, period_start"),
}
"""Tables and views: the column that dates are compared with, and the order of rows."""

_DAY = pd.Timedelta(days=1)


def _clock_times(values: pd.Series) -> pd.Series:
    return (
        pd.to_timedelta([None if value is None else value.isoformat() for value in values])
        .to_series()
        .set_axis(values.index)
    )


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


def nights(connection: Connection, **chosen: Any) -> pd.DataFrame:
    """Main sleeps, one row per user and date. Arguments: see `read`."""
    return read(connection, "nights", **chosen)


def calendar(connection: Connection, **chosen: Any) -> pd.DataFrame:
    """One row per active user and date, also where nothing was recorded. Arguments: see `read`."""
    return read(connection, "night_calendar", **chosen)


def epochs(connection: Connection, **chosen: Any) -> pd.DataFrame:
    """Stages, one row per 30 seconds: about 900 a night, so choose users and dates. Arguments: see `read`."""
    return read(connection, "sleep_stage_epochs", **chosen)


def monthly_averages(connection: Connection, **chosen: Any) -> pd.DataFrame:
    """One row per user and month. Arguments: see `read`."""
    return read(connection, "monthly_averages", **chosen)


def sleep_metrics(connection: Connection, **chosen: Any) -> pd.DataFrame:
    """One row per user and week or month. Arguments: see `read`."""
    return read(connection, "sleep_metrics", **chosen)


def read(
    connection: Connection,
    source: str,
    *,
    users: Sequence[str] | None = None,
    first: date | None = None,
    last: date | None = None,
) -> pd.DataFrame:
    """The rows of a table or view as one frame.

    Args:
        connection: open.
        source: one of nights, night_calendar, sleep_stage_epochs, monthly_averages, user_months, sleep_metrics.
        users: only theirs; None for all users.
        first: first date, included; of months and periods, of their first day.
        last: last date, included.
    """
    chunks = list(read_chunks(connection, source, users=users, first=first, last=last))
    return chunks[0] if len(chunks) == 1 else pd.concat(chunks, ignore_index=True)


def read_chunks(  # noqa: PLR0913 each narrows the rows
    connection: Connection,
    source: str,
    *,
    users: Sequence[str] | None = None,
    first: date | None = None,
    last: date | None = None,
    rows: int = CHUNK_ROWS,
) -> Iterator[pd.DataFrame]:
    """The same in frames of at most `rows` rows, so that memory stays bounded; at least one frame, maybe empty.

    Args:
        connection: open; it holds a cursor until the last chunk is read.
        source: as for `read`.
        users: as for `read`.
        first: as for `read`.
        last: as for `read`.
        rows: most rows of a frame.
    """
    column, order = _SOURCES[source]
    conditions = [
        *(["user_id = ANY (:users)"] if users is not None else ()),
        *([f"{column} >= :first"] if first is not None else ()),
        *([f"{column} <= :last"] if last is not None else ()),
    ]
    where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
    statement = text(f"SELECT * FROM asleep.{source} {where} ORDER BY {order}")
    given = {"users": None if users is None else list(users), "first": first, "last": last}
    known = {name: value for name, value in given.items() if value is not None}
    with connection.execute(text(f"SELECT * FROM asleep.{source} LIMIT 0")) as nothing:
        names = list(nothing.keys())
        kinds: list[Any] = [described[1] for described in nothing.cursor.description]
    found = False
    options = {"stream_results": True, "max_row_buffer": rows}
    with connection.execute(statement, known, execution_options=options) as result:
        while fetched := result.fetchmany(rows):
            found = True
            yield _frame(fetched, names, kinds)
    if not found:
        yield _frame([], names, kinds)


def _frame(rows: Sequence[Any], names: list[str], kinds: Sequence[Any]) -> pd.DataFrame:
    frame = pd.DataFrame([tuple(row) for row in rows], columns=names, dtype=object)
    for name, kind in zip(names, kinds, strict=True):
        dtype = _DTYPES.get(kind)
        if callable(dtype):
            frame[name] = dtype(frame[name])
        elif dtype is not None:
            frame[name] = frame[name].astype(dtype)  # type: ignore[call-overload]
    return frame
