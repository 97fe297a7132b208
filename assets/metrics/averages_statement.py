"""The statement that recomputes the monthly averages of the user-months in `stale_months`.

One row of `monthly_averages` is one user and one month of `night_date`. Columns named as the API names them run over
slept sessions, those that end in `_of_night` or `_of_date` over valid nights. All are made of sums and counts: `slept`
passes over the slept sessions once; `beside` adds the few dates that hold more, or less, than a main sleep of one
session, as the view `night_dates` shows them.

All parts of the statement read one snapshot; `stale_rows` explains how it stands beside concurrent writers.
"""

from functools import cache
from typing import Any

from sqlalchemy import (
    CTE,
    BigInteger,
    Date,
    Executable,
    Subquery,
    and_,
    bindparam,
    cast,
    func,
    select,
    text,
    true,
)
from sqlalchemy import literal_column as sql

from assets.metrics.stale_rows import count_of, take_and_store
from resources.database.schema.bookkeeping import stale_months, sync_ledger
from resources.database.schema.session_columns import MEANS, RATIOS
from resources.database.schema.tables import monthly_averages, sleep_sessions

_NOT_INTEGERS = {"sleep_cycle", "breathing_index"}
"""A sum of floating point depends on the order of its rows: whole numbers and the rest are summed apart, exactly."""

_CLOCKS = {
    "start_time": "session_start_local",
    "end_time": "session_end_local",
    "sleep_time": "sleep_time_local",
    "wake_time": "wake_time_local",
}
_CLOCKS_OF_NIGHT = {
    "onset": "asleep_from_local",
    "wake": "asleep_until_local",
    "midpoint": "asleep_from_local + (asleep_until_local - asleep_from_local) / 2",
}
_SUMS_OF_NIGHT = {
    "asleep": "time_in_sleep",
    "in_bed": "time_in_bed",
    "latency": "sleep_latency",
    "waso": "time_in_wake",
}
"""Figures of a main sleep, in `sleep_sessions` of one session and in the view `night_dates` of several."""

_HANDS = {"sine": "sin", "cosine": "cos"}

_CALENDAR_STATUSES = ("no_sleep_found", "not_analysable", "doubtful", "not_synced")
"""What became of dates that hold sessions but no main sleep."""

_DATES_BESIDE = """
(
    SELECT night_date AS listed_date, count(*) FILTER (WHERE NOT slept) AS unslept_sessions
    FROM asleep.sleep_sessions
    WHERE user_id = due.user_id AND night_month = due.month
        AND deleted_at IS NULL AND (night_role IS DISTINCT FROM 'main' OR episode_sessions > 1)
    GROUP BY night_date
) AS listed
CROSS JOIN LATERAL (
    SELECT
        *,
        sessions > 1 AND is_valid_night AS is_valid,
        asleep.clock_angle(sleep_time_local) AS night_onset_angle,
        asleep.clock_angle(wake_time_local) AS night_wake_angle,
        asleep.clock_angle(midpoint_local) AS night_midpoint_angle
    FROM asleep.night_dates
    WHERE night_dates.user_id = due.user_id AND night_dates.night_date = listed.listed_date
    OFFSET 0
) AS date
"""
"""Dates with anything but a main sleep in one session: found by `sleep_sessions_beside_single_nights_idx`."""

_DATES_OVER = "greatest(calendar_end - calendar_begin, 0)"
_EMPTY_DATES = f"({_DATES_OVER} - (single_nights - single_nights_of_today) - (split_nights - split_nights_of_today)"
_EMPTY_DATES += "".join(f" - {status}_dates" for status in _CALENDAR_STATUSES) + ")"
"""Dates that hold no session."""

_MISSING = f"""
CASE
    WHEN covered IS NULL OR {_EMPTY_DATES} = 0 THEN 0
    WHEN asleep.covers_nights(covered, calendar_begin, calendar_end) THEN {_EMPTY_DATES}
    ELSE (
        SELECT count(*)
        FROM generate_series(calendar_begin, calendar_end - 1, interval '1 day') AS date
        WHERE asleep.covers_nights(covered, date::date, date::date + 1)
            AND NOT EXISTS (
                SELECT
                FROM asleep.sleep_sessions AS s
                WHERE s.user_id = summed.user_id AND s.night_date = date::date AND s.deleted_at IS NULL
            )
    )
END
"""
"""Of the dates that hold no session, those that the user's syncs cover."""


