"""The monthly report of the organisation, or of one user: the figures and pictures that its templates show."""

from datetime import UTC, date, timedelta
from functools import cache
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from matplotlib.figure import Figure
from sqlalchemy import Connection, text

from assets.report import charts, formatting
from resources.database import frames
from resources.database.users.pseudonym_key import name_in_files

_TOP = 10
_ENOUGH_NIGHTS = 5
_OF_USERS = (
    "user_id", "nights", "nights_before", "avg_time_in_sleep_of_date", "avg_efficiency_of_night", "avg_onset_of_night",
    "change_in_time_in_sleep_of_date", "change_in_onset_of_night_minutes",
)  # fmt: skip
_OF_METRICS = ("period", "sleep_regularity_index", "missing_nights", "recorded_nights", "days")
_OF_SESSIONS = ("night_date", "night_role", "session_start_local", "sleep_stages")
_CHANGES = ("time_in_sleep_of_date", "efficiency_of_night", "onset_of_night_minutes", "wake_of_night_minutes")


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
    shown = _of_everybody(connection, month) if user_id is None else _of_one(connection, month, user_id)
    fresh = connection.execute(text("SELECT * FROM asleep.data_freshness")).one()
    template = _templates().get_template("organisation.html.j2" if user_id is None else "one_user.html.j2")
    is_over = _next_month(month) <= fresh.asked_at.astimezone(UTC).date()
    shown |= {"month": month, "is_over": is_over, "fresh": fresh}
    return template.render(shown, name=name_in_files(connection), charts=charts)


def previews(connection: Connection, month: date) -> dict[str, str]:
    """Small pictures of the organisation's month as Markdown, for the UI; none without sleep.

    Args:
        connection: to read with.
        month: its first day.
    """
    months = _year(connection, "monthly_overview", month)
    if months.empty or not months["sleeping_users"].iloc[-1]:
        return {}
    pictures = _by_month(months)
    across = charts.by_month(months["month"].tolist())
    stages = charts.stage_bars(months, across, prefix="avg_")
    return {
        "stages_by_month": charts.markdown(stages, "Hours in each stage a session by month"),
        "efficiency_by_month": charts.markdown(pictures["efficiency"], "Sleep efficiency by month"),
        "clock_by_month": charts.markdown(pictures["clocks_by_month"], "Falling asleep and waking up by month"),
    }


def _next_month(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


@cache
def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("assets.report", ""), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    templates.filters |= formatting.FILTERS | {"drawn": _drawn}
    return templates


def _drawn(picture: Figure, name: str, title: str) -> Markup:
    """The picture; its title is for screen readers."""
    described = f'<svg role="img" aria-label="{escape(title)}"'
    return Markup(charts.svg(picture, name).replace("<svg", described, 1))  # noqa: S704 drawn by us


def _year(connection: Connection, source: str, month: date, **chosen: Any) -> pd.DataFrame:
    """The rows of a year that ends with a month; none when the month itself has none."""
    first = month.replace(day=2).replace(year=month.year - 1)
    months = frames.read(connection, source, first=first, last=month, **chosen)
    return months if month in set(months["month"].dt.date) else months.iloc[:0]


def _by_month(months: pd.DataFrame) -> dict[str, Figure]:
    across = charts.by_month(months["month"].tolist())
    return {
        "efficiency": charts.efficiency_line(months, across),
        "clocks_by_month": charts.clocks(months["avg_onset_of_night"], months["avg_wake_of_night"], across),
    }


def _of_everybody(connection: Connection, month: date) -> dict[str, Any]:
    users = frames.read(connection, "user_months", first=month, last=month, columns=_OF_USERS)
    users = users[users["nights"] > 0]
    if users.empty:
        raise NothingToReport(NothingToReport.__doc__)
    months = _year(connection, "monthly_overview", month)
    this = months.iloc[-1]
    before = months[months["month"] == (this["month"] - timedelta(days=1)).replace(day=1)]
    metrics = _month_metrics(connection, month)
    across = charts.by_month(months["month"].tolist())
    pictures = {"stages": charts.stage_bars(months, across, prefix="avg_"), **_by_month(months)}
    for name, values, step, unit, width in (
        ("spread", users["avg_time_in_sleep_of_date"] / 3600, 0.5, "h", "half"),
        ("drift", users["change_in_onset_of_night_minutes"], 5, "min", "full"),
        ("regularity", metrics["sleep_regularity_index"], 5, "", "full"),
    ):
        if len(known := values.dropna()):
            pictures[name] = charts.spread(known, step, unit, width=width)
    return {
        "this": this,
        "change": {name: this[f"avg_{name}"] - before[f"avg_{name}"].mean() for name in _CHANGES[:2]},
        "metrics": metrics,
        "pictures": pictures,
        "most_changed": _most_changed(users),
        "enough_nights": _ENOUGH_NIGHTS,
    }


def _most_changed(users: pd.DataFrame) -> list[Any]:
    more = users["change_in_time_in_sleep_of_date"]
    enough = users[more.notna() & (users[["nights", "nights_before"]].min(axis=1) >= _ENOUGH_NIGHTS)]
    ordered = enough.sort_values("user_id").sort_values(str(more.name), key=lambda size: -size.abs(), kind="stable")
    return list(ordered.head(_TOP).itertuples())


def _of_one(connection: Connection, month: date, user_id: str) -> dict[str, Any]:
    of_month: frames.Chosen = {
        "users": [user_id],
        "first": month,
        "last": _next_month(month) - timedelta(days=1),
    }
    months = _year(connection, "user_months", month, users=[user_id])
    nights = frames.nights(connection, **of_month)
    if nights.empty or months.empty:
        raise NothingToReport(NothingToReport.__doc__)
    sessions = frames.read(connection, "sleep_sessions", **of_month | {"columns": _OF_SESSIONS})
    recorded = sessions[sessions["night_role"].isin(["main", "nap"]) & (sessions["sleep_stages"].str.len() > 0)]
    main = recorded[recorded["night_role"] == "main"]
    last = main[main["night_date"] == main["night_date"].max()]
    pictures = {**_of_nights(nights), **_by_month(months)}
    if len(last):
        pictures["hypnogram"] = charts.hypnogram(*charts.whole_night(last))
    if len(recorded):
        calendar = frames.calendar(connection, **of_month)
        missing = [moment.date() for moment in calendar.loc[calendar["status"] == "missing", "night_date"]]
        pictures["nights"] = charts.actogram(recorded, missing)
    return {
        "user_id": user_id,
        "this": months.iloc[-1],
        "change": {name: months.iloc[-1][f"change_in_{name}"] for name in _CHANGES},
        "metrics": _month_metrics(connection, month, users=[user_id]),
        "pictures": pictures,
        "newest": last["night_date"].max(),
    }


def _of_nights(nights: pd.DataFrame) -> dict[str, Figure]:
    days = charts.by_day(nights["night_date"].tolist())
    moments = (nights[name].where(nights["is_valid_night"]) for name in ("sleep_time_local", "wake_time_local"))
    asleep, awake = (moment - moment.dt.normalize() for moment in moments)
    return {"stages": charts.stage_bars(nights, days), "clocks": charts.clocks(asleep, awake, days)}


def _month_metrics(connection: Connection, month: date, **chosen: Any) -> pd.DataFrame:
    metrics = frames.sleep_metrics(connection, first=month, last=month, columns=_OF_METRICS, **chosen)
    return metrics[metrics["period"] == "month"]
