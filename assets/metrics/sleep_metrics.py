"""Recompute the rows of `sleep_metrics` whose sessions changed, some users at a time.

Each batch is read in one snapshot, together with the versions of its stale periods. It is written only where a version
is still the same: then no session changed meanwhile. Other periods stay stale for the next run.
"""

from collections.abc import Iterable
from datetime import date
from typing import Any, NamedTuple

import pandas as pd
from sqlalchemy import Column, Connection, Engine, Integer, MetaData, Table, Time, select

from assets.metrics.circular import whole_seconds
from assets.metrics.periods import WEEKEND, metrics_of
from assets.metrics.regularity import MainSleep, Recording, compare_days, pairs_frame, stages_of
from assets.metrics.stale_rows import count_of, take_and_store
from resources.database.copy import copy_in
from resources.database.schema.bookkeeping import stale_periods
from resources.database.schema.metrics_table import sleep_metrics
from resources.load_sql import load_sql

DEFINITION_VERSION = 3
"""Raise it when a definition changes: rows of another version are recomputed."""

USERS_AT_ONCE = 200
"""Bounds the memory: a user's month of stages takes about 2 MB while its days are compared."""

_HISTORY = pd.Timedelta(days=9)
"""A week's regularity compares the days of the week before; a session may begin a day earlier."""

_COLUMNS = tuple(each.name for each in sleep_metrics.c if each.name != "computed_at")
_KEY = ("user_id", "period", "period_start")
_CLOCKS = tuple(name for name in _COLUMNS if isinstance(sleep_metrics.c[name].type, Time))
_INTEGERS = tuple(name for name in _COLUMNS if isinstance(sleep_metrics.c[name].type, Integer))
_DATES = ("period_start", "period_end", "as_of")

_incoming = Table(
    "incoming_metrics",
    MetaData(),
    *(Column(name, sleep_metrics.c[name].type) for name in _COLUMNS),
    Column("version", stale_periods.c.version.type),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DROP",
)


class Computed(NamedTuple):
    """What became of the stale periods."""

    periods: int
    """Recomputed and no longer stale."""
    written: int
    """New, or different from what was stored."""
    removed: int
    """No session is left, so the row vanished."""


@pd.option_context("mode.string_storage", "python")  # 40 MiB less than Arrow's memory, and a fifth less CPU
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
    for dated in ("night_date", "period_start"):
        if dated in frame:
            frame[dated] = pd.to_datetime(frame[dated]).astype("datetime64[s]")
    return frame


def _rows(connection: Connection, due: pd.DataFrame, today: date, free_days: frozenset[int]) -> pd.DataFrame:
    spans = due.groupby("user_id")["period_start"].agg(["min", "max"])
    requested = {
        "user_ids": list(spans.index),
        "firsts": [moment.date() for moment in spans["min"] - _HISTORY],
        "lasts": [moment.date() for moment in spans["max"] + pd.Timedelta(days=32)],
    }
    nights = _frame(connection, "metrics_nights", **requested)
    own = due.dropna(subset="free_days").set_index("user_id")["free_days"].map(frozenset).to_dict()
    rows = metrics_of(
        due,
        calendar=_frame(connection, "metrics_calendar", **requested),
        nights=nights,
        pairs=_pairs(_frame(connection, "metrics_recordings", **requested), nights),
        free_days={user_id: own.get(user_id, free_days) for user_id in requested["user_ids"]},
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
    """Rows for COPY, in the order of the incoming table: None for what is missing, clock times and dates as text."""
    shown = rows.copy()
    for name in _CLOCKS:
        shown[name] = pd.to_datetime(whole_seconds(shown[name]), unit="s").dt.strftime("%H:%M:%S")
    for name in _DATES:
        shown[name] = shown[name].dt.strftime("%Y-%m-%d")
    shown = shown.astype(dict.fromkeys(_INTEGERS, "Int64")).astype(object).where(shown.notna(), None)
    return list(shown[[*_COLUMNS, "version"]].itertuples(index=False, name=None))


def _write(connection: Connection, rows: pd.DataFrame) -> Computed:
    """Store the rows whose version has not changed. Figures of users travel by COPY, which no server logs."""
    _incoming.create(connection)
    copy_in(connection, _incoming, _values(rows))
    computed = select(_incoming).order_by(*(_incoming.c[name] for name in _KEY)).subquery("computed")
    parts = take_and_store(computed, stale_periods, sleep_metrics, _has_sessions)
    return Computed(*connection.execute(select(*map(count_of, parts))).one())


def _has_sessions(row: Any) -> Any:
    return row.days > row.missing_nights + row.not_synced_nights
