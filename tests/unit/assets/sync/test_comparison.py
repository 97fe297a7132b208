"""What counts as a contradiction between the API's figures and ours.

The answer is the one printed in the API's contract, read by our own parser.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from assets.sync.comparison import (
    AVERAGE_TOLERANCES,
    SESSION_TOLERANCES,
    AveragingFormula,
    averages_that_differ,
    differing_averages,
    stages_contradict,
    statistics_that_differ,
)
from resources.asleep.parsing import parse_average_stats
from resources.asleep.records import AverageStats, SleepSession, SleptSession, Stat
from resources.database.schema.session_columns import MEANS, RATIOS

NIGHT = {
    "id": "20260307140211_q7x4m", "created_timezone": "Asia/Seoul",
    "start_time": "2026-03-07T23:02:11+09:00", "end_time": "2026-03-07T23:42:28+09:00",
    "completed_time": "2026-03-07T23:43:05+09:00", "sleep_time": "2026-03-07T23:05:11+09:00",
    "wake_time": "2026-03-07T23:39:28+09:00", "sleep_index": 58, "sleep_latency": 180, "wakeup_latency": 180,
    "light_latency": 0, "deep_latency": 300, "rem_latency": 1200, "time_in_bed": 2417, "time_in_sleep_period": 2040,
    "time_in_sleep": 1980, "time_in_wake": 60, "time_in_light": 720, "time_in_deep": 600, "time_in_rem": 660,
    "time_in_snoring": 300, "time_in_no_snoring": 1740, "sleep_efficiency": 0.82, "sleep_ratio": 0.97,
    "wake_ratio": 0.03, "light_ratio": 0.36, "deep_ratio": 0.29, "rem_ratio": 0.32, "snoring_ratio": 0.15,
    "no_snoring_ratio": 0.85, "waso_count": 1, "longest_waso": 60, "sleep_cycle": 1830, "sleep_cycle_count": 1,
    "snoring_count": 2,
}  # fmt: skip
AVERAGES = {
    "start_time": "23:02:11", "end_time": "23:42:28", "sleep_time": "23:05:11", "wake_time": "23:39:28",
    "sleep_latency": 180, "wakeup_latency": 180, "time_in_bed": 2417, "time_in_sleep_period": 2040,
    "time_in_sleep": 1980, "time_in_wake": 60, "time_in_light": 720, "time_in_deep": 600, "time_in_rem": 660,
    "time_in_stable_breath": None, "time_in_unstable_breath": None, "time_in_snoring": 300, "time_in_no_snoring": 1740,
    "sleep_efficiency": 0.819, "wake_ratio": 0.029, "sleep_ratio": 0.971, "light_ratio": 0.353, "deep_ratio": 0.294,
    "rem_ratio": 0.324, "snoring_ratio": 0.147, "no_snoring_ratio": 0.853, "breathing_index": None,
    "waso_count": 1, "longest_waso": 60, "sleep_cycle_count": 1, "snoring_count": 2,
}  # fmt: skip


def answer(**averages: object) -> AverageStats:
    """The contract's example, with some averages replaced."""
    result = {
        "period": {"timezone": "Asia/Seoul", "start_date": "2026-03-07", "end_date": "2026-03-08"},
        "peculiarities": ["NO_BREATHING_STABILITY"],
        "average_stats": AVERAGES | averages,
        "never_slept_sessions": [],
        "slept_sessions": [NIGHT],
    }
    return parse_average_stats(json.loads(json.dumps(result)), asked_at=datetime(2026, 3, 9, tzinfo=UTC))


OURS = answer().slept[0].stat


def test_the_documented_example_agrees_with_itself():
    """A comparison that contradicts the API's own documentation would report every user."""
    assert statistics_that_differ(OURS, answer().slept[0].stat) == []
    assert averages_that_differ([OURS], answer()).differing == []


@pytest.mark.parametrize("field", sorted(set(Stat._fields) - set(SESSION_TOLERANCES)))
def test_what_is_not_rounded_must_be_equal(field: str):
    """A second of difference is a session analysed again."""
    value = getattr(OURS, field)
    value = [datetime(2026, 3, 7, tzinfo=UTC)] if field == "sleep_cycle_time" else value
    value = "STABLE_BREATH" if field == "breathing_pattern" else value
    value = 100 if value is None else value
    other = (
        [] if isinstance(value, list)
        else "OTHER" if isinstance(value, str)
        else value + timedelta(seconds=1) if isinstance(value, datetime)
        else value + 1
    )  # fmt: skip
    ours = OURS._replace(**{field: value})

    assert statistics_that_differ(ours, ours._replace(**{field: other})) == [field]


@pytest.mark.parametrize(("field", "tolerance"), SESSION_TOLERANCES.items())
def test_statistics_may_differ_by_their_rounding_and_no_more(field: str, tolerance: float):
    """The light share of the documented session is 0.36 where 720 / 2040 is 0.353."""
    ours = OURS._replace(**{field: 0.5})

    assert statistics_that_differ(ours, ours._replace(**{field: 0.5 + tolerance})) == []
    assert statistics_that_differ(ours, ours._replace(**{field: 0.5 + tolerance * 1.1})) == [field]


def test_a_share_of_three_decimals_agrees_with_one_of_two():
    """Older results carry three decimals."""
    theirs = OURS._replace(light_ratio=0.353, deep_ratio=0.294, rem_ratio=0.324, sleep_efficiency=0.819)

    assert statistics_that_differ(OURS, theirs) == []


