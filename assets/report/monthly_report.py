"""The monthly report of the organisation, or of one user: which figures and pictures it shows, in which order."""

from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import pandas as pd
from sqlalchemy import Connection, text

from assets.report import charts
from assets.report.formatting import (
    against_before,
    change,
    counted,
    duration,
    format_clock_time,
    format_number,
    percent,
)
from assets.report.html_page import Page, Picture, Sheet, Tile
from assets.report.style import markdown, svg
from resources.database import frames
from resources.database.users.pseudonym_key import name_in_files

_EFFICIENCY = "Time asleep of the time in bed, main sleeps."
_MAIN_SLEEPS = "main sleeps"
_PER_DATE = "asleep per date, naps included"
_TOP = 10
_ENOUGH_NIGHTS = 5
_OF_USERS = (
    "user_id", "nights", "nights_before", "avg_time_in_sleep_of_date", "avg_efficiency_of_night", "avg_onset_of_night",
    "change_in_time_in_sleep_of_date", "change_in_onset_of_night_minutes",
)  # fmt: skip
_OF_METRICS = ("period", "sleep_regularity_index", "missing_nights", "recorded_nights", "days")
_OF_SESSIONS = ("night_date", "night_role", "session_start_local", "sleep_stages")


class NothingToReport(LookupError):
    """There is no sleep in that month to report on."""


def render_report(connection: Connection, month: date, user_id: str | None = None) -> str:
    """The report as one HTML document that needs no other file.

    Args:
        connection: the rights of an analyst are enough.
        month: first day of the month.
        user_id: whose report; None for the organisation's.

    Raises:
        NothingToReport: no slept session in the month.
    """
    page = _of_everybody(connection, month) if user_id is None else _of_one(connection, month, user_id)
    return page.html()


def previews(connection: Connection, month: date) -> dict[str, str]:
    """Small pictures of the organisation's month as Markdown, for the UI; none without sleep.

    Args:
        connection: to read with.
        month: its first day.
    """
    months = _year(connection, "monthly_overview", month)
    if months.empty or not months["sleeping_users"].iloc[-1]:
        return {}
    across = charts.by_month(months["month"].tolist())
    return {
        "stages_by_month": markdown(
            charts.stage_bars(months, across, prefix="avg_"), "Hours in each stage a session by month"
        ),
        "efficiency_by_month": markdown(charts.efficiency_line(months, across), "Sleep efficiency by month"),
        "clock_by_month": markdown(_clocks(months, across), "Falling asleep and waking up by month"),
    }


def _year(connection: Connection, source: str, month: date, **chosen: Any) -> pd.DataFrame:
    """The rows of a year that ends with a month; none when the month itself has none."""
    first = month.replace(day=2).replace(year=month.year - 1)
    months = frames.read(connection, source, first=first, last=month, **chosen)
    return months if month in set(months["month"].dt.date) else months.iloc[:0]


def _of_everybody(connection: Connection, month: date) -> Page:
    users = frames.read(connection, "user_months", first=month, last=month, columns=_OF_USERS)
    users = users[users["nights"] > 0]
    if users.empty:
        raise NothingToReport(NothingToReport.__doc__)
    months = _year(connection, "monthly_overview", month)
    metrics = _month_metrics(connection, month)
    sleeping_users = counted(months["sleeping_users"].iloc[-1], "user")
    return Page(
        over="Sleep of all users",
        title=f"{month:%B %Y}",
        under=f"{sleeping_users} with sleep. Each user counts once, whatever their nights.",
        tiles=[*_tiles_of_everybody(months), *_metric_tiles(metrics)],
        blocks=[
            *_pictures_of_everybody(months, users),
            *_regularity(metrics),
            *_most_changed(users, name_in_files(connection)),
        ],
        foot=_foot(connection),
    )


def _tiles_of_everybody(months: pd.DataFrame) -> list[Tile]:
    this = months.iloc[-1]
    before = months[months["month"] == (this["month"] - timedelta(days=1)).replace(day=1)]
    more_sleep, more_efficient = (
        this[name] - before[name].mean() for name in ("avg_time_in_sleep_of_date", "avg_efficiency_of_night")
    )
    return [
        Tile("Nights", format_number(this["nights"]), f"{format_number(this['nights_per_user'], 1)} a user"),
        *_asleep_and_efficiency(this, more_sleep, more_efficient),
        Tile(
            "Falls asleep",
            format_clock_time(this["avg_onset_of_night"]),
            f"after {duration(this['avg_latency_of_night'])} in bed",
        ),
        Tile(
            "Wakes up",
            format_clock_time(this["avg_wake_of_night"]),
            f"{duration(this['avg_waso_of_night'])} awake between",
        ),
        _deep(this),
    ]


