"""The monthly report of the organisation, or of one user: which figures and pictures it shows, in which order."""

from collections.abc import Callable, Sequence
from datetime import date, time, timedelta
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, text

from assets.report import charts as pictures
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
from resources.database.users.pseudonym_key import name_in_files
from resources.load_sql import load_sql

if TYPE_CHECKING:
    import pandas as pd

Rows = Sequence[Any]
_EFFICIENCY = "Time asleep of the time in bed, main sleeps."
_MAIN_SLEEPS = "main sleeps"
_PER_DATE = "asleep per date, naps included"
_TOP = 10
_ENOUGH_NIGHTS = 5


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
    months = _ask(connection, "report_months", month=month)
    if not months or months[-1].month != month or not months[-1].sleeping_users:
        return {}
    across = pictures.by_month([row.month for row in months])
    return {
        "stages_by_month": markdown(
            pictures.stage_bars(months, across, prefix="avg_"), "Hours in each stage a session by month"
        ),
        "efficiency_by_month": markdown(_efficiency(months, across), "Sleep efficiency by month"),
        "clock_by_month": markdown(_clocks(months, across), "Falling asleep and waking up by month"),
    }


def _ask(connection: Connection, name: str, **values: object) -> Rows:
    return connection.execute(load_sql(__package__, name), values).all()


def _of_everybody(connection: Connection, month: date) -> Page:
    months = _ask(connection, "report_months", month=month)
    users = _ask(connection, "report_users", month=month)
    if not users:
        raise NothingToReport(NothingToReport.__doc__)
    metrics = _month_metrics(connection, month)
    return Page(
        over="Sleep of all users",
        title=f"{month:%B %Y}",
        under=f"{counted(months[-1].sleeping_users, 'user')} with sleep. Each user counts once, whatever their nights.",
        tiles=[*_tiles_of_everybody(months), *_metric_tiles(metrics)],
        blocks=[
            *_pictures_of_everybody(months, users),
            *_regularity(metrics),
            *_most_changed(users, name_in_files(connection)),
        ],
        foot=_foot(connection),
    )


def _tiles_of_everybody(months: Rows) -> list[Tile]:
    this = months[-1]
    before = months[-2] if len(months) > 1 and _is_month_before(months[-2].month, this.month) else None
    more_sleep = _change(this, before, "avg_time_in_sleep_of_date")
    more_efficient = _points(_change(this, before, "avg_efficiency_of_night"))
    return [
        Tile("Nights", format_number(this.nights), f"{format_number(this.nights_per_user, 1)} a user"),
        _asleep(this, more_sleep),
        Tile("Efficiency", percent(this.avg_efficiency_of_night), against_before(more_efficient, "points", 1)),
        Tile(
            "Falls asleep",
            format_clock_time(this.avg_onset_of_night),
            f"after {duration(this.avg_latency_of_night)} in bed",
        ),
        Tile(
            "Wakes up", format_clock_time(this.avg_wake_of_night), f"{duration(this.avg_waso_of_night)} awake between"
        ),
        _deep(this),
    ]


def _metric_tiles(metrics: "pd.DataFrame") -> list[Tile]:
    """Regularity and missing nights; none without metrics of the month."""
    if metrics.empty:
        return []
    regularity = metrics["sleep_regularity_index"].mean()
    known = regularity == regularity  # noqa: PLR0124 not a number equals nothing
    return [
        Tile(
            "Regularity",
            format_number(regularity if known else None),
            "Sleep Regularity Index, 100 at most; mean of users"
            if len(metrics) > 1
            else "Sleep Regularity Index, 100 at most",
        ),
        Tile(
            "Missing nights",
            format_number(int(metrics["missing_nights"].sum())),
            f"{percent(metrics['recorded_nights'].sum() / max(1, metrics['days'].sum()))} of the dates recorded",
        ),
    ]


def _regularity(metrics: "pd.DataFrame") -> list[Picture]:
    known = metrics["sleep_regularity_index"].dropna()
    if known.empty:
        return []
    words = "Sleep Regularity Index: 100 is asleep and awake at the same times every day."
    return [
        Picture(
            "Regularity by user",
            words,
            svg(pictures.spread(known.tolist(), 5, "", width="full"), "regularity"),
            wide=True,
        )
    ]


