"""Rows of `sleep_metrics`: one per user and period, from nights, the calendar of dates and compared days."""

from collections.abc import Mapping
from datetime import date

import numpy as np
import pandas as pd

from assets.metrics.circular import mean_and_sd, signed_difference
from assets.metrics.regularity import index_of

WEEK, MONTH = "week", "month"
STATUSES = ("recorded", "no_sleep_found", "not_analysable", "doubtful", "missing", "not_synced")
WEEKEND = frozenset({6, 7})
"""ISO numbers of the days that are free unless the user has others: a night belongs to the day of waking up."""

_KEY = ["user_id", "period", "period_start"]
_CLOCKS = ("onset", "wake", "midpoint")
_MEANS = {
    "time_in_sleep_of_date": "time_in_sleep_of_date",
    "latency": "latency_of_night",
    "waso": "waso_of_night",
}
_EFFICIENCY = ("time_in_sleep", "time_in_bed")
_MIN_PAIRS = {WEEK: 5, MONTH: 7}
_DAYS_OF_WEEK_INDEX = 14
_MIN_FREE, _MIN_WORK = 2, 3


def metrics_of(  # noqa: PLR0913 each is a table of its own
    periods: pd.DataFrame,
    *,
    calendar: pd.DataFrame,
    nights: pd.DataFrame,
    pairs: pd.DataFrame,
    free_days: Mapping[str, frozenset[int]],
    today: date,
) -> pd.DataFrame:
    """Compute the metrics of the requested periods.

    Args:
        periods: `user_id`, `period` ('week' from Monday, or 'month') and `period_start` (datetime64), one row each.
        calendar: `user_id`, `night_date`, `status` (one of `STATUSES`), `is_valid_night`: one row per user and date.
        nights: one row per main sleep: `user_id`, `night_date`, clock times `onset`, `wake` and `midpoint` (seconds
            after midnight), `period_seconds` (onset to wake), `time_in_sleep`, `time_in_bed`,
            `time_in_sleep_of_date`, `latency`, `waso` (seconds), `naps`, `is_valid_night`: means are over valid ones.
        pairs: as `regularity.pairs_frame` makes them.
        free_days: ISO weekdays (1 Monday to 7 Sunday) of the users that have others than Saturday and Sunday.
        today: a period is complete when its last date lies before; later dates count only when recorded.

    Returns:
        The rows of `periods` with the columns of `sleep_metrics`, missing values where a rule gives none.
    """
    rows = periods[_KEY].drop_duplicates().reset_index(drop=True)
    rows["period_end"] = _end_of(rows)
    rows["is_complete"] = rows["period_end"] < pd.Timestamp(today)
    rows["as_of"] = (rows["period_end"] + pd.Timedelta(days=1)).where(rows["is_complete"], pd.Timestamp(today))
    of_nights = _in_periods(rows, nights)
    valid = of_nights[of_nights["is_valid_night"].astype("bool")]
    tables = [
        _counts(_in_periods(rows, _dates(calendar, nights, pd.Timestamp(today)))),
        of_nights.groupby(_KEY)[["naps"]].sum(),
        _clock_statistics(valid),
        _means(valid),
        _regularity(rows, pairs),
        _free_and_work(valid[valid["period"] == MONTH], free_days),
    ]
    for table in tables:
        rows = rows.join(table, on=_KEY)
    for count in ("days", *(f"{status}_nights" for status in STATUSES), "valid_nights", "naps", "regularity_pairs"):
        rows[count] = rows[count].fillna(0).astype("int64")
    for count in ("free_nights", "work_nights"):
        rows[count] = rows[count].fillna(0).where(rows["period"] == MONTH)
    free = rows["user_id"].map(lambda user_id: sorted(free_days.get(user_id, WEEKEND)))
    rows["free_days"] = free.where(rows["period"] == MONTH, None)
    rows["coverage"] = rows["recorded_nights"] / rows["days"].where(rows["days"] > 0)
    return rows


def week_of(dates: pd.Series) -> pd.Series:
    """The Monday on or before each date."""
    monday: pd.Series = dates - pd.to_timedelta(dates.dt.day_of_week, unit="D")
    return monday


def month_of(dates: pd.Series) -> pd.Series:
    """The first day of each date's month."""
    first: pd.Series = dates - pd.to_timedelta(dates.dt.day - 1, unit="D")
    return first


def _end_of(rows: pd.DataFrame) -> pd.Series:
    start = rows["period_start"]
    month_end = month_of(start + pd.Timedelta(days=31)) - pd.Timedelta(days=1)
    return (start + pd.Timedelta(days=6)).where(rows["period"] == WEEK, month_end)


def _in_periods(rows: pd.DataFrame, dated: pd.DataFrame) -> pd.DataFrame:
    """Each row of `dated` once for every requested period that holds its date."""
    found = []
    for period, start_of in ((WEEK, week_of), (MONTH, month_of)):
        copies = dated.assign(period=period, period_start=start_of(dated["night_date"]))
        found.append(copies.merge(rows.loc[rows["period"] == period, _KEY], on=_KEY))
    return pd.concat(found, ignore_index=True)


def _dates(calendar: pd.DataFrame, nights: pd.DataFrame, today: pd.Timestamp) -> pd.DataFrame:
    """The dates that count: those that are over, and later ones with a main sleep."""
    over = calendar.loc[calendar["night_date"] < today, ["user_id", "night_date", "status", "is_valid_night"]]
    later = nights.loc[nights["night_date"] >= today, ["user_id", "night_date", "is_valid_night"]]
    return pd.concat([over, later.assign(status="recorded")], ignore_index=True)


