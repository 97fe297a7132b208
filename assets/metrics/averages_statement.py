"""The statement that recomputes the monthly averages of the user-months in `stale_months`.

One row of `monthly_averages` is one user and one month of `night_date`. Columns named as the API names them run over
slept sessions; columns that end in `_of_night` run over main sleeps. All are made of sums and counts, first over
sessions, main sleeps of one session among them, then over the rare main sleeps of several sessions.

Beside concurrent writers: all parts of the statement read one snapshot. A writer raises `version` in the transaction
that changes the sessions, so where the version is the snapshot's, the sessions are, too. `settled` reads the newest
version of each row and locks it; a row that moved on, or that a writer holds, keeps its averages and stays queued. Only
a row taken off the queue gets its averages written, so an older snapshot never overwrites what a newer one wrote.
"""

from functools import cache

from sqlalchemy import CTE, Date, Executable, and_, bindparam, cast, delete, func, select, text, true, tuple_
from sqlalchemy import literal_column as sql
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import stale_months
from resources.database.schema.session_columns import MEANS, RATIOS
from resources.database.schema.tables import monthly_averages, sleep_sessions

_NOT_INTEGERS = {"sleep_cycle", "breathing_index"}
"""Summed as numeric: a sum of floating point depends on the order of its rows."""

_CLOCKS = {
    "start_time": "session_start_local",
    "end_time": "session_end_local",
    "sleep_time": "sleep_time_local",
    "wake_time": "wake_time_local",
}
_CLOCKS_OF_NIGHT = ("onset", "wake", "midpoint")

_IS_NIGHT = "night_role = 'main' AND episode_sessions = 1"
_IS_PART = "night_role = 'main' AND episode_sessions > 1"

_NIGHT = {
    "onset": "asleep_from_local",
    "wake": "asleep_until_local",
    "midpoint": "asleep_from_local + (asleep_until - asleep_from) / 2",
    "in_bed": "time_in_bed",
    "asleep": "time_in_sleep",
    "latency": "sleep_latency",
    "waso": "time_in_wake",
}
"""Figures of a main sleep that is one session."""

_SPLIT_NIGHT = {
    "onset": "min(asleep_from_local)",
    "wake": "max(asleep_until_local)",
    "midpoint": "min(asleep_from_local) + (max(asleep_until) - min(asleep_from)) / 2",
    "in_bed": "date_part('epoch', max(session_end_time) - min(session_start_time))::integer",
    "asleep": "sum(time_in_sleep)",
    "latency": "max(sleep_latency) FILTER (WHERE session_id = episode_id)",
    "waso": "sum(time_in_wake) + greatest(date_part('epoch', max(asleep_until) - min(asleep_from) "
    "- sum(asleep_until - asleep_from)), 0)::integer",
}
"""The same of a main sleep that is several sessions: the time between them is wake after sleep onset."""


@cache
def averages_statement() -> Executable:
    """The statement; parameter `month` (None for all). Returns one row of counts."""
    due = _due()
    taken = _taken(_summed(due))
    written, removed = _written(taken), _removed(taken)
    return select(
        select(func.count()).select_from(taken).scalar_subquery().label("user_months"),
        select(func.count(taken.c.month.distinct())).scalar_subquery().label("months"),
        select(func.count()).select_from(written).scalar_subquery().label("written"),
        select(func.count()).select_from(removed).scalar_subquery().label("removed"),
        (
            select(func.count()).select_from(due).scalar_subquery()
            - select(func.count()).select_from(taken).scalar_subquery()
        ).label("still_waiting"),
    )


def _due() -> CTE:
    month = cast(bindparam("month"), Date)
    queued = stale_months.c
    return (
        select(queued.user_id, queued.month, queued.version).where(month.is_(None) | (queued.month == month)).cte("due")
    )


def _summed(due: CTE) -> CTE:
    """The sums of each user-month: of all sessions, of slept ones, and of main sleeps of several sessions."""
    own = and_(
        sleep_sessions.c.user_id == due.c.user_id,
        sleep_sessions.c.night_month == due.c.month,
        sleep_sessions.c.deleted_at.is_(None),
    )
    every = select(*(sql(over).label(name) for name, over in _COUNTS.items())).where(own).lateral("every")
    slept = (
        select(*(sql(over).label(name) for name, over in _sums_of_slept().items()))
        .where(own, sleep_sessions.c.slept)
        .lateral("slept")
    )
    nights = (
        select(*(sql(over).label(name) for name, over in _SPLIT_NIGHT.items()))
        .where(own, text(_IS_PART))
        .group_by(sleep_sessions.c.night_date)
        .correlate(due)
        .lateral("split_nights")
    )
    split = (
        select(*(sql(over).label(f"split_{name}") for name, over in _sums_of_nights(nights_are=None).items()))
        .select_from(nights)
        .lateral("split")
    )
    return (
        select(due, every, slept, split)
        .select_from(due.join(every, true()).join(slept, true()).join(split, true()))
        .cte("summed")
    )


_COUNTS = {
    "sessions": "count(*)",
    "never_slept_sessions": "count(*) FILTER (WHERE never_slept)",
    "doubtful_sessions": "count(*) FILTER (WHERE night_role = 'doubtful')",
    "overlapping_sessions": "count(*) FILTER (WHERE night_role = 'overlapping')",
    "naps": "count(*) FILTER (WHERE night_role = 'nap' AND session_id = episode_id)",
}


def _angle(clock: str) -> str:
    return f"date_part('epoch', ({clock})::time) * (pi() / 43200)"


