"""The parts of the simulator that measure others have to be exact themselves."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import orjson
import pytest

from simulator.averages import mean_clock_time
from simulator.behaviour import Behaviour
from simulator.population import SPECIAL_TAGS, UNLISTED_ZONE, Plan, clock_zone
from simulator.rate import BusiestSecond, RateLimit, SlidingWindow
from simulator.render import row_json
from simulator.special_sessions import populate
from simulator.world import Clock, World

NOW = datetime(2026, 11, 23, 15, 0, tzinfo=UTC)


def world(now: Any = NOW, seed: Any = 1, **plan: Any):
    found = World(seed, Clock(now), Behaviour())
    populate(found, Plan(**plan))
    return found


def test_no_second_ever_holds_more_than_the_rate():
    """A limit that lets bursts through at the seams would hide mistakes of the client's limiter."""
    limit = RateLimit(10)
    dice = Random(1)  # noqa: S311 (reproducible, not secret)
    now, allowed = 0.0, []
    for _ in range(2000):
        now += dice.expovariate(25)
        if limit.allows("key", now):
            allowed.append(now)

    fullest = max(sum(start <= each < start + 1 for each in allowed) for start in allowed)
    assert fullest == 10


def test_refused_requests_do_not_prolong_the_wait():
    limit = RateLimit(2)
    assert [limit.allows("key", at) for at in (0.0, 0.1, 0.2, 0.9, 1.0, 1.05, 1.1)] == [
        *(True, True, False, False, True, False, True)
    ]


def test_each_key_has_its_own_limit_and_zero_means_none():
    limit = RateLimit(1)
    assert limit.allows("one", 0.0)
    assert limit.allows("two", 0.0)
    assert not limit.allows("one", 0.5)
    assert all(RateLimit(0).allows("key", 0.0) for _ in range(100))


def test_a_rate_below_one_spaces_requests_out():
    limit = RateLimit(0.5)
    assert [limit.allows("key", at) for at in (0.0, 1.0, 1.9, 2.0)] == [True, False, False, True]


def test_busiest_second_counts_moments_in_any_second_not_in_clock_seconds():
    busiest = BusiestSecond()
    for at in (0.875, 0.9, 1.0, 1.5, 1.75, 1.875):
        busiest.add(at)
    assert busiest.highest == 5
    assert SlidingWindow().count(0.0) == 0


@pytest.mark.parametrize(
    ("times", "mean"),
    [
        (["23:50", "00:10"], "00:00:00"),
        (["22:00", "23:00"], "22:30:00"),
        (["23:00", "23:30", "00:30"], "23:40:00"),
    ],
)
def test_clock_times_are_averaged_around_the_clock(times: Any, mean: str):
    """A plain mean of 23:50 and 00:10 would be noon."""
    moments = [datetime.fromisoformat(f"2026-01-01T{time}:00+09:00") for time in times]
    assert abs(_seconds(mean_clock_time(moments)) - _seconds(mean)) <= 5


def _seconds(text: str) -> int:
    hours, minutes, seconds = map(int, text.split(":"))
    return hours * 3600 + minutes * 60 + seconds


def test_the_same_seed_makes_the_same_world_and_another_seed_another():
    one, two, other = world(users=30), world(users=30), world(users=30, seed=2)

    assert one.sessions == two.sessions
    assert not set(one.users) & set(other.users)


def test_ordinary_nights_stay_where_they_were_when_the_simulator_is_started_later():
    """A demo that is started again next week has to show the same users and the same past."""
    earlier = world(users=5, special=False)
    later = world(datetime(2026, 11, 30, 15, 0, tzinfo=UTC), users=5, days=67, special=False)

    assert set(earlier.users) == set(later.users)
    assert set(earlier.sessions) < set(later.sessions)


def test_every_special_tag_has_a_user():
    found = world(users=40)
    tags = set().union(*(user.tags for user in found.users.values()))
    session_tags = {tag for session in found.sessions.values() for tag in session.tags}

    assert tags >= {*SPECIAL_TAGS, "without_sessions"}
    assert UNLISTED_ZONE in {user.timezone for user in found.users.values()}
    about_users = {"unknown_zone", "naps", "to_be_deleted", "breathing", "no_metadata"}
    assert session_tags >= set(SPECIAL_TAGS) - about_users


@pytest.mark.parametrize(("count", "days"), [(1, 60), (30, 30), (100, 30)])
def test_an_exact_number_of_sessions_is_exact_and_all_are_finished(count: int, days: int):
    """Benchmarks count requests; a session more or less would blur them."""
    found = world(users=3, days=days, sessions_per_user=count)

    for user in found.users.values():
        assert len(found.begun(user)) == count
        assert {session.state(NOW) for session in user.sessions} == {"COMPLETE"}
        starts = [session.start for session in user.sessions]
        ends = [session.end for session in user.sessions]
        assert all(end <= start for end, start in zip(ends[:-1], starts[1:], strict=True))


def test_people_go_to_bed_in_the_evening_of_their_own_zone():
    """Nights that begin at noon would hide every mistake about dates."""
    for user in world(users=30, special=False).users.values():
        zone = clock_zone(user.timezone)
        hours = [each.start.astimezone(zone).hour for each in user.sessions if "nap" not in each.tags]
        assert sum(hour >= 18 or hour <= 4 for hour in hours) >= 0.95 * len(hours)


def test_a_row_follows_the_clock_until_the_session_is_finished():
    """With nights to come the state changes by itself; a row kept too early would freeze it."""
    found = world(users=1, days=2, days_ahead=2, special=False)
    session = max(found.sessions.values(), key=lambda each: each.start)
    moments = (session.start, session.end, session.completed, session.completed + timedelta(days=1))
    states = [orjson.loads(row_json(session, now, UTC, Behaviour()))["state"] for now in moments]

    assert states == ["OPEN", "CLOSED", "COMPLETE", "COMPLETE"]


def test_no_user_tracks_two_ordinary_nights_at_once():
    for user in world(users=20, special=False).users.values():
        for one, two in zip(user.sessions[:-1], user.sessions[1:], strict=True):
            assert one.end <= two.start
