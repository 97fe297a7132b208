"""The API is away for a while, or everybody is throttled: the fleet waits together, probes one at a time, recovers."""

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from resources.asleep.transport import RetryPolicy

PATIENT = RetryPolicy(total_seconds=120, first_pause_seconds=0.05)


def _log(world):
    return world.api.ask("log?since=0")


@pytest.fixture
def full(world):
    for _ in range(4):
        world.add_user(nights=8)
    return world


@pytest.mark.parametrize(
    "seconds", [4, pytest.param(60, marks=[pytest.mark.long, pytest.mark.timeout(600)])], ids=["short", "a minute"]
)
@pytest.mark.parametrize("kind", ["outage", "status_503"])
def test_an_outage_is_waited_out_by_one_probe_at_a_time(full, kind, seconds):
    """A service that comes back must not be met by a herd; and nothing may be missing afterwards."""
    full.faults({"kind": kind, "after": 12, "seconds": seconds})
    counts = full.sync(workers=8, retry_policy=PATIENT, rate=1000)

    assert counts["failures"] == 0
    assert full.missing_data() == []
    assert full.wrong() == []
    broken = [entry for entry in _log(full) if entry["status"] in (0, 503)]
    herd = 8 + 8  # what was under way when the circuit opened, and as much on its way from other threads
    probes = 2 + seconds  # a second apart at first, then twice as long each time
    assert 5 <= len(broken) <= herd + probes
    after_herd = broken[herd:]
    assert all(later["at"] - earlier["at"] > 0.5 for earlier, later in pairwise(after_herd))


def test_two_processes_share_one_circuit(full):
    """Fleet-wide: what one learnt the hard way, the other one must not learn again."""
    full.faults({"kind": "outage", "after": 12, "seconds": 4})
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(full.sync, workers=4, retry_policy=PATIENT, rate=1000) for _ in range(2)]
        counts = [run.result() for run in runs]

    assert [count["failures"] for count in counts] == [0, 0]
    assert full.wrong() == []
    broken = [entry for entry in _log(full) if entry["status"] == 0]
    assert len(broken) <= 2 * 8 + 6


def test_a_long_outage_is_missing_data_for_each_user_and_is_repaired_later(full):
    """Given up in time, said so, and the next run starts with them."""
    full.faults({"kind": "outage"})
    counts = full.sync(retry_policy=RetryPolicy(total_seconds=3, first_pause_seconds=0.01))

    assert counts["users_failed"] == 4
    assert {hole.kind for hole in full.missing_data()} == {"unavailable"}
    full.faults()
    full.sync(retry_policy=PATIENT)
    assert full.missing_data() == []
    assert full.wrong() == []


@pytest.mark.parametrize("storm", [{"status": 403}, {"status": 429, "retry_after": "2"}], ids=["by text", "429"])
def test_a_throttling_storm_slows_all_requests_down_and_fails_nothing(full, storm):
    """Throttling is no failure: the sync goes on, slower; no session is given up for it."""
    full.faults({"kind": "throttle_storm", "after": 10, "seconds": 2, **storm})
    counts = full.sync(workers=8, retry_policy=PATIENT, rate=200)

    assert counts["failures"] == 0
    assert full.wrong() == []
    assert 1 <= counts["answers_throttled"] <= 8 + 4, "nobody may go on hammering"
    [limit] = full.rows("SELECT throttle_factor FROM asleep.rate_limits")
    assert limit.throttle_factor < 1


def test_what_was_received_is_stored_while_another_request_hangs(world):
    """A process killed while one response does not come must not lose all the others."""
    world.add_user(nights=5)
    stored = []

    def hang(attempt):
        if attempt.endpoint != "read_session" or stored:
            return
        stored.append(0)
        deadline = time.monotonic() + 30
        while stored[0] < 4 and time.monotonic() < deadline:
            stored[0] = len(world.rows("SELECT FROM asleep.sleep_sessions"))
            time.sleep(0.05)

    world.sync(listeners=(hang,))

    assert stored == [4]
    assert world.wrong() == []
