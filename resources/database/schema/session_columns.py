"""Name, type and meaning of the 38 `stat` fields of a session, in the contract's order, and how they are averaged."""

from typing import Any

from sqlalchemy import Column, Double, Integer, Text
from sqlalchemy.dialects.postgresql import ARRAY

from resources.database.schema.metadata import Timestamp, Type, optional

_SECONDS = "seconds"
_SHARE = "0 to 1, share of the sleep period"
_NO_BREATHING = "null where the contract excludes breathing analysis"

STAT: tuple[tuple[str, Type, str], ...] = (
    ("sleep_time", Timestamp, "When sleep began: the first sleep epoch (start + sleep_latency)"),
    ("wake_time", Timestamp, "When sleep ended: end of the last sleep epoch (end - wakeup_latency)"),
    ("sleep_index", Integer, "Quality score of the night, 50 to 100"),
    ("sleep_latency", Integer, f"From session start to the first sleep epoch, {_SECONDS}"),
    ("wakeup_latency", Integer, f"From the last sleep epoch to session end, {_SECONDS}"),
    ("light_latency", Integer, f"From sleep onset to the first light epoch, {_SECONDS}; null when never reached"),
    ("deep_latency", Integer, f"From sleep onset to the first deep epoch, {_SECONDS}; null when never reached"),
    ("rem_latency", Integer, f"From sleep onset to the first REM epoch, {_SECONDS}; null when never reached"),
    ("time_in_bed", Integer, f"Session end - session start, {_SECONDS}"),
    ("time_in_sleep_period", Integer, f"First to last sleep epoch: sleep plus wake inside it, {_SECONDS}"),
    ("time_in_sleep", Integer, f"Light + deep + REM, {_SECONDS}"),
    ("time_in_wake", Integer, f"Wake inside the sleep period only, {_SECONDS}"),
    ("time_in_light", Integer, f"Light sleep, {_SECONDS}"),
    ("time_in_deep", Integer, f"Deep sleep, {_SECONDS}"),
    ("time_in_rem", Integer, f"REM sleep, {_SECONDS}"),
    ("time_in_stable_breath", Integer, f"Stable breathing, {_SECONDS}; {_NO_BREATHING}"),
    ("time_in_unstable_breath", Integer, f"Unstable breathing, {_SECONDS}; {_NO_BREATHING}"),
    ("time_in_snoring", Integer, f"Snoring inside the sleep period, {_SECONDS}"),
    ("time_in_no_snoring", Integer, f"No snoring inside the sleep period, {_SECONDS}"),
    ("sleep_efficiency", Double, "0 to 1: time_in_sleep / time_in_bed, as the API rounds it"),
    ("sleep_ratio", Double, f"{_SHARE} asleep (1 - wake_ratio)"),
    ("wake_ratio", Double, f"{_SHARE} awake"),
    ("light_ratio", Double, f"{_SHARE} in light sleep; carries the rounding, so that the four shares add to 1"),
    ("deep_ratio", Double, f"{_SHARE} in deep sleep"),
    ("rem_ratio", Double, f"{_SHARE} in REM sleep"),
    ("stable_breath_ratio", Double, f"{_SHARE} of stable breathing; {_NO_BREATHING}"),
    ("unstable_breath_ratio", Double, f"{_SHARE} of unstable breathing; {_NO_BREATHING}"),
    ("snoring_ratio", Double, f"{_SHARE} with snoring"),
    ("no_snoring_ratio", Double, f"{_SHARE} without snoring"),
    ("breathing_index", Double, f"Estimate in the manner of an apnoea-hypopnoea index; {_NO_BREATHING}"),
    ("breathing_pattern", Text, f"Category of breathing, e.g. STABLE_BREATH; {_NO_BREATHING}"),
    ("unstable_breath_count", Integer, f"Clusters of unstable breathing; {_NO_BREATHING}"),
    ("waso_count", Integer, "Wake runs inside the sleep period (wake after sleep onset)"),
    ("longest_waso", Integer, f"Longest wake run inside the sleep period, {_SECONDS}"),
    ("sleep_cycle_count", Integer, "Sleep cycles: clusters of REM"),
    ("sleep_cycle", Double, f"Average length of a sleep cycle, {_SECONDS}; null when there is none"),
    ("sleep_cycle_time", ARRAY(Timestamp), "Sleep onset, then the end of each cycle"),
    ("snoring_count", Integer, "Snoring episodes"),
)


def stat_columns() -> list[Column[Any]]:
    """New columns for the 38 fields; each may be null."""
    return [optional(name, kind, f"{meaning}. As the API gives it.") for name, kind, meaning in STAT]


MEANS: tuple[tuple[str, str], ...] = tuple(
    (name, meaning) for name, kind, meaning in STAT if kind is Integer or name in {"sleep_cycle", "breathing_index"}
)
"""Averaged as plain means over the non-null values of a month."""

RATIOS: tuple[tuple[str, str, str], ...] = (
    ("sleep_efficiency", "time_in_sleep", "time_in_bed"),
    ("sleep_ratio", "time_in_sleep", "time_in_sleep_period"),
    ("wake_ratio", "time_in_wake", "time_in_sleep_period"),
    ("light_ratio", "time_in_light", "time_in_sleep_period"),
    ("deep_ratio", "time_in_deep", "time_in_sleep_period"),
    ("rem_ratio", "time_in_rem", "time_in_sleep_period"),
    ("stable_breath_ratio", "time_in_stable_breath", "time_in_sleep_period"),
    ("unstable_breath_ratio", "time_in_unstable_breath", "time_in_sleep_period"),
    ("snoring_ratio", "time_in_snoring", "time_in_sleep_period"),
    ("no_snoring_ratio", "time_in_no_snoring", "time_in_sleep_period"),
)
"""Averaged as sum of the numerator / sum of the denominator, over sessions in which both are known."""

CLOCKS_OF_NIGHT: tuple[tuple[str, str], ...] = (
    ("onset", "Local clock time of falling asleep"),
    ("wake", "Local clock time of the last awakening"),
    ("midpoint", "Local clock time in the middle between the two"),
)
"""Averaged as circular means over valid nights."""

MEANS_OF_NIGHT: tuple[tuple[str, str], ...] = (
    ("time_in_sleep_of_date", "Sleep of a date with a valid night, naps included, seconds"),
    ("latency_of_night", "Valid nights: from the start to the first sleep epoch, seconds"),
    ("waso_of_night", "Valid nights: wake after sleep onset, time between two sessions included, seconds"),
)
AS_OF = "Dates before this one count, and later ones with a main sleep; while the period runs it is recomputed daily"
EFFICIENCY_OF_NIGHT = "sum(time_in_sleep) / sum(time_in_bed) of valid nights"

NIGHT_COUNTS: tuple[tuple[str, str], ...] = (
    ("days", "Dates of the period from the user's first recording up to the day before as_of, and later recorded ones"),
    (
        "valid_nights",
        "Main sleeps of at least 3 hours in bed with at most a fifth of the audio missing: means are over these",
    ),
    ("no_sleep_found_nights", "Dates on which no sleep was found"),
    ("not_analysable_nights", "Dates with sessions too short or with too much audio missing only"),
    ("doubtful_nights", "Dates with sleep longer than 24 hours only"),
    ("missing_nights", "Dates without a session, although the sync covers them"),
    ("not_synced_nights", "Dates that no sync covers, or whose sessions are not final"),
)
"""Counted in a user's week or month, beside the dates with a main sleep."""
