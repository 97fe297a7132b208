"""The rate limit that all processes share, on a real Postgres and with real processes.

Moments are those of the database's clock as the turns carry them, so nothing here depends on how busy the machine is.
"""

import time
from itertools import pairwise

import pytest
from rate_limit_fleet import Fleet, turn_of
from sqlalchemy import text

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome
from resources.database.rate_limit_row import key_id_of

MARGIN_SECONDS = 0.017
STALE_SECONDS = 0.3
"""News of throttling or of an open circuit reach every process within this."""


def granted(lines):
    """When turns were granted, in order."""
    return sorted(line["granted_at"] for line in lines if "granted_at" in line)


def shortest_span(turns: list[float], limit: int) -> float:
    """Seconds from a turn to the one that would be the first too many in a window beginning with it."""
    return min(after - before for before, after in zip(turns, turns[limit:], strict=False))


def no_two_share_a_slot(fleet: Fleet, turns: list[float], *, rate: float) -> bool:
    """Turns are a spacing apart, but for what late threads pushed: some slots had moved and some not yet."""
    with fleet.engine.connect() as connection:
        statement = text("SELECT pushed_seconds FROM asleep.rate_limits WHERE key_id = :key_id")
        pushed = connection.scalar(statement, {"key_id": key_id_of(fleet.api_key)})
    return min(after - before for before, after in pairwise(turns)) >= (1 + MARGIN_SECONDS) / rate - pushed - 1e-4


def test_processes_together_never_get_more_than_the_limit(fleet: Fleet):
    """N processes must not become N times the rate, nor may two of them hold the same slot."""
    limit = 100
    members = [fleet.process(rate=limit, threads=8, seconds=3.0) for _ in range(3)]
    for member in members:
        member.go()
    turns = granted(line for member in members for line in member.rest())

    assert len(turns) > limit
    assert shortest_span(turns, limit) >= 1 + MARGIN_SECONDS - 1e-4
    assert no_two_share_a_slot(fleet, turns, rate=limit)


def test_wall_clocks_of_the_processes_do_not_matter(fleet: Fleet):
    """Machines are never quite in step; only the database's clock counts."""
    members = [fleet.process(rate=50, threads=4, seconds=2.5, skew_seconds=skew) for skew in (0, 3600, -0.7)]
    for member in members:
        member.go()
    turns = [granted(member.rest()) for member in members]

    together = sorted(moment for one in turns for moment in one)
    assert min(len(one) for one in turns) > 0
    assert together[-1] - together[0] < 60
    assert (
        min(after - before for before, after in zip(together, together[50:], strict=False)) >= 1 + MARGIN_SECONDS - 1e-4
    )
    assert no_two_share_a_slot(fleet, together, rate=50)


def test_after_a_rest_there_is_no_burst(fleet: Fleet):
    """Seconds in which nobody asked must not be saved up: the API counts any second."""
    gate = fleet.gate(rate=20)
    turn_of(gate)
    fleet.let_pass(30)
    turns = [turn_of(gate).granted_at.timestamp() for _ in range(4)]

    assert min(after - before for before, after in pairwise(turns)) >= (1 + MARGIN_SECONDS) / 20 - 1e-4


def test_a_killed_process_stops_nobody(fleet: Fleet):
    """Its slots are lost, at most a block of them; the others go on."""
    victim = fleet.process(rate=50, threads=8, seconds=60.0)
    victim.go()
    victim.line()
    victim.kill()

    assert turn_of(fleet.gate(rate=50)).waited_seconds < 30


def test_plain_answers_cost_no_statement_of_their_own(fleet: Fleet, statements: list[str]):
    """At hundreds of requests a second a round trip more for each would be the bottleneck."""
    gate = fleet.gate(rate=200)
    gate.leave(turn_of(gate), Outcome.ANSWERED)
    statements.clear()
    for _ in range(20):
        gate.leave(turn_of(gate), Outcome.ANSWERED)

    assert len(statements) <= 22


def test_the_lowest_rate_announced_counts_until_it_is_a_minute_old(fleet: Fleet):
    """Somebody lowers ASLEEP_REQUESTS_PER_SECOND while older processes still run, or the other way round."""
    turn_of(fleet.gate(rate=100))
    turn_of(fleet.gate(rate=40))
    fast = fleet.gate(rate=100)
    turn_of(fast)
    assert fleet.state().requests_per_second == 40

    fleet.let_pass(61)
    turn_of(fast)
    assert fleet.state().requests_per_second == 100