def _asleep(this: Any, more_seconds: float | None) -> Tile:
    note = f"{against_before(_minutes(more_seconds), 'min')}; naps included"
    return Tile("Asleep per date", duration(this.avg_time_in_sleep_of_date), note)


def _deep(this: Any) -> Tile:
    note = f"a session, {percent(this.avg_deep_ratio)} of the sleep period"
    return Tile("Deep sleep", duration(this.avg_time_in_deep), note)


def _pictures_of_everybody(months: Rows, users: Rows) -> list[Picture]:
    across = pictures.by_month([row.month for row in months])
    hours = [user.avg_time_in_sleep_of_date / 3600 for user in users if user.avg_time_in_sleep_of_date is not None]
    drifts = [
        user.change_in_onset_of_night_minutes for user in users if user.change_in_onset_of_night_minutes is not None
    ]
    stages = svg(pictures.stage_bars(months, across, prefix="avg_"), "stages")
    shown = [
        Picture("Stages by month", "Mean hours a session; a nap is one, too.", stages),
        Picture("Sleep by user", f"Mean hours {_PER_DATE}.", svg(pictures.spread(hours, 0.5, "h"), "spread")),
        Picture("Efficiency by month", _EFFICIENCY, svg(_efficiency(months, across), "efficiency")),
        Picture(
            "Bed time by month",
            f"By each person's own clock; {_MAIN_SLEEPS}.",
            svg(_clocks(months, across), "clocks"),
        ),
    ]
    if drifts:
        drift = svg(pictures.spread(drifts, 5, "min", width="full"), "drift")
        shown.append(Picture("Drift of bed time", "Minutes later than in the month before, by user.", drift, wide=True))
    return shown


def _most_changed(users: Rows, name: Callable[[str], str]) -> list[Sheet]:
    enough = [
        user for user in users
        if user.change_in_time_in_sleep_of_date is not None and min(user.nights, user.nights_before) >= _ENOUGH_NIGHTS
    ]  # fmt: skip
    top = sorted(enough, key=lambda user: (-abs(user.change_in_time_in_sleep_of_date), user.user_id))[:_TOP]
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
    months = _ask(connection, "report_user_months", month=month, user_id=user_id)
    nights = _ask(connection, "report_nights", month=month, user_id=user_id)
    if not nights or not months or months[-1].month != month:
        raise NothingToReport(NothingToReport.__doc__)
    return Page(
        over="Sleep of one user",
        title=f"{month:%B %Y}",
        under=name_in_files(connection)(user_id),
        tiles=[*_tiles_of_one(months[-1]), *_metric_tiles(_month_metrics(connection, month, user_id))],
        blocks=_pictures_of_one(
            months,
            nights,
            _ask(connection, "report_recordings", month=month, user_id=user_id),
            _missing_dates(connection, month, user_id),
        ),
        foot=_foot(connection),
    )


def _tiles_of_one(this: Any) -> list[Tile]:
    more_sleep = this.change_in_time_in_sleep_of_date
    more_efficient = _points(this.change_in_efficiency_of_night)
    later_to_bed, later_up = this.change_in_onset_of_night_minutes, this.change_in_wake_of_night_minutes
    return [
        Tile("Nights", format_number(this.nights), f"{counted(this.naps, 'nap')} beside them"),
        _asleep(this, more_sleep),
        Tile("Efficiency", percent(this.avg_efficiency_of_night), against_before(more_efficient, "points", 1)),
        Tile("Falls asleep", format_clock_time(this.avg_onset_of_night), against_before(later_to_bed, "min")),
        Tile("Wakes up", format_clock_time(this.avg_wake_of_night), against_before(later_up, "min")),
        _deep(this),
    ]