@cache
def averages_statement() -> Executable:
    """The statement; parameter `month` (None for all). Returns one row: the counts of `Summarised`."""
    due = _due()
    computed = _computed(_summed(due))
    taken, written, removed = take_and_store(computed, stale_months, monthly_averages, lambda row: row.sessions > 0)
    return select(
        count_of(taken),
        select(func.count(taken.c.month.distinct())).scalar_subquery(),
        count_of(written),
        count_of(taken) - count_of(written) - count_of(removed),
        count_of(removed),
        count_of(due) - count_of(taken),
    )


def _due() -> CTE:
    """The queued user-months, neighbours in the table one after the other, with the dates of their calendars."""
    month, queued = cast(bindparam("month"), Date), stale_months
    is_due = month.is_(None) | (queued.c.month == month)
    users = select(queued.c.user_id).where(is_due).distinct().offset(0).subquery("users")
    own = and_(sleep_sessions.c.user_id == users.c.user_id, sleep_sessions.c.deleted_at.is_(None))
    first_date = select(func.min(sleep_sessions.c.night_date)).where(own).correlate(users).scalar_subquery()
    recorded = select(users.c.user_id, first_date.label("first_date")).offset(0).subquery("recorded")
    today = select(sql("(now() AT TIME ZONE 'UTC')::date")).scalar_subquery()
    next_month = sql("(month + interval '1 month')::date", Date)
    return (
        select(
            queued.c.user_id,
            queued.c.month,
            queued.c.version,
            func.greatest(queued.c.month, recorded.c.first_date).label("calendar_begin"),
            func.least(next_month, today).label("calendar_end"),
            (next_month <= today).label("is_complete"),
        )
        .join(recorded, recorded.c.user_id == queued.c.user_id)
        .where(is_due)
        .order_by(queued.c.month, queued.c.user_id)
        .cte("due")
    )


def _summed(due: CTE) -> CTE:
    """The sums of each user-month, and what the user's syncs cover."""
    is_single = "night_role = 'main' AND episode_sessions = 1"
    columns = {name for name, _ in MEANS} | {"night_date"} | set(_SUMS_OF_NIGHT.values())
    angles = _CLOCKS | {f"night_{name}": clock for name, clock in _CLOCKS_OF_NIGHT.items()}
    sessions = (
        select(
            *(sleep_sessions.c[name] for name in sorted(columns)),
            *(sql(f"asleep.clock_angle({clock})").label(f"{name}_angle") for name, clock in angles.items()),
            sql(f"({is_single})").label("is_single"),
            sql(f"({is_single} AND asleep.is_valid_night(time_in_bed, missing_data_ratio))").label("is_valid"),
        )
        .where(
            sleep_sessions.c.user_id == due.c.user_id,
            sleep_sessions.c.night_month == due.c.month,
            sleep_sessions.c.slept,
        )
        .correlate(due)
        .offset(0)  # else the planner computes each angle twice, for the sine and for the cosine
        .lateral("session")
    )
    slept = _sums(_sums_of_slept()).select_from(sessions).correlate(due).lateral("slept")
    beside = _sums(_sums_beside()).select_from(text(_DATES_BESIDE)).correlate(due).lateral("beside")
    ledger = sync_ledger.c
    return (
        select(due, slept, beside, ledger.covered)
        .select_from(
            due.join(slept, true()).join(beside, true()).outerjoin(sync_ledger, ledger.user_id == due.c.user_id)
        )
        .cte("summed")
    )


def _sums(sums: dict[str, str]) -> Any:
    return select(*(sql(over, BigInteger).label(name) for name, over in sums.items()))


def _sums_of_slept() -> dict[str, str]:
    found = {"slept_sessions": "count(*)"}
    for name, _ in MEANS:
        found |= {f"{name}_sum": f"sum({name})", f"{name}_count": f"count({name})"}
    for name in _NOT_INTEGERS:
        whole, rest = f"trunc({name})::bigint", f"({name} - trunc({name}))::numeric"
        found[f"{name}_sum"] = f"sum({whole}) + coalesce(sum({rest}) FILTER (WHERE {name} <> trunc({name})), 0)"
    for name, over, under in RATIOS:
        found[f"{name}_over"] = _sum_of_both(over, under)
        found[f"{name}_under"] = _sum_of_both(under, over)
    for name in _CLOCKS:
        found[f"{name}_count"] = f"count({name}_angle)"
        found |= {f"{name}_{part}": f"sum({turn}({name}_angle))" for part, turn in _HANDS.items()}
    return found | _sums_of_nights("single", "is_single")


def _sum_of_both(summed: str, known: str) -> str:
    """The sum over sessions in which both are known; nearly all are, so that the others are summed and subtracted."""
    return f"(sum({summed}) - coalesce(sum({summed}) FILTER (WHERE {known} IS NULL), 0))"


