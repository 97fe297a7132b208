"""The rate limit that all processes share, on a real Postgres and with real processes.

Moments are those of the database's clock as the permits carry them, so nothing here depends on how busy the machine is.
"""

import time
from dataclasses import replace
from datetime import timedelta

import pytest
from rate_limit_fleet import Fleet, permit_of
from sqlalchemy import text

from resources.rate_limit.limiter import Outcome, Permit, PermitUnavailable
from resources.rate_limit.shared_row import key_id_of

REACHES_ALL_SECONDS = 0.55
"""A pause or an open circuit reaches every process within this: no slot is reserved further ahead."""


def sent(lines):
    """When requests were sent, in order."""
    return sorted(line["sent_at"] for line in lines if "sent_at" in line)


def shortest_span(moments: list[float], limit: int) -> float:
    """Seconds from a request to the one that would be the first too many in a window beginning with it."""
    return min(after - before for before, after in zip(moments, moments[limit:], strict=False))


def test_processes_together_never_send_more_than_the_limit(fleet: Fleet):
    """N processes must not become N times the rate, nor may two of them hold the same slot."""
    limit = 100
    members = [fleet.process(rate=limit, threads=8, seconds=3.0) for _ in range(3)]
    for member in members:
        member.go()
    moments = sent(line for member in members for line in member.rest())

    assert len(moments) > limit
    assert shortest_span(moments, limit) >= 1


def test_wall_clocks_of_the_processes_do_not_matter(fleet: Fleet):
    """Machines are never quite in step; only the database's clock counts."""
    members = [fleet.process(rate=50, threads=4, seconds=2.5, skew_seconds=skew) for skew in (0, 3600, -0.7)]
    for member in members:
        member.go()
    moments = [sent(member.rest()) for member in members]

    together = sorted(moment for one in moments for moment in one)
    assert min(len(one) for one in moments) > 0
    assert together[-1] - together[0] < 60
    assert shortest_span(together, 50) >= 1


def test_after_idle_time_there_is_no_burst_over_the_limit(fleet: Fleet):
    """Seconds without requests must not be saved up: the API counts any second."""
    limiter = fleet.limiter(rate=3)
    permit_of(limiter)
    fleet.let_pass(30)
    moments = [permit_of(limiter).granted_at.timestamp() for _ in range(4)]

    assert moments[3] - moments[0] >= 1


def test_a_request_that_left_late_counts_from_when_it_left(fleet: Fleet):
    """The API counts what arrives in a second, not when it was permitted."""
    limiter = fleet.limiter(rate=1)
    permit = permit_of(limiter)
    limiter.sent(late(permit, seconds=0.4))
    limiter.report(permit, Outcome.ANSWERED)

    assert permit_of(limiter).granted_at - permit.granted_at >= timedelta(seconds=1.4)


def test_a_late_request_pays_before_its_sender_goes_on(fleet: Fleet, statements: list[str]):
    """A thread that paid with the next reservation might sleep first, and slots would be given away meanwhile."""
    limiter = fleet.limiter(rate=2)
    permit = permit_of(limiter)
    before = next_slot(fleet)
    statements.clear()
    limiter.sent(late(permit, seconds=0.4))

    assert len(statements) == 1
    assert next_slot(fleet) - before >= 0.19


def late(permit: Permit, *, seconds: float) -> Permit:
    """The permit as it is for a thread that was held up for this long before it sent its request."""
    return replace(permit, slot=replace(permit.slot, due_at=permit.slot.due_at - seconds))


def next_slot(fleet: Fleet) -> float:
    """Moment of the next free slot."""
    with fleet.engine.connect() as connection:
        statement = text("SELECT next_slot FROM asleep.rate_limits WHERE key_id = :key_id")
        return connection.execute(statement, {"key_id": key_id_of(fleet.api_key)}).scalar_one()


def test_a_killed_process_stops_no_other(fleet: Fleet):
    """Its slots are lost, at most a block of them; the others go on."""
    victim = fleet.process(rate=50, threads=8, seconds=60.0)
    victim.go()
    victim.line()
    victim.kill()

    assert permit_of(fleet.limiter(rate=50)).waited_seconds < 30


def test_when_the_rate_does_not_bind_few_requests_need_a_statement(fleet: Fleet, statements: list[str]):
    """At hundreds of requests a second, a round trip more for each would be the bottleneck."""
    limiter = fleet.limiter(rate=2000)
    limiter.report(permit_of(limiter), Outcome.ANSWERED)
    statements.clear()
    for _ in range(200):
        permit = permit_of(limiter)
        limiter.sent(permit)
        limiter.report(permit, Outcome.ANSWERED)

    assert len(statements) <= 100


def test_the_lowest_rate_announced_counts_until_it_is_a_minute_old(fleet: Fleet):
    """Someone lowers ASLEEP_REQUESTS_PER_SECOND while older processes still run, or the other way round."""
    permit_of(fleet.limiter(rate=100))
    permit_of(fleet.limiter(rate=40))
    permit_of(fleet.limiter(rate=100))
    assert fleet.state()["requests_per_second"] == 40

    fleet.let_pass(61)
    permit_of(fleet.limiter(rate=100))
    assert fleet.state()["requests_per_second"] == 100