def _metric_tiles(metrics: pd.DataFrame) -> list[Tile]:
    """Regularity and missing nights; none without metrics of the month."""
    if metrics.empty:
        return []
    share = metrics["recorded_nights"].sum() / max(1, metrics["days"].sum())
    note = "Sleep Regularity Index, 100 at most" + ("; mean of users" if len(metrics) > 1 else "")
    return [
        Tile("Regularity", format_number(metrics["sleep_regularity_index"].mean()), note),
        Tile(
            "Missing nights", format_number(metrics["missing_nights"].sum()), f"{percent(share)} of the dates recorded"
        ),
    ]


def _regularity(metrics: pd.DataFrame) -> list[Picture]:
    known = metrics["sleep_regularity_index"].dropna()
    if known.empty:
        return []
    words = "Sleep Regularity Index: 100 is asleep and awake at the same times every day."
    picture = svg(charts.spread(known, 5, "", width="full"), "regularity")
    return [Picture("Regularity by user", words, picture, wide=True)]


def _asleep_and_efficiency(this: Any, more_seconds: float, more_efficient: float) -> list[Tile]:
    note = f"{against_before(more_seconds / 60, 'min')}; naps included"
    return [
        Tile("Asleep per date", duration(this["avg_time_in_sleep_of_date"]), note),
        Tile("Efficiency", percent(this["avg_efficiency_of_night"]), against_before(more_efficient * 100, "points", 1)),
    ]


def _deep(this: Any) -> Tile:
    note = f"a session, {percent(this['avg_deep_ratio'])} of the sleep period"
    return Tile("Deep sleep", duration(this["avg_time_in_deep"]), note)


def _pictures_of_everybody(months: pd.DataFrame, users: pd.DataFrame) -> list[Picture]:
    across = charts.by_month(months["month"].tolist())
    hours = users["avg_time_in_sleep_of_date"].dropna() / 3600
    drifts = users["change_in_onset_of_night_minutes"].dropna()
    stages = svg(charts.stage_bars(months, across, prefix="avg_"), "stages")
    shown = [Picture("Stages by month", "Mean hours a session; a nap is one, too.", stages)]
    if len(hours):
        lengths = svg(charts.spread(hours, 0.5, "h"), "spread")
        shown.append(Picture("Sleep by user", f"Mean hours {_PER_DATE}.", lengths))
    shown += _efficiency_and_clocks(months, f"By each person's own clock; {_MAIN_SLEEPS}.")
    if len(drifts):
        drift = svg(charts.spread(drifts, 5, "min", width="full"), "drift")
        shown.append(Picture("Drift of bed time", "Minutes later than in the month before, by user.", drift, wide=True))
    return shown


def _efficiency_and_clocks(months: pd.DataFrame, words: str) -> list[Picture]:
    across = charts.by_month(months["month"].tolist())
    return [
        Picture("Efficiency by month", _EFFICIENCY, svg(charts.efficiency_line(months, across), "efficiency")),
        Picture("Bed time by month", words, svg(_clocks(months, across), "clocks-by-month")),
    ]


def _most_changed(users: pd.DataFrame, name: Callable[[str], str]) -> list[Sheet]:
    more = users["change_in_time_in_sleep_of_date"]
    enough = users[more.notna() & (users[["nights", "nights_before"]].min(axis=1) >= _ENOUGH_NIGHTS)]
    ordered = enough.sort_values("user_id").sort_values(str(more.name), key=lambda size: -size.abs(), kind="stable")
    top: Any = ordered.head(_TOP).itertuples()
    rows = [
        (name(user.user_id), format_number(user.nights), duration(user.avg_time_in_sleep_of_date),
         change(user.change_in_time_in_sleep_of_date / 60, "min"), percent(user.avg_efficiency_of_night),
         format_clock_time(user.avg_onset_of_night), change(user.change_in_onset_of_night_minutes, "min"))
        for user in top
    ]  # fmt: skip
    head = ("User", "Nights", "Asleep per date", "Change", "Efficiency", "Falls asleep", "Drift")
    words = f"Time {_PER_DATE}: users with at least {_ENOUGH_NIGHTS} nights in this month and the one before."
    return [Sheet("Largest changes in sleep", words, head, rows)] if rows else []