def test_no_turn_in_time_is_said_at_once(fleet: Fleet):
    """A thread that would wait in vain can do something else; and its slot is not wasted."""
    gate = fleet.gate(rate=0.02)
    turn_of(gate)
    with pytest.raises(Unavailable, match=r"the rate limit, .*, has no turn before"):
        turn_of(gate, patience_seconds=20)

    fleet.let_pass(60)
    assert turn_of(fleet.gate(rate=0.02))


def test_throttling_halves_the_rate_once_for_all_that_were_under_way(fleet: Fleet):
    """Twenty threads are throttled together; twenty halvings would stop the sync."""
    gates = [fleet.gate(), fleet.gate()]
    turns = [(gate, turn_of(gate)) for gate in gates for _ in range(10)]
    for gate, turn in turns:
        gate.leave(turn, Outcome.THROTTLED)
    assert fleet.state().rate_in_force == 50

    gates[0].leave(turn_of(gates[1]), Outcome.THROTTLED)
    assert fleet.state().rate_in_force == 25


def test_the_rate_has_a_floor_and_comes_back_step_by_step(fleet: Fleet):
    """After throttling the sync must neither stall for good nor run into the limit again at once."""
    gate = fleet.gate(pause_seconds=0.01)
    for _ in range(8):
        gate.leave(turn_of(gate), Outcome.THROTTLED)
    assert fleet.state().rate_in_force == pytest.approx(5)

    rates = []
    for _ in range(11):
        fleet.let_pass(10.5)
        gate.leave(turn_of(gate), Outcome.ANSWERED)
        rates.append(fleet.state().rate_in_force)

    assert rates == pytest.approx([15, 25, 35, 45, 55, 65, 75, 85, 95, 100, 100])


def test_after_throttling_everybody_pauses_and_slots_given_before_are_void(fleet: Fleet):
    """The server's window is full: whoever asks now is throttled again, in whichever process."""
    slow = fleet.process(rate=2, threads=4, seconds=60.0)
    slow.go()
    slow.line()
    gate = fleet.gate(rate=2, pause_seconds=2)
    gate.leave(turn_of(gate), Outcome.THROTTLED)
    state = fleet.state()
    assert state.paused_until is not None
    assert state.throttled_at is not None

    known_at = state.throttled_at.timestamp() + STALE_SECONDS
    next_turn = next(moment for moment in (slow.line()["granted_at"] for _ in range(100)) if moment > known_at)
    assert next_turn >= state.paused_until.timestamp() - 1e-4


def test_retry_after_is_honoured_by_all(fleet: Fleet):
    """The API says when; asking earlier may cost the account more than time."""
    gate, other = fleet.gate(), fleet.gate()
    turn_of(other)
    throttled = turn_of(gate)
    gate.leave(throttled, Outcome.THROTTLED, retry_after_seconds=1.5)

    assert (turn_of(other).granted_at - throttled.granted_at).total_seconds() >= 1.5


def test_a_long_retry_after_ends_the_wait_at_once_and_is_capped(fleet: Fleet):
    """`Retry-After: 86400` must not hang a run for a day."""
    gate = fleet.gate()
    gate.leave(turn_of(gate), Outcome.THROTTLED, retry_after_seconds=86_400)
    asked_at = time.monotonic()
    with pytest.raises(Unavailable, match="the Asleep API throttles us: paused until"):
        turn_of(gate, patience_seconds=100)
    assert time.monotonic() - asked_at < 50

    fleet.let_pass(301)
    assert turn_of(fleet.gate())


def test_a_pause_lifted_by_hand_is_noticed(fleet: Fleet):
    """An operator who knows better clears `paused_until`; nobody has to be restarted."""
    gate = fleet.gate()
    gate.leave(turn_of(gate), Outcome.THROTTLED, retry_after_seconds=200)
    with fleet.engine.begin() as connection:
        connection.execute(text("UPDATE asleep.rate_limits SET paused_until = NULL, next_slot_at = clock_timestamp()"))

    assert turn_of(gate, patience_seconds=250).waited_seconds < 100


def test_the_state_tells_what_is_in_force(fleet: Fleet):
    """`asleep-sync status` shows it; the key itself is nowhere."""
    gate = fleet.gate(rate=80)
    gate.leave(turn_of(gate), Outcome.THROTTLED, retry_after_seconds=120)
    state = fleet.state()

    assert (state.requests_per_second, state.rate_in_force, state.circuit) == (80, 40, "closed")
    assert state.throttled_at is not None
    assert state.paused_until is not None
    assert 118 < (state.paused_until - state.throttled_at).total_seconds() < 122
    assert (state.open_since, state.next_probe_at, state.failures_in_row) == (None, None, 0)
    with fleet.engine.connect() as connection:
        rows = connection.execute(text("SELECT r::text FROM asleep.rate_limits AS r")).scalars().all()
    assert not [row for row in rows if fleet.api_key in row]
