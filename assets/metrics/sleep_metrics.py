"""Recompute the rows of `sleep_metrics` whose sessions changed, some users at a time.

Each batch is read in one snapshot, together with the versions of its stale periods. It is written only where a version
is still the same: then no session changed meanwhile. Other periods stay stale for the next run.
"""

from collections.abc import Iterable
from datetime import date, time
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from sqlalchemy import (
    CTE,
    Column,
    Connection,
    Engine,
    MetaData,
    Select,
    Table,
    Time,
    and_,
    delete,
    func,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects.postgresql import insert

from assets.metrics.circular import whole_seconds
from assets.metrics.periods import WEEKEND, metrics_of
from assets.metrics.regularity import MainSleep, Recording, compare_days, pairs_frame, stages_of
from resources.database.copy import copy_in
from resources.database.schema.bookkeeping import stale_periods
from resources.database.schema.metrics_table import sleep_metrics
from resources.load_sql import load_sql

DEFINITION_VERSION = 2
"""Raise it when a definition changes: rows of another version are recomputed."""

USERS_AT_ONCE = 200
"""Bounds the memory: a user's month of stages takes about 2 MB while its days are compared."""

_HISTORY = pd.Timedelta(days=9)
"""A week's regularity compares the days of the week before; a session may begin a day earlier."""

_COLUMNS = tuple(column.name for column in sleep_metrics.c if column.name != "computed_at")
_KEY = ("user_id", "period", "period_start")
_CLOCKS = tuple(column.name for column in sleep_metrics.c if isinstance(column.type, Time))
_INTEGERS = tuple(name for name in _COLUMNS if str(sleep_metrics.c[name].type) == "INTEGER")
_DATES = ("period_start", "period_end", "as_of")

_incoming = Table(
    "incoming_metrics",
    MetaData(),
    *(Column(name, sleep_metrics.c[name].type) for name in _COLUMNS),
    Column("version", stale_periods.c.version.type),
    prefixes=["TEMPORARY"],
)
_HAS_SESSIONS = _incoming.c.days > _incoming.c.missing_nights + _incoming.c.not_synced_nights


class Computed(NamedTuple):
    """What became of the stale periods."""

    periods: int
    """Recomputed and no longer stale."""
    written: int
    """New, or different from what was stored."""
    removed: int
    """No session is left, so the row vanished."""


def compute_metrics(engine: Engine, today: date, free_days: frozenset[int] = WEEKEND) -> Computed:
    """Recompute every stale period, and those that are outdated: see `mark_outdated_periods.sql`.

    Args:
        engine: the database.
        today: dates before it count; the current UTC date.
        free_days: ISO weekdays without work of users that have none of their own.
    """
    with engine.begin() as connection:
        values = {"today": today, "version": DEFINITION_VERSION, "free_days": sorted(free_days)}
        connection.execute(load_sql(__package__, "mark_outdated_periods"), values)
    done, after = [Computed(0, 0, 0)], ""
    while True:
        snapshot = engine.connect().execution_options(isolation_level="REPEATABLE READ")
        with snapshot as connection, connection.begin():
            due = _frame(connection, "due_periods", after=after, users=USERS_AT_ONCE)
            rows = None if due.empty else _rows(connection, due, today, free_days)
        if rows is None:
            return Computed(*map(sum, zip(*done, strict=True)))
        with engine.begin() as connection:
            done.append(_write(connection, rows))
        after = due["user_id"].max()


def _frame(connection: Connection, name: str, **values: object) -> pd.DataFrame:
    result = connection.execute(load_sql(__package__, name), values)
    frame = pd.DataFrame(result.all(), columns=list(result.keys()))
    frame["user_id"] = frame["user_id"].astype("str")
    for column in ("night_date", "period_start"):
        if column in frame:
            frame[column] = pd.to_datetime(frame[column]).astype("datetime64[s]")
    return frame


def _rows(connection: Connection, due: pd.DataFrame, today: date, free_days: frozenset[int]) -> pd.DataFrame:
    spans = due.groupby("user_id")["period_start"].agg(["min", "max"])
    asked = {
        "user_ids": list(spans.index),
        "firsts": [moment.date() for moment in spans["min"] - _HISTORY],
        "lasts": [moment.date() for moment in spans["max"] + pd.Timedelta(days=32)],
    }
    nights = _frame(connection, "metrics_nights", **asked)
    own = due.dropna(subset="free_days").set_index("user_id")["free_days"].map(frozenset).to_dict()
    rows = metrics_of(
        due,
        calendar=_frame(connection, "metrics_calendar", **asked),
        nights=nights,
        pairs=_pairs(_frame(connection, "metrics_recordings", **asked), nights),
        free_days={user_id: own.get(user_id, free_days) for user_id in asked["user_ids"]},
        today=today,
    )
    return rows.merge(due[[*_KEY, "version"]], on=list(_KEY)).assign(definition_version=DEFINITION_VERSION)


def _pairs(recordings: pd.DataFrame, nights: pd.DataFrame) -> pd.DataFrame:
    """The compared days of each user."""
    has_stages = recordings["stages"].notna().groupby(recordings["episode_id"]).all()
    nights_of = dict(tuple(nights.groupby("user_id")))
    found = {}
    for user_id, own in recordings.groupby("user_id"):
        mains = [
            MainSleep(row.midpoint_local.to_pydatetime(), row.local_zone, bool(has_stages.get(row.episode_id, False)))
            for row in _records(nights_of.get(user_id))
        ]
        found[str(user_id)] = compare_days([_recording(row) for row in _records(own)], mains)
    return pairs_frame(found)


def _records(frame: pd.DataFrame | None) -> Iterable[Any]:
    return () if frame is None else frame.itertuples(index=False)


def _recording(row: Any) -> Recording:
    return Recording(
        start=row.session_start_time.to_pydatetime(),
        start_local=row.session_start_local.to_pydatetime(),
        seconds=int(row.seconds),
        zone=row.local_zone,
        stages=stages_of(row.stages if isinstance(row.stages, str) else None),
    )


def _values(rows: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Rows for COPY, in the order of the incoming table: None where a value is missing, clock times as such."""
    shown = rows.copy()
    for name in _CLOCKS:
        seconds = whole_seconds(shown[name])
        shown[name] = pd.Series(
            [None if np.isnan(s) else time(int(s) // 3600, int(s) // 60 % 60, int(s) % 60) for s in seconds],
            index=shown.index, dtype=object,
        )  # fmt: skip
    for name in _DATES:
        shown[name] = shown[name].dt.date
    columns = [
        [
            value if isinstance(value, list) else None if pd.isna(value) else int(value) if name in _INTEGERS else value
            for value in shown[name].tolist()
        ]
        for name in (column.name for column in _incoming.c)
    ]
    return list(zip(*columns, strict=True))


def _write(connection: Connection, rows: pd.DataFrame) -> Computed:
    _incoming.create(connection)
    copy_in(connection, _incoming, _values(rows))
    counted = connection.execute(_statement()).one()
    connection.execute(text(f"DROP TABLE {_incoming.name}"))
    return Computed(*counted)


def _statement() -> Any:
    """Take the periods whose version has not changed, and write those that have sessions."""
    taken = _taken()
    is_taken = and_(*(_incoming.c[name] == taken.c[name] for name in _KEY))
    stored = sleep_metrics.c
    emptied = select(*(_incoming.c[name] for name in _KEY)).join(taken, is_taken).where(~_HAS_SESSIONS)
    removed = (
        delete(sleep_metrics)
        .where(tuple_(*(stored[name] for name in _KEY)).in_(emptied))
        .returning(stored.user_id)
        .cte("removed")
    )
    written = _written(select(*(_incoming.c[name] for name in _COLUMNS)).join(taken, is_taken).where(_HAS_SESSIONS))
    return select(*(select(func.count()).select_from(part).scalar_subquery() for part in (taken, written, removed)))


def _taken() -> CTE:
    queued = stale_periods.alias("queued")
    settled = (
        select(*(queued.c[name] for name in (*_KEY, "version")))
        .join(_incoming, and_(*(queued.c[name] == _incoming.c[name] for name in (*_KEY, "version"))))
        .with_for_update(skip_locked=True, of=queued)
        .cte("settled")
    )
    return (
        delete(stale_periods)
        .where(*(stale_periods.c[name] == settled.c[name] for name in (*_KEY, "version")))
        .returning(*(stale_periods.c[name] for name in _KEY))
        .cte("taken")
    )


def _written(rows: Select[Any]) -> CTE:
    statement = insert(sleep_metrics).from_select(list(_COLUMNS), rows.order_by(*_KEY))
    stored, new = sleep_metrics.c, statement.excluded
    values = {name: new[name] for name in _COLUMNS if name not in _KEY}
    return (
        statement.on_conflict_do_update(
            index_elements=list(_KEY),
            set_={**values, "computed_at": func.now()},
            where=tuple_(*(stored[name] for name in values)).is_distinct_from(tuple_(*values.values())),
        )
        .returning(stored.user_id)
        .cte("written")
    )
