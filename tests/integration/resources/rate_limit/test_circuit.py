"""The circuit breaker that all processes share: when it opens, and that one probe at a time closes it."""

import time
from itertools import pairwise

import pytest
from rate_limit_fleet import Fleet, permit_of

from resources.rate_limit.limiter import Outcome, PermitUnavailable

REACHES_ALL_SECONDS = 0.55
"""An open circuit reaches every process within this: no slot is reserved further ahead."""


def refused(limiter, timeout_seconds: float = 0.3) -> str:
    """Why there is no permit."""
    with pytest.raises(PermitUnavailable) as refusal:
        permit_of(limiter, timeout_seconds)
    return str(refusal.value)


def report(fleet: Fleet, limiter, *outcomes: Outcome) -> None:
    """One attempt after the other, until the circuit opens."""
    for outcome in outcomes:
        if fleet.state()["circuit"] == "closed":
            limiter.report(permit_of(limiter), outcome)


def test_five_failures_open_the_circuit_for_all(fleet: Fleet):
    """While the service is down no process should add to its load, nor wait for time-outs one by one."""
    limiter, other = fleet.limiter(rate=4), fleet.limiter(rate=4)
    for _ in range(4):
        limiter.report(permit_of(limiter), Outcome.BROKEN)
    assert fleet.state()["circuit"] == "closed"
    limiter.report(permit_of(limiter), Outcome.BROKEN)

    state = fleet.state()
    assert state["circuit"] == "open"
    assert state["next_probe_at"] is not None
    message = refused(other)
    assert "circuit breaker open since" in message
    assert "next permit at" in message


def test_single_failures_among_responses_do_not_open_it(fleet: Fleet):
    """One in four fails: slow, but retries get through."""
    limiter = fleet.limiter(rate=400)
    permit_of(limiter)
    report(fleet, limiter, *[Outcome.ANSWERED, Outcome.ANSWERED, Outcome.ANSWERED, Outcome.BROKEN] * 25)

    assert fleet.state()["circuit"] == "closed"
    assert fleet.state()["recent_failures"] <= 2


def test_a_service_that_fails_half_of_the_time_opens_it(fleet: Fleet):
    """Counting only failures in a row would never notice."""
    limiter = fleet.limiter()
    permit_of(limiter)
    report(fleet, limiter, *[Outcome.ANSWERED, Outcome.BROKEN] * 30)

    assert fleet.state()["circuit"] == "open"


def test_throttling_is_no_failure(fleet: Fleet):
    """A service that throttles is alive."""
    limiter = fleet.limiter(pause_seconds=0.01)
    for outcome in [Outcome.BROKEN] * 4 + [Outcome.THROTTLED] * 4:
        limiter.report(permit_of(limiter), outcome)

    assert fleet.state()["circuit"] == "closed"
    assert fleet.state()["recent_failures"] == 4


def test_exactly_one_of_64_waiting_threads_probes(fleet: Fleet):
    """A service that has just come back must not meet all processes at once."""
    fleet.break_circuit(fleet.limiter())
    members = [fleet.process(threads=32, seconds=4.0, hold=True) for _ in range(2)]
    for member in members:
        member.go()
    lines = [line for member in members for line in (member.line() for _ in range(32))]

    permits = [line for line in lines if "sent_at" in line]
    assert [permit["is_probe"] for permit in permits] == [True]
    assert len([line for line in lines if "circuit breaker open since" in line.get("refused", "")]) == 63


def test_a_good_probe_closes_the_circuit_for_those_who_wait(fleet: Fleet):
    """No thread has to be restarted or to give up first."""
    limiter = fleet.limiter()
    fleet.break_circuit(limiter)
    probe = permit_of(limiter)
    assert probe.is_probe
    member = fleet.process(threads=8, seconds=30.0, hold=True)
    member.go()
    limiter.report(probe, Outcome.ANSWERED)

    permits = [member.line() for _ in range(8)]
    assert [permit["is_probe"] for permit in permits] == [False] * 8
    state = fleet.state()
    assert (state["circuit"], state["open_since"], state["recent_failures"]) == ("closed", None, 0)


