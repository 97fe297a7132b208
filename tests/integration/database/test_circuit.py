"""The circuit breaker that all processes share: when it opens, and that one probe at a time closes it."""

import time

import pytest
from rate_limit_fleet import Fleet, turn_of

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome

STALE_SECONDS = 0.3
"""News of an open circuit reach every process within this."""


def refused(gate, patience_seconds: float = 0.3) -> str:
    """Why there is no turn."""
    with pytest.raises(Unavailable) as refusal:
        turn_of(gate, patience_seconds)
    return str(refusal.value)


def test_five_failures_in_a_row_open_the_circuit_for_all(fleet: Fleet):
    """While the service is down nobody should add to its load, nor wait for time-outs one by one."""
    gate, other = fleet.gate(), fleet.gate()
    turn_of(other)
    for _ in range(4):
        gate.leave(turn_of(gate), Outcome.BROKEN)
    assert fleet.state().circuit == "closed"
    gate.leave(turn_of(gate), Outcome.BROKEN)

    state = fleet.state()
    assert state.circuit == "open"
    assert state.next_probe_at is not None
    message = refused(other)
    assert "the circuit to the Asleep API is open since" in message
    assert "5 failures in a row" in message
    assert "next probe" in message


def test_an_answer_between_failures_starts_the_count_again(fleet: Fleet):
    """Single failures are the retries' business."""
    gate = fleet.gate()
    for outcome in [Outcome.BROKEN] * 4 + [Outcome.ANSWERED] + [Outcome.BROKEN] * 4:
        gate.leave(turn_of(gate), outcome)

    assert fleet.state().circuit == "closed"
    assert fleet.state().failures_in_row == 4


def test_a_service_that_fails_half_of_the_time_opens_the_circuit(fleet: Fleet):
    """Counting only failures in a row would never notice."""
    gate = fleet.gate()
    for _ in range(30):
        gate.leave(turn_of(gate), Outcome.ANSWERED)
        gate.leave(turn_of(gate), Outcome.BROKEN)
        if fleet.state().circuit == "open":
            break

    assert fleet.state().circuit == "open"
    assert fleet.state().failures_in_row < 5


def test_a_few_failures_among_many_answers_do_not(fleet: Fleet):
    """One in four fails: slow, but retries get through."""
    gate = fleet.gate(rate=400)
    for _ in range(25):
        for outcome in (Outcome.ANSWERED, Outcome.ANSWERED, Outcome.ANSWERED, Outcome.BROKEN):
            gate.leave(turn_of(gate), outcome)

    assert fleet.state().circuit == "closed"


def test_throttling_is_no_failure(fleet: Fleet):
    """A service that throttles is alive."""
    gate = fleet.gate(pause_seconds=0.01)
    for outcome in [Outcome.BROKEN] * 4 + [Outcome.THROTTLED] + [Outcome.BROKEN] * 4:
        gate.leave(turn_of(gate), outcome)

    assert fleet.state().circuit == "closed"


def test_exactly_one_of_64_waiting_threads_probes(fleet: Fleet):
    """A service that has just come back must not meet the whole fleet at once."""
    fleet.break_circuit(fleet.gate())
    members = [fleet.process(threads=32, seconds=4.0, hold=True) for _ in range(2)]
    for member in members:
        member.go()
    lines = [line for member in members for line in (member.line() for _ in range(32))]

    turns = [line for line in lines if "granted_at" in line]
    assert [turn["is_probe"] for turn in turns] == [True]
    assert len([line for line in lines if "the circuit to the Asleep API is open" in line.get("refused", "")]) == 63


def test_a_good_probe_closes_the_circuit_for_those_who_wait(fleet: Fleet):
    """Nobody has to be restarted or to give up first."""
    gate = fleet.gate()
    fleet.break_circuit(gate)
    probe = turn_of(gate)
    assert probe.is_probe
    member = fleet.process(threads=8, seconds=30.0, hold=True)
    member.go()
    gate.leave(probe, Outcome.ANSWERED)

    turns = [member.line() for _ in range(8)]
    assert [turn["is_probe"] for turn in turns] == [False] * 8
    state = fleet.state()
    assert (state.circuit, state.open_since, state.failures_in_row) == ("closed", None, 0)


