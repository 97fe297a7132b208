"""A process of the fleet, for the tests of the rate limit: started, watched and killed by them.

Its order is one JSON argument. Each turn is a line on standard output: when, by whose clock, probe or not; a refusal
is a line too. `hold`: threads keep their turn and never report, until the process is killed or its input ends.
"""

import json
import sys
import threading
import time

ORDER = json.loads(sys.argv[1])
if ORDER.get("skew_seconds"):
    true_time = time.time
    time.time = lambda: true_time() + ORDER["skew_seconds"]

from resources.asleep.errors import Unavailable  # noqa: E402 the wall clock is bent first
from resources.asleep.gate import Outcome  # noqa: E402
from resources.database.engine import make_engine  # noqa: E402
from resources.database.rate_limit import PostgresGate  # noqa: E402
from resources.database.rate_limit_row import Tuning  # noqa: E402

WRITING = threading.Lock()


def say(**line: object) -> None:
    """One line, whole."""
    with WRITING:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def take_turns(gate: PostgresGate, end: float) -> None:
    """What one thread does."""
    try:
        while time.monotonic() < end:
            turn = gate.enter(give_up_at=end)
            say(granted_at=turn.granted_at.timestamp(), is_probe=turn.is_probe)
            if ORDER.get("hold"):
                return
            gate.leave(turn, Outcome.ANSWERED)
    except Unavailable as refusal:
        say(refused=str(refusal))


def main() -> None:
    """Threads take turns; stay until the input ends when told to hold."""
    gate = PostgresGate(
        make_engine(ORDER["url"], application_name="worker"),
        api_key=ORDER["api_key"],
        requests_per_second=ORDER["rate"],
        tuning=Tuning(**ORDER.get("tuning", {})),
    )
    say(ready=True)
    sys.stdin.readline()
    end = time.monotonic() + ORDER["seconds"]
    threads = [threading.Thread(target=take_turns, args=(gate, end), daemon=True) for _ in range(ORDER["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if ORDER.get("hold"):
        sys.stdin.read()
    gate.close()


main()
