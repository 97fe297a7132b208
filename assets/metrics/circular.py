"""Statistics of clock times: mean, spread and difference on a circle of 24 hours."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

DAY_SECONDS = 86_400
_NO_DIRECTION = 1e-6
"""A mean vector shorter than this has no direction: the clock times cancel each other."""

Floats = NDArray[np.float64]


def mean_and_sd(seconds: pd.Series, groups: list[pd.Series]) -> pd.DataFrame:
    """Circular mean and standard deviation of clock times, group by group.

    The mean is the direction of the summed clock hands (Fisher 1993, section 2.3.1). The standard deviation is
    sqrt(-2 ln R), with R the length of the mean vector (Fisher 1993, equation 2.12), turned into seconds.

    Args:
        seconds: clock times, seconds after midnight; missing values are left out.
        groups: the keys to group by, aligned with `seconds`.

    Returns:
        One row per group: `mean` (seconds after midnight, missing without any clock time or when they cancel) and `sd`
        (seconds, missing below two clock times).
    """
    angle = seconds.astype("float64") * (2 * np.pi / DAY_SECONDS)
    sums = (
        pd.DataFrame({"sine": np.sin(angle), "cosine": np.cos(angle), "count": angle.notna().astype("int64")})
        .groupby(groups)
        .sum()
    )
    sine, cosine = sums["sine"].to_numpy(), sums["cosine"].to_numpy()
    count = sums["count"].to_numpy(dtype="float64")
    with np.errstate(divide="ignore", invalid="ignore"):
        length = np.hypot(sine, cosine) / count
        sd = np.sqrt(-2 * np.log(np.clip(length, None, 1.0))) * DAY_SECONDS / (2 * np.pi)
    mean = np.arctan2(sine, cosine) * DAY_SECONDS / (2 * np.pi) % DAY_SECONDS
    has_direction = (count > 0) & (length > _NO_DIRECTION)
    return pd.DataFrame(
        {"mean": np.where(has_direction, mean, np.nan), "sd": np.where((count > 1) & has_direction, sd + 0.0, np.nan)},
        index=sums.index,
    )


def signed_difference(later: Floats, earlier: Floats) -> Floats:
    """Seconds from `earlier` to `later` the short way round the clock, above -12 hours and up to 12 hours.

    Args:
        later: seconds of a day.
        earlier: seconds of a day.
    """
    half = DAY_SECONDS / 2
    difference: Floats = half - (half - (later - earlier)) % DAY_SECONDS
    return difference


def whole_seconds(seconds: pd.Series) -> pd.Series:
    """Clock times in whole seconds, rounded as `asleep.clock_mean` rounds them: half a second away from midnight."""
    half = DAY_SECONDS / 2
    signed = ((seconds.astype("float64") + half) % DAY_SECONDS - half).round(6)
    return pd.Series(np.copysign(np.floor(signed.abs() + 0.5), signed) % DAY_SECONDS, index=seconds.index)
