"""The monthly report: what it shows, to whom it says nothing, and that it needs no other file.

People judge how it looks.
"""

import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import Connection, Engine, text

from assets.metrics.monthly_summary import summarise
from assets.metrics.sleep_metrics import compute_metrics
from assets.report import charts as drawn_by
from assets.report.charts import clock_ticks, following, unwrapped
from assets.report.monthly_report import NothingToReport, previews, render_report
from resources.pseudonyms import pseudonym
from tests.conftest import ROOT
from tests.warehouse_sessions import session, slept, store

APRIL, MAY = date(2026, 4, 1), date(2026, 5, 1)
SVG = "{http://www.w3.org/2000/svg}svg"


def some_nights(connection: Connection, *, users: int = 2, months: tuple[int, ...] = (4, 5), nights: int = 6) -> None:
    """Evenings in Seoul, with stages every other night; each user sleeps a little more from month to month."""
    for month in months:
        for person in range(users):
            first = datetime(2026, month, 10, 14, tzinfo=UTC) + timedelta(minutes=7 * person + month)
            for day in range(nights):
                start = first + timedelta(days=day)
                stat = slept(
                    time_in_sleep=25000 + 600 * month + 100 * person,
                    sleep_time=start + timedelta(minutes=10),
                    wake_time=start + timedelta(hours=7),
                )
                stages = [0, 0, 1, 1, 2, -1, 3, 7, None, 0] * 80 if day % 2 else None
                store(connection, [session(f"user <{person}>", start, stat, sleep_stages=stages)])
    summarise(connection)


def as_analyst(connection: Connection) -> None:
    """Go on with the rights of an analyst only; we may take that role in this test."""
    connection.execute(text("GRANT asleep_analyst TO current_user"))
    connection.execute(text("SET LOCAL ROLE asleep_analyst"))


def pictures(page: str) -> list[ET.Element]:
    """The page's pictures, each of them well formed."""
    return [ET.fromstring(found) for found in re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL)]  # noqa: S314 our own


def titles(page: str) -> list[str]:
    """Headings of the report's blocks."""
    return re.findall(r"<h2>(.*?)</h2>", page)


def test_the_organisations_report_shows_its_month(connection: Connection):
    """Made with an analyst's rights: whoever may ask the questions may print the report."""
    some_nights(connection)
    as_analyst(connection)
    page = render_report(connection, MAY)

    assert titles(page) == [
        "Stages by month", "Sleep by user", "Efficiency by month", "Bed time by month", "Drift of bed time",
        "Largest changes in sleep",
    ]  # fmt: skip
    assert "May 2026" in page
    assert "2 users with sleep" in page
    assert "+10 min to the month before" in page
    assert page.count("user &lt;") == 2


@pytest.mark.parametrize("user_id", [None, "user <0>"])
def test_a_month_that_is_not_over_says_so(connection: Connection, user_id: str | None):
    """Its nights, missing nights and changes are those of a part of the month."""
    some_nights(connection)
    running = datetime.now(UTC).replace(day=1, hour=2)
    store(connection, [session("user <0>", running, slept(), "UTC")])
    summarise(connection)

    assert ", so far</h1>" in render_report(connection, running.date(), user_id)
    assert "so far" not in render_report(connection, MAY, user_id)


def test_naps_belong_to_the_sleep_of_their_date(connection: Connection):
    """Six hours at night and two after lunch are eight hours, not four: a mean per session misjudged who naps."""
    for day in range(10, 16):
        evening = datetime(2026, 5, day, 14, tzinfo=UTC)
        night = slept(time_in_sleep=21600, sleep_time=evening, wake_time=evening + timedelta(hours=6))
        lunch = evening + timedelta(hours=15)
        nap = slept(time_in_sleep=7200, sleep_time=lunch, wake_time=lunch + timedelta(hours=2))
        store(connection, [session("one", evening, night), session("one", lunch, nap)])
    summarise(connection)

    for user_id in (None, "one"):
        assert "<span>Asleep per date</span><b>8 h 00 min</b>" in render_report(connection, MAY, user_id)
    assert "6 naps beside them" in render_report(connection, MAY, "one")
    assert "1 user with sleep" in render_report(connection, MAY)