def _of_one(connection: Connection, month: date, user_id: str) -> Page:
    of_month: frames.Chosen = {
        "users": [user_id],
        "first": month,
        "last": (month + timedelta(days=31)).replace(day=1) - timedelta(days=1),
    }
    months = _year(connection, "user_months", month, users=[user_id])
    nights = frames.nights(connection, **of_month)
    if nights.empty or months.empty:
        raise NothingToReport(NothingToReport.__doc__)
    sessions = frames.read(connection, "sleep_sessions", **of_month | {"columns": _OF_SESSIONS})
    calendar = frames.calendar(connection, **of_month)
    missing = [moment.date() for moment in calendar.loc[calendar["status"] == "missing", "night_date"]]
    return Page(
        over="Sleep of one user",
        title=f"{month:%B %Y}",
        under=name_in_files(connection)(user_id),
        tiles=[*_tiles_of_one(months.iloc[-1]), *_metric_tiles(_month_metrics(connection, month, users=[user_id]))],
        blocks=[
            *_recorded_nights(sessions, missing),
            *_pictures_of_nights(nights),
            *_efficiency_and_clocks(months, f"Mean clock times; {_MAIN_SLEEPS}."),
        ],
        foot=_foot(connection),
    )


def _tiles_of_one(this: Any) -> list[Tile]:
    later_to_bed, later_up = this["change_in_onset_of_night_minutes"], this["change_in_wake_of_night_minutes"]
    return [
        Tile("Nights", format_number(this["nights"]), f"{counted(this['naps'], 'nap')} beside them"),
        *_asleep_and_efficiency(this, this["change_in_time_in_sleep_of_date"], this["change_in_efficiency_of_night"]),
        Tile("Falls asleep", format_clock_time(this["avg_onset_of_night"]), against_before(later_to_bed, "min")),
        Tile("Wakes up", format_clock_time(this["avg_wake_of_night"]), against_before(later_up, "min")),
        _deep(this),
    ]


def _recorded_nights(sessions: pd.DataFrame, missing: Sequence[date]) -> list[Picture]:
    recorded = sessions[sessions["night_role"].isin(["main", "nap"]) & (sessions["sleep_stages"].str.len() > 0)]
    main = recorded[recorded["night_role"] == "main"]
    shown = []
    if len(main):
        last = main["night_date"].max()
        words = "The newest night with stages, by the local clock; grey where the stage is unknown."
        one = svg(charts.hypnogram(*charts.whole_night(main[main["night_date"] == last])), "hypnogram")
        shown.append(Picture(f"The night of {last:%A} {last.day} {last:%B}", words, one, wide=True))
    if len(recorded):
        words = "Main sleeps and naps by the local clock; a row is a date of waking up."
        shown.append(Picture("Every night", words, svg(charts.actogram(recorded, missing), "nights"), wide=True))
    return shown


def _pictures_of_nights(nights: pd.DataFrame) -> list[Picture]:
    days = charts.by_day(nights["night_date"].tolist())
    moments = (nights[name].where(nights["is_valid_night"]) for name in ("sleep_time_local", "wake_time_local"))
    asleep, awake = (moment - moment.dt.normalize() for moment in moments)
    stages, by_night = svg(charts.stage_bars(nights, days), "stages"), svg(charts.clocks(asleep, awake, days), "clocks")
    return [
        Picture("Stages by night", "Hours in each stage of the main sleep.", stages),
        Picture(
            "Bed time by night", "Falling asleep and waking up on valid nights, which have 3 hours in bed.", by_night
        ),
    ]


def _month_metrics(connection: Connection, month: date, **chosen: Any) -> pd.DataFrame:
    metrics = frames.sleep_metrics(connection, first=month, last=month, columns=_OF_METRICS, **chosen)
    return metrics[metrics["period"] == "month"]


def _clocks(months: pd.DataFrame, across: charts.Across) -> Any:
    return charts.clocks(months["avg_onset_of_night"], months["avg_wake_of_night"], across)


def _foot(connection: Connection) -> str:
    fresh = connection.execute(text("SELECT * FROM asleep.data_freshness")).one()
    changed = "never" if fresh.newest_change_at is None else f"{fresh.newest_change_at:%Y-%m-%d %H:%M} UTC"
    return (
        f"Made {fresh.asked_at:%Y-%m-%d %H:%M} UTC from the views monthly_overview, user_months and nights. "
        f"Sessions last changed: {changed}. {format_number(fresh.user_months_waiting)} user-months wait for their "
        f"averages, {format_number(fresh.missing_data)} lists or sessions are missing."
    )