def _counts(of_dates: pd.DataFrame) -> pd.DataFrame:
    marks = {f"{status}_nights": (of_dates["status"] == status).astype("int64") for status in STATUSES}
    marks["valid_nights"] = of_dates["is_valid_night"].astype("int64")
    return of_dates[_KEY].assign(days=1, **marks).groupby(_KEY).sum()


def _clock_statistics(of_nights: pd.DataFrame) -> pd.DataFrame:
    keys = [of_nights[key] for key in _KEY]
    columns = {}
    for clock in _CLOCKS:
        statistics = mean_and_sd(of_nights[clock], keys)
        columns[f"avg_{clock}_of_night"], columns[f"sd_{clock}_of_night"] = statistics["mean"], statistics["sd"]
    return pd.DataFrame(columns)


def _means(of_nights: pd.DataFrame) -> pd.DataFrame:
    groups = of_nights.astype(dict.fromkeys(_MEANS, "float64")).groupby(_KEY)
    means, spreads = groups[list(_MEANS)].mean(), groups[list(_MEANS)].std()
    sums = of_nights.astype(dict.fromkeys(_EFFICIENCY, "float64")).groupby(_KEY)[list(_EFFICIENCY)].sum()
    nightly = (of_nights["time_in_sleep"].astype("float64") / of_nights["time_in_bed"]).groupby(
        [of_nights[key] for key in _KEY]
    )
    efficiency = pd.DataFrame(
        {
            "avg_efficiency_of_night": sums["time_in_sleep"] / sums["time_in_bed"],
            "sd_efficiency_of_night": nightly.std(),
        }
    )
    return (
        means.rename(columns={source: f"avg_{name}" for source, name in _MEANS.items()})
        .join(spreads.rename(columns={source: f"sd_{name}" for source, name in _MEANS.items()}))
        .join(efficiency)
    )


def _regularity(rows: pd.DataFrame, pairs: pd.DataFrame) -> pd.DataFrame:
    """The index of a month's own pairs of days; of a week, over the 14 days that end with it."""
    found = []
    for period, min_pairs in _MIN_PAIRS.items():
        wanted = rows.loc[rows["period"] == period, [*_KEY, "period_end"]]
        all_pairs = wanted.merge(pairs, on="user_id")
        begin = all_pairs["period_start"]
        if period == WEEK:
            begin = all_pairs["period_end"] - pd.Timedelta(days=_DAYS_OF_WEEK_INDEX - 1)
        inside = (all_pairs["second_day"] > begin) & (all_pairs["second_day"] <= all_pairs["period_end"])
        sums = (
            all_pairs[inside & (all_pairs["compared"] > 0)]
            .groupby(_KEY)
            .agg(regularity_pairs=("compared", "size"), equal=("equal", "sum"), compared=("compared", "sum"))
        )
        index = index_of(sums["equal"].astype("float64"), sums["compared"].astype("float64"))
        sums["sleep_regularity_index"] = index.where(sums["regularity_pairs"] >= min_pairs)
        found.append(sums[["sleep_regularity_index", "regularity_pairs"]])
    return pd.concat(found)


def _free_and_work(of_nights: pd.DataFrame, free_days: Mapping[str, frozenset[int]]) -> pd.DataFrame:
    """Mid-sleep on free and on work days, social jetlag and the corrected mid-sleep (Roenneberg et al. 2003, 2012)."""
    weekday = of_nights["night_date"].dt.day_of_week + 1
    days = [free_days.get(user_id, WEEKEND) for user_id in of_nights["user_id"]]
    is_free = pd.Series(
        [day in free for day, free in zip(weekday, days, strict=True)], index=of_nights.index, dtype=bool
    )
    kinds = {}
    for kind, chosen in (("free", of_nights[is_free]), ("work", of_nights[~is_free])):
        keys = [chosen[key] for key in _KEY]
        table = mean_and_sd(chosen["midpoint"], keys)[["mean"]].assign(
            length=chosen["period_seconds"].astype("float64").groupby(keys).mean(), nights=chosen.groupby(_KEY).size()
        )
        kinds[kind] = table.add_suffix(f"_{kind}")
    both = kinds["free"].join(kinds["work"], how="outer")
    free_nights, work_nights = both["nights_free"].fillna(0), both["nights_work"].fillna(0)
    enough = (free_nights >= _MIN_FREE) & (work_nights >= _MIN_WORK)
    middle_free, middle_work = both["mean_free"].where(enough), both["mean_work"].where(enough)
    users = both.index.get_level_values("user_id")
    share_free = np.array([len(free_days.get(user_id, WEEKEND)) for user_id in users], dtype="float64") / 7
    length_of_week = share_free * both["length_free"] + (1 - share_free) * both["length_work"]
    too_long = (both["length_free"] - length_of_week).where(both["length_free"] > both["length_work"], 0.0)
    jetlag = pd.Series(signed_difference(middle_free.to_numpy(), middle_work.to_numpy()), index=both.index)
    return pd.DataFrame(
        {
            "free_nights": free_nights.astype("int64"),
            "work_nights": work_nights.astype("int64"),
            "midsleep_free": middle_free,
            "midsleep_work": middle_work,
            "social_jetlag": jetlag,
            "absolute_social_jetlag": jetlag.abs(),
            "midsleep_free_corrected": (middle_free - too_long / 2) % 86_400,
        }
    )
