"""Metrics of weeks and months, against cases worked out by hand."""

from datetime import date, timedelta

import pandas as pd
import pytest

from assets.metrics.periods import metrics_of
from assets.metrics.regularity import pairs_frame

HOUR = 3600
TODAY = date(2026, 10, 10)
FIRST = date(2026, 9, 1)  # a Tuesday
NO_PAIRS = pairs_frame({})


def night(day: date, onset: float = 23, hours: float = 8, **given: object) -> dict[str, object]:
    """A main sleep that ends on this date; clock times in hours."""
    return {
        "user_id": "one", "night_date": pd.Timestamp(day), "onset": onset % 24 * HOUR,
        "wake": (onset + hours) % 24 * HOUR, "midpoint": (onset + hours / 2) % 24 * HOUR,
        "period_seconds": hours * HOUR, "time_in_sleep_of_date": hours * HOUR,
        "time_in_sleep": hours * 3240, "time_in_bed": hours * HOUR,
        "latency": 600,
        "waso": 1200, "naps": 0, "is_valid_night": True,
    } | given  # fmt: skip


def calendar(recorded: set[date], first: date = FIRST, last: date = date(2026, 10, 9)) -> pd.DataFrame:
    """One row per date; those without a night are missing."""
    days = [first + timedelta(days=n) for n in range((last - first).days + 1)]
    return pd.DataFrame(
        {
            "user_id": "one",
            "night_date": pd.to_datetime(days),
            "status": ["recorded" if day in recorded else "missing" for day in days],
            "is_valid_night": [day in recorded for day in days],
        }
    )


def metrics(  # noqa: PLR0917 each has a default
    nights: list[dict[str, object]],
    period: str = "month",
    start: date = FIRST,
    pairs: pd.DataFrame = NO_PAIRS,
    free_days: dict[str, frozenset[int]] | None = None,
    today: date = TODAY,
) -> pd.Series:
    """The row of the one period asked for."""
    frame = pd.DataFrame(nights)
    recorded = {moment.date() for moment in frame["night_date"]}
    asked = pd.DataFrame({"user_id": ["one"], "period": [period], "period_start": pd.to_datetime([start])})
    rows = metrics_of(
        asked, calendar=calendar(recorded), nights=frame, pairs=pairs, free_days=free_days or {}, today=today
    )
    assert len(rows) == 1
    return rows.iloc[0]


def september(weekday: float, weekend: float, *, weekday_hours: float = 7, weekend_hours: float = 9) -> list[dict]:
    """All nights of September: bed times that differ by whether one wakes up on a weekend."""
    days = [FIRST + timedelta(days=n) for n in range(30)]
    return [
        night(day, weekend, weekend_hours) if day.isoweekday() >= 6 else night(day, weekday, weekday_hours)
        for day in days
    ]


def test_missing_nights_lower_the_coverage_and_no_mean():
    """Dates without a recording are counted; they are not nights of zero hours."""
    row = metrics([night(FIRST + timedelta(days=n)) for n in range(0, 30, 2)])

    assert (row["days"], row["recorded_nights"], row["missing_nights"], row["valid_nights"]) == (30, 15, 15, 15)
    assert row["coverage"] == pytest.approx(0.5)
    assert row["avg_time_in_sleep_of_date"] == 8 * HOUR
    assert row["is_complete"]


def test_the_running_period_is_covered_up_to_yesterday():
    """Today's night may not have arrived yet, and days to come are not missing."""
    row = metrics([night(date(2026, 9, day)) for day in (1, 2, 3, 4)], today=date(2026, 9, 5))

    assert (row["days"], row["coverage"], row["is_complete"]) == (4, 1, False)


def test_a_month_is_complete_on_the_first_day_after_it():
    """Its last night ends on its last date."""
    nights = [night(FIRST)]

    assert not metrics(nights, today=date(2026, 9, 30))["is_complete"]
    assert metrics(nights, today=date(2026, 10, 1))["is_complete"]
    assert metrics(nights, "week", date(2026, 8, 31))["period_end"] == pd.Timestamp(2026, 9, 6)


def test_bed_times_around_midnight_spread_little():
    """23:30 and 00:30: an hour apart, not 23."""
    row = metrics([night(FIRST, 23.5), night(FIRST + timedelta(days=1), 24.5)])

    assert min(row["avg_onset_of_night"], 86_400 - row["avg_onset_of_night"]) == pytest.approx(0, abs=1e-6)
    assert row["sd_onset_of_night"] == pytest.approx(1800, rel=0.01)
    assert row["avg_midpoint_of_night"] == pytest.approx(4 * HOUR)


def test_means_and_spreads_run_over_main_sleeps():
    """The sample standard deviation; one night has none."""
    row = metrics([night(FIRST, hours=6, naps=1), night(FIRST + timedelta(days=1), hours=8)])

    assert row["avg_time_in_sleep_of_date"] == 7 * HOUR
    assert row["sd_time_in_sleep_of_date"] == pytest.approx(2**0.5 * HOUR)
    assert (row["naps"], row["avg_latency_of_night"], row["avg_waso_of_night"]) == (1, 600, 1200)
    assert pd.isna(metrics([night(FIRST)])["sd_efficiency_of_night"])