def test_silence_is_no_contradiction_but_a_gap_of_ours_is():
    """Average-stats leaves fields out; what it gives and we lack was lost by us."""
    assert statistics_that_differ(OURS, OURS._replace(sleep_index=None)) == []
    assert statistics_that_differ(OURS._replace(sleep_index=None), OURS) == ["sleep_index"]


@pytest.mark.parametrize(("field", "tolerance"), AVERAGE_TOLERANCES.items())
def test_averages_may_differ_by_their_tolerance_and_no_more(field: str, tolerance: float):
    """Each tolerance is stated with its reason; here is what it lets pass."""
    base = time(12) if field in {"start_time", "end_time", "sleep_time", "wake_time"} else 0.5

    def off_by(amount: float) -> AverageStats:
        moved = (datetime(2026, 1, 1, 12) + timedelta(seconds=amount)).time() if base == time(12) else base + amount  # noqa: DTZ001
        return replace(answer(), averages={field: moved})

    assert differing_averages({field: base}, off_by(tolerance)) == []
    assert differing_averages({field: base}, off_by(tolerance * 1.1)) == [field]


def test_averages_of_other_nights_are_found():
    """If a night of ours is another than the API's, its averages tell."""
    assert "time_in_sleep" in averages_that_differ([OURS._replace(time_in_sleep=1900)], answer()).differing


def test_clock_times_are_compared_round_midnight():
    """23:59 and 00:01 are two minutes apart, not a day."""
    said = replace(answer(), averages={"start_time": time(0, 1)})

    assert differing_averages({"start_time": time(23, 59)}, said) == []


def test_clock_times_are_those_of_the_answers_zone():
    """An answer in UTC must not be held against local clocks."""
    in_utc = replace(answer(start_time="14:02:11", end_time="14:42:28"), timezone="UTC")

    assert averages_that_differ([OURS], in_utc).differing == ["sleep_time", "wake_time"]


def test_opposite_clock_times_contradict_nothing():
    """Midnight and noon have no mean for us; whatever the API says of them is not wrong."""
    noon = datetime(2026, 3, 7, 12, tzinfo=UTC)
    slept = [SleptSession(str(n), None, noon + timedelta(hours=12 * n), None, None, Stat()) for n in range(2)]
    said = replace(answer(), timezone="UTC", averages={"start_time": time(6)}, slept=tuple(slept))

    assert averages_that_differ([Stat(), Stat()], said).differing == []


def test_no_averages_no_contradiction():
    """A period without sleep has none."""
    assert averages_that_differ([OURS], replace(answer(), averages=None)).differing == []
    assert averages_that_differ([], answer()).differing == []


def test_every_averaged_field_is_compared_by_the_definitions_of_the_monthly_table():
    """A mean runs over the nights that have the value."""
    ours = [Stat(time_in_sleep=100), Stat(time_in_sleep=300), Stat()]

    assert {name for name, _ in MEANS} | {name for name, _, _ in RATIOS} <= AVERAGE_TOLERANCES.keys()
    assert averages_that_differ(ours, answer_of_three({"time_in_sleep": 200})).differing == []
    assert averages_that_differ(ours, answer_of_three({"time_in_sleep": 133})).differing == ["time_in_sleep"]


@pytest.mark.parametrize(("said", "differing"), [(0.8, []), (0.75, ["sleep_efficiency"])])
def test_ratios_are_ratios_of_sums_once_that_is_known(said, differing):
    """0.75 is the mean of both nights."""
    ours = [Stat(time_in_sleep=100, time_in_bed=200), Stat(time_in_sleep=300, time_in_bed=300)]
    theirs = replace(answer(), averages={"sleep_efficiency": said})

    assert averages_that_differ(ours, theirs, AveragingFormula.OF_SUMS).differing == differing


def answer_of_three(averages: dict[str, object]) -> AverageStats:
    """Averages over three sessions."""
    return replace(answer(), averages=averages, slept=answer().slept * 3)


@pytest.mark.parametrize(
    ("stages", "contradict"),
    [
        ([0, 1, 2, 0, 3, 0], False),
        ([0, 1, 2, 2, 3, 0], True),
        ([0, 1, 2, 0, 2, 0], True),
        ([0, 1, -1, 0, 3, 0], False),
        ([0, 1, 300, 0, 3, 0], True),
        ([0, 1, 2, 0], False),
        ([0, 0, 0, 0, 0, 0], True),
        ([], False),
    ],
)
def test_stages_contradict_statistics_only_when_every_epoch_is_known(stages: list[int], contradict: bool):
    """A gap in the recording is no damage; a damaged array would shift or lengthen a night."""
    moment = datetime(2026, 3, 7, tzinfo=UTC)
    stat = Stat(
        sleep_latency=30, time_in_sleep_period=120, time_in_wake=30, time_in_light=30, time_in_deep=30, time_in_rem=30
    )
    session = SleepSession(
        session_id="s", user_id="u", state="COMPLETE", session_start_time=moment, session_end_time=moment,
        unexpected_end_time=None, created_timezone=None, peculiarities=None, missing_data_ratio=None, stat=stat,
        sleep_stages=stages, breath_stages=None, snoring_stages=None, raw=b"{}", payload_hash=b"",
        contract_violations=(), asked_at=moment,
    )  # fmt: skip

    assert stages_contradict(session) is contradict
