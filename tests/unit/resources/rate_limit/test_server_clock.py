"""The server's clock as this process reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resources.rate_limit.shared_row import ServerClock

SECONDS = st.floats(min_value=0, max_value=0.5)


@given(st.lists(st.tuples(SECONDS, SECONDS), min_size=1, max_size=30), st.floats(min_value=-1e9, max_value=1e9))
def test_the_clock_is_wrong_by_half_of_the_fastest_exchange_at_most(exchanges, difference):
    """A slow or lopsided exchange must not move a slot by more."""
    clock = ServerClock()
    now = 1000.0
    for there, back in exchanges:
        clock.observe(asked_at=now, server_seconds=now + there + difference, answered_at=now + there + back)
        now += there + back

    drift_seconds = 2e-4 * (now - 1000.0)
    fastest_seconds = min(there + back for there, back in exchanges)
    assert abs(now + difference + clock.offset - now) <= fastest_seconds / 2 + drift_seconds + 1e-6


def test_one_fast_exchange_makes_all_slow_ones_harmless():
    """On a busy machine most exchanges are slow; requests must not be early or late for it."""
    clock = ServerClock()
    clock.observe(asked_at=10.0, server_seconds=500.29, answered_at=10.3)
    clock.observe(asked_at=11.0, server_seconds=501.0001, answered_at=11.0002)
    clock.observe(asked_at=12.0, server_seconds=502.29, answered_at=12.3)

    assert 505.0 + clock.offset == pytest.approx(15.0, abs=0.0005)


def test_a_changed_server_clock_is_followed_at_once():
    """Else every slot would be an hour away, or an hour late."""
    clock = ServerClock()
    clock.observe(asked_at=10.0, server_seconds=500.0001, answered_at=10.0002)
    clock.observe(asked_at=11.0, server_seconds=4101.0001, answered_at=11.0002)

    assert 4105.0 + clock.offset == pytest.approx(15.0, abs=0.001)