def test_a_users_report_shows_the_hypnogram_and_no_other_user(connection: Connection):
    """One person's report must not carry another person's figures or name, nor its own user's id."""
    some_nights(connection)
    page = render_report(connection, MAY, "user <1>")

    assert titles(page)[:2] == ["The night of Saturday 16 May", "Every night"]
    assert pseudonym("user <1>") in page
    assert pseudonym("user <0>") not in page
    assert "user &lt;" not in page


def test_regularity_and_missing_nights_are_shown(engine: Engine):
    """Ten evenings of which one was not recorded: the row of its date stands empty and says so."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('regular', 'import')"))
        connection.execute(
            text(
                "INSERT INTO asleep.sync_ledger VALUES "
                "('regular', now(), now(), now(), 'full', '{[2026-05-01, 2026-06-30)}')"
            )
        )
        for day in (*range(1, 10), 11, 12):
            start = datetime(2026, 5, day, 22, tzinfo=UTC)
            stat = slept(sleep_time=start, wake_time=start + timedelta(hours=7))
            store(connection, [session("regular", start, stat, "UTC", sleep_stages=[1] * 840 + [0] * 120)])
        summarise(connection)
    compute_metrics(engine, date(2026, 6, 1))
    with engine.begin() as connection:
        everybody, one = render_report(connection, MAY), render_report(connection, MAY, "regular")
        for table in (
            "sleep_sessions",
            "session_payloads",
            "monthly_averages",
            "sleep_metrics",
            "users",
            "sync_ledger",
        ):
            connection.execute(text(f"DELETE FROM asleep.{table}"))

    assert "Regularity by user" in titles(everybody)
    assert "<span>Missing nights</span><b>19</b>" in everybody
    assert "<span>Regularity</span><b>100</b>" in one
    assert "Mon 11 missing" in one
    assert "Sun 10 missing" not in one


@pytest.mark.parametrize("user_id", [None, "user <0>"])
def test_a_report_needs_nothing_but_itself(connection: Connection, user_id: str | None):
    """It is mailed and archived: no script, no font or picture from elsewhere, no id used twice."""
    some_nights(connection)
    page = render_report(connection, MAY, user_id)

    assert not re.search(r"<script|<link|@import|url\(\s*['\"]?http|src=|href=\"http", page)
    assert all(picture.tag == SVG for picture in pictures(page))
    ids = re.findall(r'\bid="([^"]+)"', page)
    clips = [name for name in ids if re.match(r"[mp][0-9a-f]{10}", name)]
    assert len(clips) == len(set(clips))


@pytest.mark.parametrize("user_id", [None, "user <0>"])
def test_a_first_month_without_stages_is_still_a_report(connection: Connection, user_id: str | None):
    """The first month has none before it, and statistics may come without stages."""
    some_nights(connection, users=1, months=(5,), nights=1)
    page = render_report(connection, MAY, user_id)

    assert "no month before" in page
    assert "Every night" not in page


def test_the_same_data_make_the_same_pictures(connection: Connection):
    """A report that differs each time cannot be compared or cached."""
    some_nights(connection)

    def drawn(page: str) -> list[str]:
        return re.findall(r"<figure.*?</figure>", page, flags=re.DOTALL)

    assert drawn(render_report(connection, MAY)) == drawn(render_report(connection, MAY))


@pytest.mark.parametrize("user_id", [None, "user <0>", "nobody"])
def test_a_month_without_sleep_is_refused(connection: Connection, user_id: str | None):
    """An empty report would look like a fault of the data."""
    some_nights(connection)
    with pytest.raises(NothingToReport):
        render_report(connection, date(2026, 6, 1), user_id)
    assert previews(connection, date(2026, 6, 1)) == {}


def test_previews_are_small_pictures_in_markdown(connection: Connection):
    """They are stored with each run's events: small, and without any user id."""
    some_nights(connection)
    shown = previews(connection, MAY)

    assert shown.keys() == {"stages_by_month", "efficiency_by_month", "clock_by_month"}
    for words in shown.values():
        assert re.fullmatch(r"!\[[\w ]+\]\(data:image/png;base64,iVBOR[\w+/=]+\)", words)
        assert len(words) < 40_000