def test_a_failed_probe_opens_the_circuit_again_for_twice_as_long(fleet: Fleet):
    """A long outage should cost few requests, but its end be noticed within half a minute."""
    gate = fleet.gate()
    fleet.break_circuit(gate)
    opened = fleet.state().open_since
    pauses = []
    for _ in range(7):
        fleet.let_pass(40)
        gate.leave(turn_of(gate), Outcome.BROKEN)
        state = fleet.state()
        assert state.circuit == "open"
        assert state.next_probe_at is not None
        assert state.last_failure_at is not None
        pauses.append((state.next_probe_at - state.last_failure_at).total_seconds())

    assert pauses == pytest.approx([2, 4, 8, 16, 30, 30, 30])
    assert opened is not None
    assert state.open_since is not None


def test_a_throttled_probe_closes_the_circuit_and_slows_down(fleet: Fleet):
    """It was answered, after all."""
    gate = fleet.gate(rate=100)
    fleet.break_circuit(gate)
    gate.leave(turn_of(gate), Outcome.THROTTLED)

    assert fleet.state().circuit == "closed"
    assert fleet.state().rate_in_force == 50


def test_a_killed_probe_is_replaced_when_its_lease_ends(fleet: Fleet):
    """Else one `kill -9` at the wrong moment would stop the fleet for good."""
    fleet.break_circuit(fleet.gate())
    member = fleet.process(threads=1, seconds=30.0, hold=True)
    member.go()
    assert member.line()["is_probe"]
    member.kill()
    gate = fleet.gate()
    assert "a probe is under way" in refused(gate)

    fleet.let_pass(61)
    assert turn_of(gate).is_probe


def test_the_answer_of_a_probe_that_was_replaced_decides_nothing(fleet: Fleet):
    """The later probe knows better."""
    gate, other = fleet.gate(), fleet.gate()
    fleet.break_circuit(gate)
    lost = turn_of(gate)
    fleet.let_pass(61)
    assert turn_of(other).is_probe
    gate.leave(lost, Outcome.ANSWERED)

    assert fleet.state().circuit == "half_open"


def test_failures_of_requests_from_before_do_not_open_the_circuit_again(fleet: Fleet):
    """Time-outs of the outage still come in when the service is back."""
    gate = fleet.gate()
    old = [turn_of(gate) for _ in range(6)]
    fleet.break_circuit(gate)
    gate.leave(turn_of(gate), Outcome.ANSWERED)
    for turn in old:
        gate.leave(turn, Outcome.BROKEN)

    assert fleet.state().circuit == "closed"


def test_slots_given_before_the_circuit_opened_are_void(fleet: Fleet):
    """A process that holds slots must not send into the outage."""
    slow = fleet.process(rate=1, threads=40, seconds=6.0, hold=True)
    slow.go()
    slow.line()
    gate = fleet.gate(rate=1, failures_to_open=1, shortest_open_seconds=30)
    gate.leave(turn_of(gate), Outcome.BROKEN)
    state = fleet.state()
    assert state.open_since is not None

    turns = [line["granted_at"] for line in (slow.line() for _ in range(39)) if "granted_at" in line]
    known_at = state.open_since.timestamp() + STALE_SECONDS
    assert [moment for moment in turns if moment > known_at] == []


def test_an_open_circuit_beyond_our_patience_is_said_at_once(fleet: Fleet):
    """The run can record the failure and do something else."""
    gate = fleet.gate(shortest_open_seconds=200)
    fleet.break_circuit(gate)
    asked_at = time.monotonic()
    refused(gate, patience_seconds=100)

    assert time.monotonic() - asked_at < 50
