"""The simulator's statistics follow the contract's definitions, or every comparison with it is worthless."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from simulator.analysis import Recording, analysis_of, stages_of
from simulator.fields import FIELDS
from simulator.figures import figures_of, stat_of
from simulator.hypnograms import all_nights

START = datetime(2026, 3, 7, 14, 2, 11, tzinfo=UTC)
END = datetime(2026, 3, 7, 14, 42, 28, tzinfo=UTC)
NAP = [0] * 6 + [1] * 10 + [2] * 20 + [1] * 8 + [0] * 2 + [3] * 22 + [1] * 6 + [0] * 6
SNORING = [0] * 20 + [1] * 7 + [0] * 23 + [1] * 3 + [0] * 27
WORKED_EXAMPLE = {
    "sleep_time": "2026-03-07T14:05:11+00:00",
    "wake_time": "2026-03-07T14:39:28+00:00",
    "sleep_index": 58,
    "sleep_latency": 180,
    "wakeup_latency": 180,
    "light_latency": 0,
    "deep_latency": 300,
    "rem_latency": 1200,
    "time_in_bed": 2417,
    "time_in_sleep_period": 2040,
    "time_in_sleep": 1980,
    "time_in_wake": 60,
    "time_in_light": 720,
    "time_in_deep": 600,
    "time_in_rem": 660,
    "time_in_stable_breath": None,
    "time_in_unstable_breath": None,
    "time_in_snoring": 300,
    "time_in_no_snoring": 1740,
    "sleep_efficiency": 0.82,
    "sleep_ratio": 0.97,
    "wake_ratio": 0.03,
    "light_ratio": 0.36,
    "deep_ratio": 0.29,
    "rem_ratio": 0.32,
    "stable_breath_ratio": None,
    "unstable_breath_ratio": None,
    "snoring_ratio": 0.15,
    "no_snoring_ratio": 0.85,
    "breathing_index": None,
    "breathing_pattern": None,
    "unstable_breath_count": None,
    "waso_count": 1,
    "longest_waso": 60,
    "sleep_cycle_count": 1,
    "sleep_cycle": 1830,
    "sleep_cycle_time": ["2026-03-07T14:05:11+00:00", "2026-03-07T14:35:41+00:00"],
    "snoring_count": 2,
}


def stat(stages: Any, snoring: Any = (), breath: Any = None, *, start: Any = START, end: Any = END, zone: Any = UTC):
    return orjson.loads(orjson.dumps(stat_of(figures_of(stages, snoring, breath), start, end, zone)))


def test_every_field_of_the_worked_example_is_derived_from_its_tracks():
    """The one example whose tracks and figures are both known; also the order of its fields is the API's."""
    assert list(stat(NAP, SNORING).items()) == list(WORKED_EXAMPLE.items())


def test_there_are_38_fields():
    assert len(FIELDS) == len(set(FIELDS)) == 38


def test_a_session_without_sleep_has_its_whole_length_as_latency_and_nothing_else():
    found = stat([0] * 80)

    assert found["sleep_latency"] == 80 * 30
    assert found["sleep_efficiency"] == found["time_in_sleep_period"] == found["waso_count"] == 0
    assert found["sleep_time"] is found["light_latency"] is found["sleep_cycle"] is None
    assert found["sleep_cycle_time"] == []


def test_identities_of_the_contract_hold_for_every_real_night():
    for night_id, night in all_nights().items():
        recording = Recording(night_id, 0, len(night.stages), 1, rescored=False, breathing=True)
        stages = stages_of(recording)
        found = stat_of(analysis_of(recording).figures, START, END, UTC)

        assert found["time_in_sleep"] == found["time_in_light"] + found["time_in_deep"] + found["time_in_rem"]
        assert found["time_in_sleep_period"] == found["time_in_sleep"] + found["time_in_wake"]
        assert found["time_in_sleep_period"] == found["time_in_snoring"] + found["time_in_no_snoring"]
        ratios = [found[f"{stage}_ratio"] for stage in ("wake", "light", "deep", "rem")]
        assert round(sum(ratios), 2) == 1.0
        assert round(found["sleep_ratio"] + found["wake_ratio"], 2) == 1.0
        assert 50 <= found["sleep_index"] <= 100
        if -1 not in stages:
            filled = found["sleep_latency"] + found["time_in_sleep_period"] + found["wakeup_latency"]
            assert filled == 30 * len(stages)


def test_a_shortfall_of_rounded_shares_goes_to_light_and_without_light_to_rem():
    """720 of 2040 s is 0.353, yet the service says 0.36: a client must not recompute and complain."""
    thirds = [1, 2, 3]
    assert [stat(thirds)[f"{stage}_ratio"] for stage in ("light", "deep", "rem")] == [0.34, 0.33, 0.33]

    no_light = [2, 3, 0, 3, 2, 0, 2, 3, 3]  # deep 3/9, rem 4/9, wake 2/9: 0.33 + 0.44 + 0.22
    assert [stat(no_light)[f"{stage}_ratio"] for stage in ("rem", "deep", "wake")] == [0.45, 0.33, 0.22]


@pytest.mark.parametrize(
    ("rem_epochs", "gap", "cycles"),
    [(19, 0, 0), (20, 0, 1), (40, 20, 1), (40, 21, 2), (38, 21, 0)],
    ids=["too few", "enough", "bridged gap", "two clusters", "two that are too small"],
)
def test_a_cycle_is_a_cluster_of_rem(rem_epochs: int, gap: int, cycles: int):
    half = rem_epochs // 2
    stages = [1] * 10 + [3] * half + [1] * gap + [3] * (rem_epochs - half) + [1] * 5

    found = stat(stages)

    assert found["sleep_cycle_count"] == cycles
    assert len(found["sleep_cycle_time"]) == (cycles + 1 if cycles else 0)
    assert (found["sleep_cycle"] is None) == (cycles == 0)


def test_unknown_epochs_count_in_no_stage_and_are_neither_onset_nor_awakening():
    found = stat([-1, 0, 1, 1, -1, 0, 1, -1])

    assert found["sleep_latency"] == 60
    assert found["wakeup_latency"] == 30
    assert found["time_in_sleep_period"] == 120
    assert found["time_in_wake"] == 30


def test_timestamps_follow_the_clocks_of_the_zone_across_a_change():
    """At 02:00 on 25 October 2026 Berlin falls back an hour; durations must not."""
    berlin = ZoneInfo("Europe/Berlin")
    start = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)
    end = datetime(2026, 10, 25, 6, 0, tzinfo=UTC)

    found = stat([0] * 480 + [1] * 480, start=start, end=end, zone=berlin)

    assert found["time_in_bed"] == 8 * 3600
    assert found["sleep_time"] == "2026-10-25T03:00:00+01:00"
    assert found["wake_time"] == "2026-10-25T07:00:00+01:00"


def test_all_208_nights_are_there_and_their_second_scoring_differs():
    nights = all_nights()

    assert len(nights) == 208
    assert all(night.stages != night.stages_alt for night in nights.values())
    assert all(len(night.stages) == len(night.stages_alt) for night in nights.values())


def test_breathing_figures_exist_only_where_breathing_was_analysed():
    with_breath = stat([1] * 120, [0] * 120, [0] * 50 + [1] * 10 + [0] * 60)

    assert (with_breath["time_in_unstable_breath"], with_breath["unstable_breath_count"]) == (300, 1)
    assert with_breath["breathing_index"] == 1.0
    assert with_breath["breathing_pattern"] == "STABLE_BREATH"
    assert stat([1] * 120)["time_in_stable_breath"] is None