NAN = float("nan")


def equal(ours: "np.ndarray[Any, Any]", theirs: list[float]) -> bool:
    """The same numbers, missing ones at the same places."""
    return ours.tolist() == pytest.approx(theirs, nan_ok=True)


def test_clock_times_round_midnight_stay_together():
    """A line from 23:50 to 00:10 must not cross the whole picture."""
    assert equal(unwrapped([23 * 60 + 50, NAN, 10, 30]), [-10, NAN, 10, 30])
    assert equal(unwrapped([6 * 60, 7 * 60]), [360, 420])
    assert equal(unwrapped([NAN]), [NAN])
    assert equal(unwrapped([15 * 60, 14 * 60 + 30]), [900, 870])


def test_opposite_clock_times_have_no_mean_but_a_place():
    """Noon and midnight cancel each other; the picture must be drawn all the same, and each time alike."""
    assert equal(unwrapped([720, 0]), [720, 0])
    assert equal(unwrapped([0, 720]), [0, 720])


def test_waking_follows_falling_asleep():
    """Someone who sleeps from 15:00 to 23:00 was drawn waking up before they fell asleep."""
    by_day, by_night = unwrapped([15 * 60, 15 * 60 + 20]), unwrapped([23 * 60, 30])

    assert equal(following(by_day, [23 * 60, 10]), [23 * 60, 24 * 60 + 10])
    assert equal(following(by_night, [7 * 60, 8 * 60]), [7 * 60, 8 * 60])
    assert equal(following(by_night, [NAN, 15 * 60]), [NAN, 15 * 60])
    assert equal(following(np.array([900, NAN]), [NAN, 10]), [NAN, 24 * 60 + 10])
    assert equal(following(np.array([NAN]), [7 * 60]), [7 * 60])


@pytest.mark.parametrize(("asleep", "awake"), [((15, 0), (23, 0)), ((23, 30), (7, 0)), ((6, 0), (13, 0))])
def test_a_picture_of_bed_times_reads_downwards(asleep: tuple[int, int], awake: tuple[int, int]):
    """Whenever somebody sleeps: the line of waking up lies below that of falling asleep."""
    across = drawn_by.by_day([date(2026, 5, day) for day in (1, 2, 4)])
    beds, wakes = (pd.Series([timedelta(hours=hours, minutes=minutes)] * 3) for hours, minutes in (asleep, awake))
    axes = drawn_by.clocks(beds, wakes, across).axes[0]
    above, below = (line.get_window_extent().y0 for line in axes.get_lines())

    assert below < above


def test_a_night_stands_at_its_day():
    """Side by side, nights that are a week apart looked like neighbours."""
    across = drawn_by.by_day([date(2026, 2, 3), date(2026, 2, 10)])

    assert across.places == [3, 10]
    assert across.ends == (1, 28)
    assert list(across.names) == [1, 5, 10, 15, 20, 25]


def test_clock_ticks_are_round_and_cover_the_values():
    """People read half hours, not 22:47."""
    assert clock_ticks(np.array([-70, 25])) == [-90, -60, -30, 0, 30]
    assert clock_ticks(np.array([360, 360])) == [360, 375]


def test_drawing_is_loaded_only_when_something_is_drawn():
    """Pandas and the plotting library cost a second at start-up, which every command would pay."""
    code = "import sys, pipelines.definitions; sys.exit(bool({'matplotlib', 'pandas'} & sys.modules.keys()))"
    assert subprocess.run([sys.executable, "-c", code], check=False, cwd=ROOT).returncode == 0