def test_social_jetlag_by_hand():
    """Work days 23:00 to 06:00, middle 02:30; free days 01:00 to 10:00, middle 05:30: three hours later.

    A week of five and two days sleeps (5 x 7 + 2 x 9) / 7 hours; the corrected middle is 05:30 less half of
    9 - 53/7 hours.
    """
    row = metrics(september(23, 25))

    assert (row["free_nights"], row["work_nights"]) == (8, 22)
    assert row["midsleep_work"] == pytest.approx(2.5 * HOUR)
    assert row["midsleep_free"] == pytest.approx(5.5 * HOUR)
    assert row["social_jetlag"] == row["absolute_social_jetlag"] == pytest.approx(3 * HOUR)
    assert row["midsleep_free_corrected"] == pytest.approx((5.5 - (9 - 53 / 7) / 2) * HOUR)


def test_a_month_without_a_valid_night_has_none_on_free_and_none_on_work_days():
    """Counts are zero, as every other count of the month; null would drop the month from sums and filters."""
    nights = [night(FIRST, is_valid_night=False)]

    assert tuple(metrics(nights)[["free_nights", "work_nights"]]) == (0, 0)
    assert metrics(nights, "week", date(2026, 8, 31))[["free_nights", "work_nights"]].isna().all(), "month only"


def test_the_week_is_weighed_by_its_free_days_not_by_the_nights_recorded():
    """Who records on weekends only some of the time still has a week of five and two."""
    few = [each for each in september(23, 25) if each["night_date"].day <= 13]  # four free, nine work nights

    assert metrics(few)["midsleep_free_corrected"] == pytest.approx((5.5 - (9 - 53 / 7) / 2) * HOUR)


def test_sleep_is_corrected_only_when_free_days_are_longer():
    """Shorter free days are no recovery of lost sleep."""
    row = metrics(september(23, 25, weekend_hours=6))

    assert row["midsleep_free_corrected"] == row["midsleep_free"] == pytest.approx(4 * HOUR)


def test_social_jetlag_is_signed_and_crosses_midnight():
    """Who sleeps earlier on free days has a negative one, also from 00:30 to 23:30."""
    row = metrics(september(21.0, 19.5, weekday_hours=7, weekend_hours=8))

    assert row["social_jetlag"] == pytest.approx(-1 * HOUR)
    assert row["absolute_social_jetlag"] == pytest.approx(1 * HOUR)


def test_too_few_free_nights_give_no_social_jetlag():
    """At least two free and three work main sleeps."""
    nights = [each for each in september(23, 25) if each["night_date"].day <= 5]  # one Saturday

    assert pd.isna(metrics(nights)["social_jetlag"])
    assert pd.isna(metrics(nights)["midsleep_free_corrected"])


def test_a_users_own_free_days():
    """In some places the weekend is Friday and Saturday; shift workers have days of their own."""
    row = metrics(september(23, 25), free_days={"one": frozenset({1, 2})})

    assert (row["free_nights"], row["work_nights"]) == (9, 21)
    assert row["midsleep_free"] == pytest.approx(2.5 * HOUR)


def test_weeks_have_no_social_jetlag():
    """Two free nights are too few to say; the month has it."""
    assert pd.isna(metrics(september(23, 25), "week", date(2026, 9, 7))["social_jetlag"])


def compared(days: list[date], equal: int = 2592) -> pd.DataFrame:
    """Pairs of days, each compared in full."""
    return pd.DataFrame({"user_id": "one", "second_day": pd.to_datetime(days), "equal": equal, "compared": 2880})


def test_a_months_index_needs_seven_pairs_inside_it():
    """The pair of the last day of August with the first of September belongs to neither month."""
    pairs = compared([date(2026, 9, 1), *(date(2026, 9, day) for day in range(2, 8))])
    enough = compared([date(2026, 9, day) for day in range(2, 9)])

    assert metrics([night(FIRST)], pairs=pairs)["regularity_pairs"] == 6
    assert pd.isna(metrics([night(FIRST)], pairs=pairs)["sleep_regularity_index"])
    assert metrics([night(FIRST)], pairs=enough)["sleep_regularity_index"] == pytest.approx(80)


def test_a_weeks_index_looks_back_fourteen_days():
    """The week from 14 September ends on the 20th: its days are 7 to 20 September, its pairs end on 8 to 20."""
    row = metrics(
        [night(date(2026, 9, 14))], "week", date(2026, 9, 14), compared([FIRST + timedelta(d) for d in range(30)])
    )
    few = metrics(
        [night(date(2026, 9, 14))], "week", date(2026, 9, 14), compared([date(2026, 9, d) for d in (7, 8, 9, 10, 11)])
    )

    assert (row["regularity_pairs"], row["sleep_regularity_index"]) == (13, pytest.approx(80))
    assert (few["regularity_pairs"], pd.isna(few["sleep_regularity_index"])) == (4, True)


def test_a_period_without_nights_has_counts_only():
    """Every mean is missing, not zero."""
    row = metrics([night(date(2026, 9, 20))], "week", date(2026, 9, 7))

    assert (row["days"], row["recorded_nights"], row["coverage"]) == (7, 0, 0)
    assert pd.isna(row["avg_time_in_sleep_of_date"])
    assert pd.isna(row["avg_onset_of_night"])
