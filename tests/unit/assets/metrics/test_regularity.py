"""The Sleep Regularity Index against published vectors and cases worked out by hand."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from assets.metrics.regularity import MainSleep, Pair, Recording, compare_days, index_of, stages_of

SEOUL, BERLIN = "Asia/Seoul", "Europe/Berlin"
AN_HOUR = 120
"""Epochs."""


def recording(start_local: datetime, hours: float, zone: str | None = SEOUL, stage: int | None = 1) -> Recording:
    """A session that is asleep from its start to its end, or that has no stages."""
    aware = start_local.replace(tzinfo=ZoneInfo(zone) if zone else UTC).astimezone(UTC)
    stages = None if stage is None else np.full(round(hours * AN_HOUR), stage, dtype=np.int16)
    return Recording(aware, start_local, round(hours * 3600), zone, stages)


def main_of(recording: Recording, **changes: object) -> MainSleep:
    """The main sleep that this one recording is."""
    zone = ZoneInfo(recording.zone) if recording.zone else UTC
    middle = (recording.start + timedelta(seconds=recording.seconds / 2)).astimezone(zone).replace(tzinfo=None)
    values = {"midpoint_local": middle, "zone": recording.zone, "has_stages": recording.stages is not None}
    return MainSleep(**(values | changes))  # type: ignore[arg-type]


def indices(recordings: list[Recording], naps: list[Recording] | None = None) -> list[float]:
    """The index of each pair of days."""
    pairs = compare_days([*recordings, *(naps or [])], [main_of(each) for each in recordings])
    return [index_of(pair.equal, pair.compared) for pair in pairs]


def evening(day: int, hour: float = 23.0, month: int = 9) -> datetime:
    """A moment on the local clock, hours after the midnight before."""
    return datetime(2026, month, day) + timedelta(hours=hour)  # noqa: DTZ001 the local clock


def test_published_day_pairs_of_ggir():
    """GGIR's test of CalcSleepRegularityIndex: asleep from 40 or 50 % of the day to 80 or 90 %: 10 % differ, so 80.

    Its days begin at midnight, ours at noon: the same pattern is shifted by half a day.
    """
    spans = [(0.4, 0.8), (0.5, 0.8), (0.5, 0.9), (0.4, 0.9), (0.4, 0.8)]
    nights = [
        recording(evening(day, 24 * (begin + 0.5)), 24 * (end - begin)) for day, (begin, end) in enumerate(spans, 1)
    ]

    assert indices(nights) == pytest.approx([80, 80, 80, 80])


def test_published_perfect_regularity_of_ggir():
    """Equal days give 100."""
    assert indices([recording(evening(day), 8) for day in range(1, 4)]) == [100, 100]


def test_published_perfect_irregularity_of_ggir():
    """Days that differ in every epoch give -100."""
    noon_to_noon = recording(evening(1, 12), 24)
    awake = recording(evening(2, 12), 24, stage=0)

    assert indices([noon_to_noon, awake]) == [-100]


def test_a_period_pools_its_epochs_as_sleepreg_does():
    """Windred et al. 2021 compare one long vector with itself 24 hours later: epochs are pooled, not pairs averaged.

    Asleep 23 to 7, then 23 to 7 with two unknown hours, then 1 to 9: pairs (22 h, all equal) and (22 h, 4 h differ).
    """
    second = recording(evening(2), 8)
    second.stages[2 * AN_HOUR : 4 * AN_HOUR] = -1
    nights = [recording(evening(1), 8), second, recording(evening(3, 25), 8)]
    pairs = compare_days(nights, [main_of(night) for night in nights])

    assert [(pair.equal / AN_HOUR, pair.compared / AN_HOUR) for pair in pairs] == [(22, 22), (18, 22)]
    assert index_of(sum(p.equal for p in pairs), sum(p.compared for p in pairs)) == pytest.approx(200 * 40 / 44 - 100)


def test_a_missing_night_breaks_the_chain():
    """A pair counts when both days have a main sleep; days without one are unknown, not awake."""
    nights = [recording(evening(day), 8) for day in (1, 2, 4, 5)]
    pairs = compare_days(nights, [main_of(night) for night in nights])

    assert [pair.second_day for pair in pairs] == [date(2026, 9, 3), date(2026, 9, 6)]


def test_naps_are_sleep():
    """An hour after lunch on one of two days differs in 120 of 2,880 epochs."""
    nights = [recording(evening(day), 8) for day in (1, 2)]
    nap = recording(evening(3, 10), 1)

    assert indices(nights, [nap]) == pytest.approx([100 - 200 / 24])


def test_a_nap_without_stages_is_left_out():
    """Its epochs are unknown; all others are equal."""
    nights = [recording(evening(day), 8) for day in (1, 2)]
    [pair] = compare_days([*nights, recording(evening(3, 10), 1, stage=None)], [main_of(night) for night in nights])

    assert (pair.equal, pair.compared) == (23 * AN_HOUR, 23 * AN_HOUR)


def test_a_night_without_stages_makes_no_pair():
    """Taken for awake it would look like a night without sleep."""
    assert indices([recording(evening(1), 8), recording(evening(2), 8, stage=None)]) == []


def test_audio_that_never_arrived_is_left_out():
    """Stages may end before the session does."""
    whole, cut = recording(evening(1), 8), recording(evening(2), 8)
    short = Recording(cut.start, cut.start_local, cut.seconds, cut.zone, cut.stages[: 5 * AN_HOUR])
    [pair] = compare_days([whole, short], [main_of(whole), main_of(short)])

    assert (pair.equal, pair.compared) == (21 * AN_HOUR, 21 * AN_HOUR)


def test_an_hour_that_the_clock_skips_is_left_out():
    """Berlin, 29 March 2026: 02:00 becomes 03:00. Asleep 23:00 to 07:00 on the clock on all days."""
    nights = [
        recording(evening(27, month=3), 8, BERLIN),
        recording(evening(28, month=3), 7, BERLIN),
        recording(evening(29, month=3), 8, BERLIN),
    ]
    pairs = compare_days(nights, [main_of(night) for night in nights])

    assert pairs == [
        Pair(date(2026, 3, 29), 23 * AN_HOUR, 23 * AN_HOUR),
        Pair(date(2026, 3, 30), 23 * AN_HOUR, 23 * AN_HOUR),
    ]


def test_an_hour_that_the_clock_repeats_is_left_out():
    """Berlin, 25 October 2026: 02:00 to 03:00 comes twice. Nine hours from 23:00 end at 07:00 on the clock."""
    nights = [
        recording(evening(23, month=10), 8, BERLIN),
        recording(evening(24, month=10), 9, BERLIN),
        recording(evening(25, month=10), 8, BERLIN),
    ]
    pairs = compare_days(nights, [main_of(night) for night in nights])

    assert [(pair.equal, pair.compared) for pair in pairs] == [(23 * AN_HOUR, 23 * AN_HOUR)] * 2


def test_who_is_awake_while_the_clock_changes_compares_23_hours():
    """The hour exists for nobody, asleep or not."""
    nights = [recording(evening(day, 28, month=3), 5, BERLIN) for day in (27, 28)]

    assert [pair.compared for pair in compare_days(nights, [main_of(night) for night in nights])] == [23 * AN_HOUR]


def test_travel_is_judged_by_each_local_clock():
    """Asleep 23 to 7 in Seoul and then in Berlin: regular on the clock, eight hours apart in absolute time."""
    assert indices([recording(evening(1), 8, SEOUL), recording(evening(2), 8, BERLIN)]) == [100]


def test_an_unknown_zone_is_a_clock_that_does_not_change():
    """The local time of the start is known all the same."""
    nights = [recording(evening(day, month=3), 8, None) for day in (27, 28, 29)]

    assert indices(nights) == [100, 100]


def test_shift_work_counts_the_day_of_the_middle_of_the_main_sleep():
    """Asleep 08:30 to 15:30 every day: the middle is noon, and half of each sleep lies in the day before."""
    sleeps = [recording(evening(day, 8.5), 7, BERLIN) for day in range(1, 6)]
    pairs = compare_days(sleeps, [main_of(sleep) for sleep in sleeps])

    assert len(pairs) == 4
    assert [index_of(pair.equal, pair.compared) for pair in pairs[:-1]] == [100, 100, 100]
    assert pairs[-1].equal == 24 * AN_HOUR - 3.5 * AN_HOUR, "no recording covers the last day's forenoon"


@pytest.mark.parametrize(
    ("text", "stages"), [("0,1,-1,3", [0, 1, -1, 3]), ("-1", [-1]), ("0,12,1", [0, 12, 1]), (None, None), ("", None)]
)
def test_stages_are_read_from_text(text: str | None, stages: list[int] | None):
    """Codes that the contract does not name keep their place."""
    found = stages_of(text)

    assert stages == (None if found is None else found.tolist())