def test_failed_probes_double_the_time_up_to_half_a_minute(fleet: Fleet):
    """A long outage should cost few requests, but its end be noticed within half a minute."""
    fleet.break_circuit(fleet.limiter())
    pauses = []
    for _ in range(7):
        limiter = fleet.limiter()
        wait_seconds = (fleet.state()["next_probe_at"] - fleet.state()["last_failure_at"]).total_seconds()
        fleet.let_pass(wait_seconds)
        limiter.report(permit_of(limiter), Outcome.BROKEN)
        state = fleet.state()
        assert state["circuit"] == "open"
        pauses.append((state["next_probe_at"] - state["last_failure_at"]).total_seconds())

    assert all(after > 1.9 * before for before, after in pairwise(pauses) if after < 30)
    assert pauses[0] == pytest.approx(1, abs=0.9)
    assert pauses[-1] == pytest.approx(30)


def test_a_throttled_probe_closes_the_circuit_and_slows_down(fleet: Fleet):
    """It was answered, after all."""
    limiter = fleet.limiter(rate=100)
    fleet.break_circuit(limiter)
    limiter.report(permit_of(limiter), Outcome.THROTTLED)

    assert fleet.state()["circuit"] == "closed"
    assert fleet.state()["rate_in_force"] == 50


def test_a_killed_probe_is_replaced_when_its_lease_ends(fleet: Fleet):
    """Else one `kill -9` at the wrong moment would stop all processes for good."""
    fleet.break_circuit(fleet.limiter())
    member = fleet.process(threads=1, seconds=30.0, hold=True)
    member.go()
    assert member.line()["is_probe"]
    member.kill()
    limiter = fleet.limiter()
    assert "circuit breaker open since" in refused(limiter)

    fleet.let_pass(61)
    assert permit_of(limiter).is_probe


def test_the_result_of_a_probe_that_was_replaced_decides_nothing(fleet: Fleet):
    """The later probe knows better."""
    limiter, other = fleet.limiter(), fleet.limiter()
    fleet.break_circuit(limiter)
    lost = permit_of(limiter)
    fleet.let_pass(61)
    assert permit_of(other).is_probe
    limiter.report(lost, Outcome.ANSWERED)

    assert fleet.state()["circuit"] == "half_open"


def test_failures_of_requests_from_before_do_not_open_the_circuit_again(fleet: Fleet):
    """Time-outs of the outage still come in when the service is back."""
    limiter = fleet.limiter()
    old = [permit_of(limiter) for _ in range(6)]
    fleet.break_circuit(limiter)
    limiter.report(permit_of(limiter), Outcome.ANSWERED)
    for permit in old:
        limiter.report(permit, Outcome.BROKEN)

    assert fleet.state()["circuit"] == "closed"


def test_an_open_circuit_reaches_processes_that_hold_slots(fleet: Fleet):
    """A process must not send into the outage for long."""
    slow = fleet.process(rate=4, threads=40, seconds=4.0, hold=True)
    slow.go()
    slow.line()
    limiter = fleet.limiter(rate=4, failures_to_open=1, min_open_seconds=30)
    limiter.report(permit_of(limiter), Outcome.BROKEN)
    open_since = fleet.state()["open_since"].timestamp()

    moments = [line["granted_at"] for line in (slow.line() for _ in range(39)) if "granted_at" in line]
    assert [moment for moment in moments if moment > open_since + REACHES_ALL_SECONDS] == []


def test_an_open_circuit_that_lasts_too_long_refuses_at_once(fleet: Fleet):
    """The run can record the failure and do something else."""
    limiter = fleet.limiter(min_open_seconds=200)
    fleet.break_circuit(limiter)
    asked_at = time.monotonic()
    refused(limiter, timeout_seconds=100)

    assert time.monotonic() - asked_at < 50