def _sums_beside() -> dict[str, str]:
    counts = ("unslept_sessions", "never_slept_sessions", "doubtful_sessions", "overlapping_sessions", "naps")
    found = {name: f"coalesce(sum({name}), 0)" for name in counts}
    for status in _CALENDAR_STATUSES:
        found[f"{status}_dates"] = f"count(*) FILTER (WHERE status = '{status}' AND night_date < due.calendar_end)"
    found["asleep_in_naps"] = "coalesce(sum(time_in_sleep_of_naps) FILTER (WHERE is_valid_night), 0)"
    return found | _sums_of_nights("split", "sessions > 1")


def _sums_of_nights(kind: str, is_night: str) -> dict[str, str]:
    """Counts of main sleeps, and sums over the valid ones, of one kind: of one session each, or of several."""
    found = {
        f"{kind}_nights": f"count(*) FILTER (WHERE {is_night})",
        f"{kind}_nights_of_today": f"count(*) FILTER (WHERE {is_night} AND night_date >= due.calendar_end)",
        f"{kind}_valid": "count(*) FILTER (WHERE is_valid)",
    }
    for name, figure in _SUMS_OF_NIGHT.items():
        found[f"{kind}_{name}"] = f"coalesce(sum({figure}) FILTER (WHERE is_valid), 0)"
        found[f"{kind}_{name}_count"] = f"count({figure}) FILTER (WHERE is_valid)"
    for name in _CLOCKS_OF_NIGHT:
        for part, turn in _HANDS.items():
            total = f"sum({turn}(night_{name}_angle)) FILTER (WHERE is_valid)"
            found[f"{kind}_{name}_{part}"] = f"coalesce({total}, 0)"
    return found


def _figures() -> dict[str, str]:
    """Each column of `monthly_averages` from the sums, in no particular order."""
    nights, valid = _both("nights"), _both("valid")
    days = f"({_DATES_OVER} + {_both('nights_of_today')})"
    found = {
        "sessions": "(slept_sessions + unslept_sessions)::integer",
        "slept_sessions": "slept_sessions",
        "never_slept_sessions": "never_slept_sessions",
        "unanalysed_sessions": "unslept_sessions - never_slept_sessions",
        "doubtful_sessions": "doubtful_sessions",
        "overlapping_sessions": "overlapping_sessions",
        "is_complete": "is_complete",
        "as_of": "calendar_end",
        "days": days,
        "nights": nights,
        "valid_nights": valid,
        **{f"{status}_nights": f"{status}_dates" for status in _CALENDAR_STATUSES},
        "missing_nights": "missing_dates",
        "not_synced_nights": f"not_synced_dates + {_EMPTY_DATES} - missing_dates",
        "coverage": _ratio(nights, days),
        "naps": "naps",
    }
    for name, _ in MEANS:
        found[f"avg_{name}"] = _ratio(f"{name}_sum", f"{name}_count")
    for name, _, _ in RATIOS:
        found[f"avg_{name}"] = _ratio(f"{name}_over", f"{name}_under")
    for name in _CLOCKS:
        found[f"avg_{name}"] = f"asleep.clock_mean({name}_sine, {name}_cosine, {name}_count)"
    for name in _CLOCKS_OF_NIGHT:
        found[f"avg_{name}_of_night"] = (
            f"asleep.clock_mean({_both(f'{name}_sine')}, {_both(f'{name}_cosine')}, {valid})"
        )
    found["avg_efficiency_of_night"] = _ratio(_both("asleep"), _both("in_bed"))
    for name in ("latency", "waso"):
        found[f"avg_{name}_of_night"] = _ratio(_both(name), _both(f"{name}_count"))
    found["avg_time_in_sleep_of_date"] = _ratio(f"({_both('asleep')} + asleep_in_naps)", valid)
    return found


def _both(name: str) -> str:
    return f"(single_{name} + split_{name})"


def _ratio(over: str, under: str) -> str:
    return f"{over}::double precision / nullif({under}, 0)"


def _computed(summed: CTE) -> Subquery:
    """The row of each user-month, and the version that was summed."""
    counted = (
        select(summed, sql(_MISSING).label("missing_dates"))
        .order_by(summed.c.user_id, summed.c.month)
        .subquery("counted")
    )
    figures: list[Any] = [sql(figure).label(name) for name, figure in _figures().items()]
    key = (counted.c.user_id, counted.c.month)
    return select(*key, counted.c.version, *figures).order_by(*key).subquery("computed")