def test_a_permit_that_cannot_come_in_time_is_refused_at_once(fleet: Fleet):
    """A thread that would wait in vain can do something else; and no slot is wasted."""
    limiter = fleet.limiter(rate=0.02)
    permit_of(limiter)
    with pytest.raises(PermitUnavailable, match=r"the rate limit is .*/s now, next permit at"):
        permit_of(limiter, timeout_seconds=20)

    fleet.let_pass(60)
    assert permit_of(fleet.limiter(rate=0.02))


def test_throttling_halves_the_rate_once_for_all_that_were_under_way(fleet: Fleet):
    """Twenty threads are throttled together; twenty halvings would stop the sync."""
    limiters = [fleet.limiter(), fleet.limiter()]
    permits = [(limiter, permit_of(limiter)) for limiter in limiters for _ in range(10)]
    for limiter, permit in permits:
        limiter.report(permit, Outcome.THROTTLED)
    assert fleet.state()["rate_in_force"] == 50

    fresh = fleet.limiter()
    fresh.report(permit_of(fresh), Outcome.THROTTLED)
    assert fleet.state()["rate_in_force"] == pytest.approx(25, abs=1)


def test_the_rate_has_a_floor_and_recovers_a_tenth_in_ten_seconds(fleet: Fleet):
    """After throttling the sync must neither stall for good nor run into the limit again at once."""
    for _ in range(8):
        limiter = fleet.limiter(pause_seconds=0.01)
        limiter.report(permit_of(limiter), Outcome.THROTTLED)
    for _ in range(12):
        before, state, after = time.time(), fleet.state(), time.time()
        paused_until = state["throttled_at"].timestamp() + 0.01
        floor_and_recovery = [min(100.0, 5 + max(0.0, moment - paused_until)) for moment in (before, after)]
        assert floor_and_recovery[0] <= state["rate_in_force"] + 1e-3
        assert state["rate_in_force"] <= floor_and_recovery[1] + 1e-3
        fleet.let_pass(10)


def test_after_throttling_all_processes_pause(fleet: Fleet):
    """The server's window is full: any request now would be throttled again, from whichever process."""
    slow = fleet.process(rate=2, threads=4, seconds=60.0)
    slow.go()
    slow.line()
    limiter = fleet.limiter(rate=2, pause_seconds=2)
    limiter.report(permit_of(limiter), Outcome.THROTTLED)
    state = fleet.state()

    reaches_all_at = state["throttled_at"].timestamp() + REACHES_ALL_SECONDS
    granted = (slow.line()["granted_at"] for _ in range(100))
    next_permit = next(moment for moment in granted if moment > reaches_all_at)
    assert next_permit >= state["paused_until"].timestamp() - 1e-3


def test_retry_after_is_honoured_by_all(fleet: Fleet):
    """The API names the moment; a request before it may cost the account more than time."""
    limiter = fleet.limiter(rate=2)
    permit = permit_of(limiter)
    limiter.report(permit, Outcome.THROTTLED, retry_after_seconds=1.5)
    other = fleet.limiter(rate=2)

    assert (permit_of(other).granted_at - permit.granted_at).total_seconds() >= 1.5


def test_a_long_retry_after_ends_the_wait_at_once_and_is_capped(fleet: Fleet):
    """`Retry-After: 86400` must not hang a run for a day."""
    limiter = fleet.limiter(rate=1)
    limiter.report(permit_of(limiter), Outcome.THROTTLED, retry_after_seconds=86_400)
    asked_at = time.monotonic()
    with pytest.raises(PermitUnavailable, match="the API throttles requests, next permit at"):
        permit_of(limiter, timeout_seconds=100)
    assert time.monotonic() - asked_at < 50

    fleet.let_pass(301)
    assert permit_of(fleet.limiter(rate=1))


def test_a_pause_lifted_by_hand_is_noticed(fleet: Fleet):
    """An operator who knows better clears `paused_until`; no process has to be restarted."""
    limiter = fleet.limiter(rate=1)
    limiter.report(permit_of(limiter), Outcome.THROTTLED, retry_after_seconds=200)
    with fleet.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.rate_limits SET paused_until = 0"))

    assert permit_of(limiter, timeout_seconds=250).waited_seconds < 100


def test_a_server_clock_set_back_stops_requests_for_a_second_only(fleet: Fleet):
    """Else all processes would wait until the clock has caught up, an hour in winter."""
    permit = permit_of(fleet.limiter(rate=1))
    fleet.let_pass(-3600)
    again = permit_of(fleet.limiter(rate=1))

    assert 1 <= (again.granted_at - permit.granted_at).total_seconds() < 50


def test_the_state_shows_what_is_in_force(fleet: Fleet):
    """`asleep-sync status` shows it; the key itself is nowhere."""
    limiter = fleet.limiter(rate=80)
    limiter.report(permit_of(limiter), Outcome.THROTTLED, retry_after_seconds=120)
    state = fleet.state()

    assert (state["requests_per_second"], state["rate_in_force"], state["circuit"]) == (80, 40, "closed")
    assert 119 < (state["paused_until"] - state["throttled_at"]).total_seconds() < 121
    assert (state["open_since"], state["next_probe_at"], state["recent_failures"]) == (None, None, 0)
    with fleet.engine.connect() as connection:
        rows = connection.execute(text("SELECT r::text FROM asleep.rate_limits AS r")).scalars().all()
    assert not [row for row in rows if fleet.api_key in row]