def _sums_of_slept() -> dict[str, str]:
    found = {"slept_sessions": "count(*)"}
    for name, _ in MEANS:
        exact = f"{name}::numeric" if name in _NOT_INTEGERS else name
        found |= {f"{name}_sum": f"sum({exact})", f"{name}_count": f"count({name})"}
    for name, over, under in RATIOS:
        found[f"{name}_over"] = f"sum({over}) FILTER (WHERE {under} IS NOT NULL)"
        found[f"{name}_under"] = f"sum({under}) FILTER (WHERE {over} IS NOT NULL)"
    for name, clock in _CLOCKS.items():
        found[f"{name}_sine"] = f"sum(sin({_angle(clock)}))"
        found[f"{name}_cosine"] = f"sum(cos({_angle(clock)}))"
        found[f"{name}_count"] = f"count({clock})"
    found["asleep_of_dates"] = "sum(time_in_sleep) FILTER (WHERE night_role IN ('main', 'nap'))"
    return found | _sums_of_nights(_IS_NIGHT)


def _sums_of_nights(nights_are: str | None) -> dict[str, str]:
    """Sums over main sleeps: of sessions that are one each, or of rows that have the figures of `_SPLIT_NIGHT`."""
    figure = _NIGHT if nights_are else {name: name for name in _SPLIT_NIGHT}

    def total(over: str, *known: str) -> str:
        conditions = [*([nights_are] if nights_are else ()), *(f"{each} IS NOT NULL" for each in known)]
        return (
            f"coalesce({over} FILTER (WHERE {' AND '.join(conditions)}), 0)" if conditions else f"coalesce({over}, 0)"
        )

    found = {"nights": total("count(*)")}
    found["night_asleep"] = total(f"sum({figure['asleep']})", figure["in_bed"])
    found["night_in_bed"] = total(f"sum({figure['in_bed']})", figure["asleep"])
    for name in ("latency", "waso"):
        found[f"night_{name}"] = total(f"sum({figure[name]})")
        found[f"night_{name}_count"] = total(f"count({figure[name]})")
    for name in _CLOCKS_OF_NIGHT:
        found[f"night_{name}_sine"] = total(f"sum(sin({_angle(figure[name])}))")
        found[f"night_{name}_cosine"] = total(f"sum(cos({_angle(figure[name])}))")
    return found


def _figures() -> dict[str, str]:
    """Each column of `monthly_averages` from the sums, in no particular order."""
    found = {
        "sessions": "sessions",
        "slept_sessions": "slept_sessions",
        "never_slept_sessions": "never_slept_sessions",
        "unanalysed_sessions": "sessions - slept_sessions - never_slept_sessions",
        "doubtful_sessions": "doubtful_sessions",
        "overlapping_sessions": "overlapping_sessions",
        "nights": _night("nights"),
        "naps": "naps",
    }
    for name, _ in MEANS:
        found[f"avg_{name}"] = _ratio(f"{name}_sum", f"{name}_count")
    for name, _, _ in RATIOS:
        found[f"avg_{name}"] = _ratio(f"{name}_over", f"{name}_under")
    for name in _CLOCKS:
        found[f"avg_{name}"] = f"asleep.clock_mean({name}_sine, {name}_cosine, {name}_count)"
    for name in _CLOCKS_OF_NIGHT:
        sums = ", ".join(_night(part) for part in (f"night_{name}_sine", f"night_{name}_cosine", "nights"))
        found[f"avg_{name}_of_night"] = f"asleep.clock_mean({sums})"
    found["avg_efficiency_of_night"] = _ratio(_night("night_asleep"), _night("night_in_bed"))
    for name in ("latency", "waso"):
        found[f"avg_{name}_of_night"] = _ratio(_night(f"night_{name}"), _night(f"night_{name}_count"))
    found["avg_time_in_sleep_of_date"] = _ratio("asleep_of_dates", _night("nights"))
    return found


def _night(name: str) -> str:
    return f"({name} + split_{name})"


def _ratio(over: str, under: str) -> str:
    return f"{over}::double precision / nullif({under}, 0)"


def _taken(summed: CTE) -> CTE:
    """User-months whose newest version is the one summed: locked, and taken off the queue."""
    computed = select(summed).order_by(summed.c.user_id, summed.c.month).subquery("computed")
    queued = stale_months.alias("queued")

    def is_same(other: object) -> object:
        return and_(*(queued.c[name] == other.c[name] for name in ("user_id", "month", "version")))  # type: ignore[attr-defined]

    newest = select(queued.c.version.label("newest")).where(is_same(computed)).with_for_update(skip_locked=True)  # type: ignore[arg-type]
    settled = select(computed).select_from(computed.join(newest.lateral("newest"), true())).cte("settled")
    stale = stale_months
    return (
        delete(stale)
        .where(*(stale.c[name] == settled.c[name] for name in ("user_id", "month", "version")))
        .returning(*settled.c)
        .cte("taken")
    )


def _written(taken: CTE) -> CTE:
    figures = _figures()
    statement = insert(monthly_averages).from_select(
        ["user_id", "month", *figures],
        select(taken.c.user_id, taken.c.month, *(sql(figure) for figure in figures.values()))
        .where(taken.c.sessions > 0)
        .order_by(taken.c.user_id, taken.c.month),
    )
    stored, new = monthly_averages.c, statement.excluded
    return (
        statement.on_conflict_do_update(
            index_elements=["user_id", "month"],
            set_={**{name: new[name] for name in figures}, "computed_at": func.now()},
            where=tuple_(*(stored[name] for name in figures)).is_distinct_from(
                tuple_(*(new[name] for name in figures))
            ),
        )
        .returning(stored.user_id)
        .cte("written")
    )


def _removed(taken: CTE) -> CTE:
    stored = monthly_averages.c
    return (
        delete(monthly_averages)
        .where(taken.c.sessions == 0, stored.user_id == taken.c.user_id, stored.month == taken.c.month)
        .returning(stored.user_id)
        .cte("removed")
    )