def _pictures_of_one(months: Rows, nights: Rows, recordings: Rows, missing: Sequence[date]) -> list[Picture]:
    days = pictures.by_day([night.night_date for night in nights])
    across = pictures.by_month([row.month for row in months])
    asleep, awake = _times(nights, "sleep_time_local"), _times(nights, "wake_time_local")
    by_night = svg(pictures.clocks(asleep, awake, days), "clocks")
    return [
        *_hypnograms(recordings, missing),
        Picture(
            "Stages by night",
            "Hours in each stage of the main sleep.",
            svg(pictures.stage_bars(nights, days), "stages"),
        ),
        Picture("Bed time by night", "Falling asleep and waking up, main sleep.", by_night),
        Picture("Efficiency by month", _EFFICIENCY, svg(_efficiency(months, across), "efficiency")),
        Picture("Bed time by month", f"Mean clock times; {_MAIN_SLEEPS}.", svg(_clocks(months, across), "drift")),
    ]


def _hypnograms(recordings: Rows, missing: Sequence[date]) -> list[Picture]:
    recorded = [each for each in recordings if each.sleep_stages]
    if not recorded:
        return []
    newest = [each for each in recorded if each.night_role == "main"]
    shown = []
    if newest:
        last = newest[-1].night_date
        start, stages = pictures.whole_night([each for each in newest if each.night_date == last])
        words = "The newest night with stages, by the local clock; grey where the stage is unknown."
        one = svg(pictures.hypnogram(start, stages), "hypnogram")
        shown.append(Picture(f"The night of {last:%A} {last.day} {last:%B}", words, one, wide=True))
    every = svg(pictures.actogram(recorded, missing), "nights")
    words = "Main sleeps and naps by the local clock; a row is a date of waking up."
    return [*shown, Picture("Every night", words, every, wide=True)]


def _month_metrics(connection: Connection, month: date, user_id: str | None = None) -> "pd.DataFrame":
    """The month's metrics of all users, or of one user."""
    from resources.database import frames

    metrics = frames.sleep_metrics(connection, users=None if user_id is None else [user_id], first=month, last=month)
    return metrics[metrics["period"] == "month"]


def _missing_dates(connection: Connection, month: date, user_id: str) -> list[date]:
    from resources.database import frames

    last = (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    calendar = frames.calendar(connection, users=[user_id], first=month, last=last)
    return [moment.date() for moment in calendar.loc[calendar["status"] == "missing", "night_date"]]


def _efficiency(months: Rows, across: pictures.Across) -> Any:
    band = None
    if hasattr(months[0], "lower_efficiency"):
        band = [(row.lower_efficiency, row.upper_efficiency) for row in months]
    return pictures.efficiency_line([row.avg_efficiency_of_night for row in months], across, band)


def _clocks(months: Rows, across: pictures.Across) -> Any:
    return pictures.clocks(
        [row.avg_onset_of_night for row in months], [row.avg_wake_of_night for row in months], across
    )


def _times(nights: Rows, name: str) -> list[time | None]:
    moments = [getattr(night, name) for night in nights]
    return [None if moment is None else moment.time() for moment in moments]


def _change(this: Any, before: Any, name: str) -> float | None:
    now, then = getattr(this, name), getattr(before, name, None)
    return None if now is None or then is None else now - then


def _is_month_before(earlier: date, later: date) -> bool:
    return (later.year - earlier.year) * 12 + later.month - earlier.month == 1


def _minutes(seconds: float | None) -> float | None:
    return None if seconds is None else seconds / 60


def _points(ratio: float | None) -> float | None:
    return None if ratio is None else ratio * 100


def _foot(connection: Connection) -> str:
    fresh = connection.execute(text("SELECT * FROM asleep.data_freshness")).one()
    changed = "never" if fresh.newest_change_at is None else f"{fresh.newest_change_at:%Y-%m-%d %H:%M} UTC"
    return (
        f"Made {fresh.asked_at:%Y-%m-%d %H:%M} UTC from the views monthly_overview, user_months and nights. "
        f"Sessions last changed: {changed}. {format_number(fresh.user_months_waiting)} user-months wait for their "
        f"averages, {format_number(fresh.missing_data)} lists or sessions are missing."
    )
