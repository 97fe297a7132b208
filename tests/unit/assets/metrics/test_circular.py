"""Means, spreads and differences of clock times, against values worked out by hand."""

from math import log, pi, sqrt

import numpy as np
import pandas as pd
import pytest

from assets.metrics.circular import mean_and_sd, signed_difference, whole_seconds

HOUR = 3600


def statistics(*hours: float | None) -> tuple[float, float]:
    """Mean and standard deviation of clock times given in hours, in hours."""
    clock = pd.Series(hours, dtype="float64") * HOUR
    row = mean_and_sd(clock, [pd.Series(0, index=clock.index)]).iloc[0] / HOUR
    return row["mean"], row["sd"]


def test_clock_times_around_midnight_meet_at_midnight():
    """23:00 and 01:00 lie an hour from midnight; a plain mean of them is noon."""
    mean, sd = statistics(23, 1)

    assert min(mean, 24 - mean) == pytest.approx(0, abs=1e-9)
    assert sd == pytest.approx(sqrt(-2 * log(np.cos(pi / 12))) * 12 / pi)


def test_equal_clock_times_do_not_spread():
    """Rounding must not make a negative number under the root."""
    assert statistics(23.1, 23.1, 23.1) == (pytest.approx(23.1), pytest.approx(0, abs=1e-6))


def test_opposite_clock_times_have_neither_mean_nor_spread():
    """Midnight and noon cancel out; any result would be noise of the last digit."""
    assert np.isnan(statistics(0, 12)).all()


def test_one_clock_time_has_a_mean_and_no_spread():
    """Missing clock times count as nothing."""
    mean, sd = statistics(7, None)

    assert mean == pytest.approx(7)
    assert np.isnan(sd)
    assert np.isnan(statistics(None)).all()


@pytest.mark.parametrize(
    ("later", "earlier", "difference"), [(1, 23, 2), (23, 1, -2), (5, 3, 2), (12, 0, 12), (0, 12, 12), (6, 19, 11)]
)
def test_differences_go_the_short_way_round(later: float, earlier: float, difference: float):
    """Opposite clock times are 12 hours apart, whichever comes first."""
    found = signed_difference(np.array([later * HOUR]), np.array([earlier * HOUR]))

    assert found / HOUR == pytest.approx([difference])


def test_half_a_second_is_rounded_as_the_database_rounds_it():
    """Two tables that differ by a second would not show one number for one thing."""
    given = pd.Series([580.5, 581.5, 43199.4, 86399.5, 86399.7, np.nan, 5735.4999999999])

    assert whole_seconds(given).tolist() == pytest.approx([581, 582, 43199, 86399, 0, np.nan, 5736], nan_ok=True)
