"""The rate limit that all processes share, on a real Postgres and with real processes.

Moments are those of the database's clock as the turns carry them, so nothing here depends on how busy the machine is.
"""

import time

import pytest
from rate_limit_fleet import Fleet, turn_of
from sqlalchemy import text

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome
from resources.database.rate_limit_row import Asked, FleetRow, Tuning, key_id_of

STALE_SECONDS = 0.3
"""News of throttling or of an open circuit reach every process within this."""


def granted(lines):
    """When turns were granted, in order."""
    return sorted(line["granted_at"] for line in lines if "granted_at" in line)


def shortest_span(turns: list[float], limit: int) -> float:
    """Seconds from a turn to the one that would be the first too many in a window beginning with it."""
    return min(after - before for before, after in zip(turns, turns[limit:], strict=False))


def test_processes_together_never_get_more_than_the_limit(fleet: Fleet):
    """N processes must not become N times the rate, nor may two of them hold the same slot."""
    limit = 100
    members = [fleet.process(rate=limit, threads=8, seconds=3.0) for _ in range(3)]
    for member in members:
        member.go()
    turns = granted(line for member in members for line in member.rest())

    assert len(turns) > limit
    assert shortest_span(turns, limit) >= 1


def test_wall_clocks_of_the_processes_do_not_matter(fleet: Fleet):
    """Machines are never quite in step; only the database's clock counts."""
    members = [fleet.process(rate=50, threads=4, seconds=2.5, skew_seconds=skew) for skew in (0, 3600, -0.7)]
    for member in members:
        member.go()
    turns = [granted(member.rest()) for member in members]

    together = sorted(moment for one in turns for moment in one)
    assert min(len(one) for one in turns) > 0
    assert together[-1] - together[0] < 60
    assert shortest_span(together, 50) >= 1


def test_after_a_rest_there_is_no_burst(fleet: Fleet):
    """Seconds in which nobody asked must not be saved up: the API counts any second."""
    gate = fleet.gate(rate=3)
    turn_of(gate)
    fleet.let_pass(30)
    turns = [turn_of(gate).granted_at.timestamp() for _ in range(4)]

    assert turns[3] - turns[0] >= 1


def test_what_a_late_request_holds_back_is_known_to_all_until_it_is_over(fleet: Fleet):
    """Another process may hold the slot that must wait; and the row must not grow."""
    rows = [
        FleetRow(fleet.engine, key_id=key_id_of(fleet.api_key), requests_per_second=10, tuning=Tuning())
        for _ in range(2)
    ]
    now = rows[0].reserve(Asked(wanted=0), patience_seconds=9, answered=0).now
    rows[0].reserve(Asked(0, held_back={12: now + 60, 11: now - 1}), patience_seconds=9, answered=0)
    rows[1].reserve(Asked(0, held_back={13: now + 90}), patience_seconds=9, answered=0)

    assert rows[0].reserve(Asked(wanted=1), patience_seconds=9, answered=0).held_back == pytest.approx(
        {12: now + 60, 13: now + 90}
    )
    for row in rows:
        row.close()


def test_a_request_that_left_late_counts_from_when_it_left(fleet: Fleet):
    """The API counts what arrives in a second; when we were allowed to send is nothing to it."""
    gate = fleet.gate(rate=1)
    turn = turn_of(gate)
    time.sleep(0.3)
    left_at = turn.granted_at.timestamp() + 0.3
    gate.sent(turn)
    gate.leave(turn, Outcome.ANSWERED)

    assert turn_of(gate).granted_at.timestamp() - left_at >= 1


def test_slots_are_numbered_and_move_as_far_as_late_threads_ask(fleet: Fleet):
    """Places in the second are told by number; a fleet that is late all the time must slow down."""
    row = FleetRow(fleet.engine, key_id=key_id_of(fleet.api_key), requests_per_second=10, tuning=Tuning())
    first = row.reserve(Asked(wanted=2), patience_seconds=9, answered=0)
    second = row.reserve(Asked(wanted=1, push_seconds=0.5), patience_seconds=9, answered=0)
    row.close()

    assert second.first_number - first.first_number == 2
    assert second.first_slot - first.first_slot == pytest.approx(2 * first.spacing_seconds + 0.5, abs=1e-4)


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
