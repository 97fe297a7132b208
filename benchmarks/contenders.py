"""Contenders: each reads every session of every user from the API and stores it, in a process of its own.

    python benchmarks/contenders.py NAME --api URL --database URL --first DAY --last DAY

One pass. The first fetches everything; a second one finds nothing new and must not read a session again. Prints one
JSON line: seconds of wall and processor time of the work (imports are not counted, they show in the process's total),
and the peak of resident memory.

The other contenders are in `peers.py`; `engine.py` and `memory.py` start and compare them.
"""

import argparse
import json
import resource
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import date

from orders import KEY, Order, Work
from peers import floor, requests_and_copy, with_dlt

NO_LIMIT_PER_SECOND = 100_000.0
BATCH_USERS = 500


def engine(order: Order) -> Work:
    """`sync_batch` over everybody, as a step of the job calls it, rate limit and all."""
    return _engine(order, is_limited=True)


def engine_without_limit(order: Order) -> Work:
    """The same without the fleet's rate limit: what the limit itself costs."""
    return _engine(order, is_limited=False)


def _engine(order: Order, *, is_limited: bool) -> Work:
    from assets.sync.sync_batch import Batch, sync_batch
    from assets.sync.window import Window
    from resources.asleep.client import AsleepClient
    from resources.asleep.http.http_client import HttpClient
    from resources.asleep.resource import AsleepApi
    from resources.asleep.transport import Transport
    from resources.database.engine import make_engine
    from resources.database.sync.sync_state import SyncState
    from tests.unlimited import Unlimited

    database = make_engine(order.database_url, application_name="benchmark")
    api = AsleepApi(order.api_url, KEY, NO_LIMIT_PER_SECOND, order.connections, 30.0)

    @contextmanager
    def open_client() -> Iterator[AsleepClient]:
        with HttpClient(order.api_url, KEY, max_connections=order.connections) as http:
            yield AsleepClient(Transport(Unlimited(), http))

    def work() -> int:
        stored = 0
        with database.connect() as connection:
            batches = -(-SyncState(connection).count_users() // BATCH_USERS)
        for number in range(batches):
            batch = Batch("benchmark", Window.of_days(*order.days), order.connections, number, batches)
            with api.client(database) if is_limited else open_client() as client:
                stored += sync_batch(database, client, batch, dict)["sessions_inserted"]
        database.dispose()
        return stored

    return work


CONTENDERS: dict[str, Callable[[Order], Work]] = {
    "engine": engine,
    "engine-without-limit": engine_without_limit,
    "floor": floor,
    "requests": requests_and_copy,
    "dlt": with_dlt,
}


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """One pass of one contender."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name", choices=CONTENDERS)
    parser.add_argument("--api", required=True)
    parser.add_argument("--database", required=True)
    parser.add_argument("--first", type=date.fromisoformat, required=True)
    parser.add_argument("--last", type=date.fromisoformat, required=True)
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    order = Order(options.api, options.database, (options.first, options.last), options.connections)
    work = CONTENDERS[options.name](order)
    began, used = time.perf_counter(), _cpu_seconds()
    stored = work()
    print(
        json.dumps(
            {
                "stored": stored,
                "seconds": time.perf_counter() - began,
                "cpu_seconds": _cpu_seconds() - used,
                "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


if __name__ == "__main__":
    main()
