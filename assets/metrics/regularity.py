"""Sleep Regularity Index (Phillips et al. 2017, Scientific Reports 7:3216) from 30-second stages.

The index is the probability, scaled from -100 to 100, that a user is in the same state, asleep or awake, at two moments
24 hours apart. Days run from noon to noon by the clock of the phone that recorded.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from typing import NamedTuple, TypeVar
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import pandas as pd
from numpy.typing import NDArray

EPOCH_SECONDS = 30
EPOCHS_A_DAY = 86_400 // EPOCH_SECONDS
AWAKE, UNKNOWN, ASLEEP = 0, 1, 2  # where recordings overlap, the higher one counts

_NOON = timedelta(hours=12)
_EPOCH = timedelta(seconds=EPOCH_SECONDS)
_ORDINAL_1970 = date(1970, 1, 1).toordinal()

Epochs = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recording:
    """One kept session: where it lies on the local clock, and its stages."""

    start: datetime  # aware
    start_local: datetime  # the same moment as the local clock showed it; naive
    seconds: int  # length of the session
    zone: str | None  # IANA name; None or an unknown one: the clock is taken as fixed
    stages: NDArray[np.int16] | None  # -1 unknown, 0 wake, 1 to 3 sleep; None when they are not stored


@dataclass(frozen=True, slots=True)
class MainSleep:
    """The main sleep of one date: its middle decides which day from noon to noon it belongs to."""

    midpoint_local: datetime
    zone: str | None
    has_stages: bool  # all its sessions have stages


class Pair(NamedTuple):
    """Two consecutive days that both have a main sleep, compared epoch by epoch."""

    second_day: date  # the day that ends at noon of this date; the first day ends 24 hours before
    equal: int
    compared: int


def compare_days(recordings: Sequence[Recording], mains: Iterable[MainSleep]) -> list[Pair]:
    """Compare each day of one user with the day before.

    Asleep: an epoch of stage 1 to 3 of any recording. Awake: everything else of a day with a main sleep. Left out:
    epochs without a known stage inside a recording, and local times that a change of the clock skips or repeats.

    Args:
        recordings: the user's kept sessions, naps included.
        mains: the user's main sleeps. A day counts when it has one and the stages of all main sleeps in it are stored.
    """
    days: dict[int, MainSleep | None] = {}
    for main in mains:
        number = _day_of(main.midpoint_local)
        days[number] = main if main.has_stages and days.get(number, main) is not None else None
    wanted = sorted(number for number, main in days.items() if main is not None)
    states = {number: np.zeros(EPOCHS_A_DAY, dtype=np.uint8) for number in wanted}
    for recording in recordings:
        _paint(states, recording)
    for number in wanted:
        if (main_of_day := days[number]) is not None:
            states[number][_unusable_epochs(number, main_of_day.zone)] = UNKNOWN
    return [_pair(second, states[first], states[second]) for first, second in pairwise(wanted) if second == first + 1]


Number = TypeVar("Number", float, "pd.Series[float]")


def index_of(equal: Number, compared: Number) -> Number:
    """Return the index, -100 to 100, of one or more pairs of days.

    Args:
        equal: epochs in the same state on both days.
        compared: all epochs compared.
    """
    return 200 * equal / compared - 100


def stages_of(text: str | None) -> NDArray[np.int16] | None:
    """Stages from their comma-separated text, as `array_to_string(…, ',', '-1')` writes them."""
    if not text:
        return None
    digits = np.frombuffer(text.replace("-1", "x").replace(",", "").encode("ascii"), dtype=np.uint8)
    if len(digits) == text.count(",") + 1:
        return np.where(digits == ord("x"), -1, digits.astype(np.int16) - ord("0")).astype(np.int16)
    return np.array(text.split(","), dtype=np.int16)  # codes of several digits, which the contract does not name


def _pair(second: int, before: Epochs, after: Epochs) -> Pair:
    known = (before != UNKNOWN) & (after != UNKNOWN)
    return Pair(
        second_day=date.fromordinal(second + _ORDINAL_1970),
        equal=int(np.count_nonzero(known & (before == after))),
        compared=int(np.count_nonzero(known)),
    )


def _day_of(local: datetime) -> int:
    """Number of the day that ends at the noon after `local`, counted from 1970-01-01."""
    return (local + _NOON).toordinal() - _ORDINAL_1970


def _epoch_number(local: datetime) -> int:
    """Epochs since the noon at which day 0 begins."""
    since_midnight = local.hour * 3600 + local.minute * 60 + local.second
    return (local.toordinal() - _ORDINAL_1970) * EPOCHS_A_DAY + (since_midnight + 43_200) // EPOCH_SECONDS


def _paint(states: dict[int, Epochs], recording: Recording) -> None:
    """Mark the recording's epochs in the states of the days that hold them."""
    stages = np.array([], dtype=np.int16) if recording.stages is None else recording.stages
    values = np.full(max(recording.seconds // EPOCH_SECONDS, len(stages)), UNKNOWN, dtype=np.uint8)
    values[: len(stages)][stages == 0] = AWAKE
    values[: len(stages)][(stages >= 1) & (stages <= 3)] = ASLEEP  # noqa: PLR2004 light, deep, REM
    days, slots = np.divmod(_local_epochs(recording, len(values)), EPOCHS_A_DAY)
    for number in np.unique(days):
        if (state := states.get(int(number))) is not None:
            np.maximum.at(state, slots[days == number], values[days == number])


def _local_epochs(recording: Recording, count: int) -> NDArray[np.int64]:
    """The recording's first epochs on the local clock, which may be moved between two of them."""
    slots = _epoch_number(recording.start_local) + np.arange(count)
    zone = _zone(recording.zone)
    end = recording.start + count * _EPOCH
    if zone is None or recording.start.astimezone(zone).utcoffset() == end.astimezone(zone).utcoffset():
        return slots
    moments = pd.date_range(recording.start, periods=count, freq=_EPOCH).tz_convert("UTC")
    offsets = moments.tz_convert(zone).tz_localize(None) - moments.tz_localize(None)
    moved: NDArray[np.int64] = ((offsets - offsets[0]) // _EPOCH).to_numpy()
    return slots + moved


@lru_cache(maxsize=4096)
def _unusable_epochs(number: int, zone_name: str | None) -> NDArray[np.int64]:
    """Epochs of a day that the local clock skips or shows twice."""
    zone = _zone(zone_name)
    if zone is None:
        return np.arange(0)
    begin = datetime.fromordinal(number + _ORDINAL_1970) - _NOON
    day = pd.date_range(begin, periods=EPOCHS_A_DAY, freq=_EPOCH)
    return np.flatnonzero(day.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").isna())


@lru_cache(maxsize=512)
def _zone(name: str | None) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None


def pairs_frame(pairs: dict[str, list[Pair]]) -> pd.DataFrame:
    """Pairs of several users as a table: user_id, second_day, equal, compared."""
    rows = [(user_id, *pair) for user_id, found in pairs.items() for pair in found]
    frame = pd.DataFrame(rows, columns=["user_id", *Pair._fields])
    return frame.astype({"user_id": "str", "second_day": "datetime64[s]", "equal": "int64", "compared": "int64"})
