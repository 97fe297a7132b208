"""A process of the fleet, for the tests of the rate limit: started, watched and killed by them.

Its order is one JSON argument. Each permit is a line on standard output: when by the database's clock, probe or not; a
refusal is a line too. With `hold` threads keep their permit and never report, until the process is killed or its input
ends.
"""

import json
import sys
import threading
import time

ORDER = json.loads(sys.argv[1])
if ORDER.get("skew_seconds"):
    true_time = time.time
    time.time = lambda: true_time() + ORDER["skew_seconds"]

from resources.database.engine import make_engine  # noqa: E402 the wall clock is bent first
from resources.rate_limit.limiter import (  # noqa: E402
    Outcome,
    PermitUnavailable,
    PostgresRateLimiter,
)

WRITING = threading.Lock()


def write(**line: object) -> None:
    """Write one line, whole."""
    with WRITING:
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


def take_permits(limiter: PostgresRateLimiter, end: float) -> None:
    """What one thread does: as the transport does it, with a request that takes no time."""
    try:
        while time.monotonic() < end:
            permit = limiter.acquire(give_up_at=end)
            sent_at = time.monotonic() - limiter._row.clock.offset  # noqa: SLF001 the server's clock, for the test
            limiter.sent(permit)
            write(sent_at=sent_at, granted_at=permit.granted_at.timestamp(), is_probe=permit.is_probe)
            if ORDER.get("hold"):
                return
            limiter.report(permit, Outcome.ANSWERED)
    except PermitUnavailable as refusal:
        write(refused=str(refusal))


def main() -> None:
    """Threads take permits; with `hold`, stay until the input ends."""
    limiter = PostgresRateLimiter(
        make_engine(ORDER["url"], application_name="worker"),
        api_key=ORDER["api_key"],
        requests_per_second=ORDER["rate"],
    )
    write(ready=True)
    sys.stdin.readline()
    end = time.monotonic() + ORDER["seconds"]
    threads = [threading.Thread(target=take_permits, args=(limiter, end), daemon=True) for _ in range(ORDER["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if ORDER.get("hold"):
        sys.stdin.read()
    limiter.close()


main()
