"""One limit for all processes: ours against pyrate-limiter, at a strict server.

    uv sync --group bench && python benchmarks/rate_limit.py      # --quick; --database-url: another server than its own

Each cell: 1 to 8 processes with 8 threads each ask a server that counts every arrival over a sliding second. Printed
as a markdown table: how much of the permitted rate was used once under way; the highest count in any second, wherever
it starts; the slack, by which the closest limit + 1 arrivals missed being within one second; throttled answers
provoked; fairness among processes (Jain's index, 1 is perfect); processor time of the clients a request, sending
included; database transactions a request; the longest time without any request. Rows with `kill -9` lose one process
half-way. About six minutes; one with `--quick`.
"""

import argparse
import http.client
import json
import math
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Self

from sqlalchemy import MetaData, create_engine, text

sys.path.insert(0, str(Path(__file__).parents[1]))
from surroundings import postgres

from resources.database.engine import database_url, make_engine
from resources.rate_limit.limiter import PostgresRateLimiter
from resources.rate_limit.protocol import Outcome, PermitUnavailable
from resources.rate_limit.table import create_functions, rate_limits_table

THREADS = 8


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    limiter: str
    rate: int
    processes: int
    seconds: float
    killed: bool = False


@dataclass(frozen=True)
class Job:
    """What one worker process does for one cell."""

    cell: Cell
    number: int
    port: int
    url: str
    scratch: str


Request = Callable[[Callable[[], None]], bool]
"""Send, call back once that is done, and tell whether the answer was good."""
InTurn = Callable[[Request, float], None]
"""Send a request when its turn comes, or give up at the moment given."""


def in_turn_with_ours(job: Job, stack: ExitStack) -> InTurn:
    """Our limiter, as the transport uses it."""
    engine = make_engine(job.url, application_name="benchmark")
    limiter = stack.enter_context(PostgresRateLimiter(engine, api_key="benchmark", requests_per_second=job.cell.rate))

    def in_turn(request: Request, give_up_at: float) -> None:
        permit = limiter.acquire(give_up_at=give_up_at)
        limiter.report(permit, Outcome.ANSWERED if request(lambda: limiter.sent(permit)) else Outcome.THROTTLED)

    return in_turn


def in_turn_with_pyrate(job: Job, stack: ExitStack) -> InTurn:
    """pyrate-limiter with one of its buckets, at the exact limit, blocking."""
    from pyrate_limiter import InMemoryBucket, Limiter, PostgresBucket, Rate, SQLiteBucket

    rates = [Rate(job.cell.rate, 1000)]
    if job.cell.limiter == "pyrate memory":
        bucket: Any = InMemoryBucket(rates)
    elif job.cell.limiter == "pyrate postgres":
        pool = stack.enter_context(Pool(job.url))
        bucket = PostgresBucket(pool, f"benchmark_{job.cell.rate}_{job.cell.processes}", rates)
    else:
        path = f"{job.scratch}/{job.cell.rate}-{job.cell.processes}.sqlite"
        bucket = SQLiteBucket.init_from_file(rates, db_path=path, use_file_lock=True)
    limiter = stack.enter_context(Limiter(bucket))

    def in_turn(request: Request, give_up_at: float) -> None:
        remaining = give_up_at - time.monotonic()
        if remaining > 0 and limiter.try_acquire("benchmark", timeout=remaining):
            request(lambda: None)

    return in_turn


class Pool:
    """The least that pyrate-limiter's Postgres bucket needs of a pool: a psycopg connection for each thread."""

    def __init__(self, url: str) -> None:
        import psycopg

        connections = [psycopg.connect(url.replace("+psycopg2", "")) for _ in range(THREADS + 1)]
        self._idle: SimpleQueue[Any] = SimpleQueue()
        for connection in connections:
            self._idle.put(connection)

    @contextmanager
    def connection(self) -> Iterator[Any]:
        """A connection in a transaction of its own."""
        connection = self._idle.get()
        try:
            with connection.transaction():
                yield connection
        finally:
            self._idle.put(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        while not self._idle.empty():
            self._idle.get().close()


LIMITERS = {
    "ours": in_turn_with_ours,
    "pyrate postgres": in_turn_with_pyrate,
    "pyrate sqlite": in_turn_with_pyrate,
    "pyrate memory": in_turn_with_pyrate,
}
IN_POSTGRES = {"ours", "pyrate postgres"}


def worker(orders: Connection) -> None:
    """One process of the fleet: does jobs until told to stop."""
    orders.send(None)
    while (job := orders.recv()) is not None:
        with ExitStack() as stack:
            in_turn = LIMITERS[job.cell.limiter](job, stack)
            in_turn(lambda _: True, time.monotonic() + 60)
            orders.send(None)
            start_at = orders.recv()
            callers = [threading.Thread(target=call, args=(job, n, in_turn, start_at)) for n in range(THREADS)]
            for caller in callers:
                caller.start()
            time.sleep(max(0.0, start_at - time.monotonic()))
            used = time.process_time()
            for caller in callers:
                caller.join()
            used_seconds = time.process_time() - used
        orders.send(used_seconds)


def call(job: Job, number: int, in_turn: InTurn, start_at: float) -> None:
    """One thread: requests, one after the other, as fast as it is let."""
    with socket.create_connection(("127.0.0.1", job.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = f"GET /{job.number}.{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

        def request(sent: Callable[[], None]) -> bool:
            connection.sendall(message)
            sent()
            return connection.recv(4096).startswith(b"HTTP/1.1 200")

        time.sleep(max(0.0, start_at - time.monotonic()))
        while time.monotonic() < start_at + job.cell.seconds:
            try:
                in_turn(request, start_at + job.cell.seconds)
            except PermitUnavailable:
                return


class Fleet:
    """Worker processes, kept from cell to cell: starting one takes longer than many a cell."""

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._members: list[tuple[BaseProcess, Connection]] = []

    def ready(self, cell: Cell, *, port: int, url: str, scratch: str) -> None:
        """Have as many members as the cell needs, connected and warm."""
        started = len(self._members)
        while len(self._members) < cell.processes:
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=worker, args=(theirs,), daemon=True)
            process.start()
            self._members.append((process, ours))
            theirs.close()
        for _, orders in self._members[started:]:
            orders.recv()
        for number, (_, orders) in enumerate(self._members[: cell.processes]):
            orders.send(Job(cell, number, port, url, scratch))
        for _, orders in self._members[: cell.processes]:
            orders.recv()

    def run(self, cell: Cell) -> float:
        """Do one cell; processor seconds used by the members that lived."""
        members = self._members[: cell.processes]
        start_at = time.monotonic() + 0.3
        for _, orders in members:
            orders.send(start_at)
        if cell.killed:
            time.sleep(start_at + cell.seconds / 2 - time.monotonic())
            process, _ = members.pop()
            os.kill(process.pid or 0, signal.SIGKILL)
            self._members = [member for member in self._members if member[0] is not process]
        return float(sum(orders.recv() for _, orders in members))

    def stop(self) -> None:
        """Let all go."""
        for process, orders in self._members:
            orders.send(None)
            process.join()


def measure(cell: Cell, fleet: Fleet, *, port: int, url: str, scratch: str) -> dict[str, str]:
    """One row of the table."""
    engine = create_engine(database_url(url))
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.rate_limits"))
    ask(port, f"/-/reset/{cell.rate}")
    fleet.ready(cell, port=port, url=url, scratch=scratch)
    before = transactions(engine) if cell.limiter in IN_POSTGRES else 0
    used_seconds = fleet.run(cell)
    spent = transactions(engine) - before if cell.limiter in IN_POSTGRES else 0
    log = ask(port, "/-/log")
    engine.dispose()
    return row_of(cell, log, used_seconds, spent)


def row_of(cell: Cell, log: list[tuple[float, str, bool]], used_seconds: float, spent: int) -> dict[str, str]:
    """Figures from the server's log."""
    times = [arrival[0] for arrival in log]
    by_process = Counter(int(caller.split(".")[0]) for _, caller, _ in log)
    counts = [by_process[number] for number in range(cell.processes - cell.killed)]
    jain = sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts))
    spans = [after - before for before, after in zip(times, times[cell.rate :], strict=False)] or [math.inf]
    return {
        "limiter": cell.limiter + (", one `kill -9`" if cell.killed else ""),
        "limit /s": f"{cell.rate}",
        "processes": f"{cell.processes}",
        "used %": f"{use(times, cell.seconds) / cell.rate * 100:.1f}",
        "highest second": f"{highest_second(times)}" + (" **over**" if highest_second(times) > cell.rate else ""),
        "slack ms": f"{(min(spans) - 1) * 1000:.1f}",
        "throttled": f"{sum(1 for arrival in log if arrival[2])}",
        "fairness": f"{jain:.3f}",
        "CPU µs": f"{used_seconds / len(times) * 1e6:.0f}",
        "transactions": f"{spent / len(times):.2f}",
        "longest gap ms": f"{max(after - before for before, after in pairwise(times)) * 1000:.0f}",
    }


def use(times: list[float], seconds: float) -> float:
    """Requests a second once under way: the mean over all windows of one length that begin in the second second.

    One window alone would be off by up to one request, which is two in a hundred at 10/s, or by one whole burst.
    """
    length = seconds - 2.2
    begins = (times[0] + 1, times[0] + 2)
    return sum(max(0.0, min(begins[1], moment) - max(begins[0], moment - length)) for moment in times) / length


def highest_second(times: list[float]) -> int:
    """The highest count in any window of one second, wherever it starts."""
    highest = start = 0
    for end, moment in enumerate(times):
        while moment - times[start] >= 1:
            start += 1
        highest = max(highest, end - start + 1)
    return highest


def ask(port: int, path: str) -> Any:
    """Talk to the server's own paths."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", path)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def transactions(engine: Any) -> int:
    """Committed and rolled back so far in the database; flushed by each backend about once a second."""
    time.sleep(1.1)
    with engine.connect() as connection:
        return int(
            connection.scalar(
                text("SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()")
            )
        )


def cells(*, quick: bool) -> Iterator[Cell]:
    """The whole plan."""
    rates, fleets = ((50, 1000), (2, 8)) if quick else ((10, 50, 200, 1000), (1, 2, 4, 8))
    for limiter in LIMITERS:
        seconds = 5.0 if limiter == "ours" and not quick else 2.8
        for rate in rates:
            yield from (Cell(limiter, rate, processes, seconds) for processes in fleets)
    yield from (Cell("ours", rate, fleets[-1], 4.0, killed=True) for rate in rates)


@contextmanager
def strict_server() -> Iterator[int]:
    """The server in a process of its own; its port."""
    command = [sys.executable, str(Path(__file__).with_name("strict_server.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None or not (line := process.stdout.readline()):
            raise RuntimeError("the server did not start")
        yield int(line)
        process.communicate("")


def main() -> None:
    """Run all cells, print a row as soon as it is known."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    arguments.add_argument("--database-url", help="a scratch database; without it, an embedded server is started")
    arguments.add_argument("--quick", action="store_true", help="a few cells only")
    arguments.add_argument("--only", choices=sorted(LIMITERS), help="one limiter")
    arguments.add_argument("--rate", type=int, help="one rate")
    arguments.add_argument("--processes", type=int, help="one number of processes")
    options = arguments.parse_args()
    with ExitStack() as stack:
        url = database_url(options.database_url or stack.enter_context(postgres()).url)
        run(options, url.render_as_string(hide_password=False))


def run(options: argparse.Namespace, url: str) -> None:
    """The cells asked for."""
    engine = create_engine(url)
    metadata = MetaData(schema="asleep")
    rate_limits_table(metadata)
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA IF NOT EXISTS asleep"))
        metadata.create_all(connection)
        create_functions(connection)
    engine.dispose()
    fleet = Fleet()
    header = False
    with strict_server() as port, tempfile.TemporaryDirectory() as scratch:
        for cell in cells(quick=options.quick):
            wrong = (
                (options.only and cell.limiter != options.only)
                or (options.rate and cell.rate != options.rate)
                or (options.processes and cell.processes != options.processes)
            )
            if wrong:
                continue
            row = measure(cell, fleet, port=port, url=url, scratch=scratch)
            if not header:
                print("| " + " | ".join(row) + " |\n|" + "---|" * len(row), flush=True)
                header = True
            print("| " + " | ".join(row.values()) + " |", flush=True)
        fleet.stop()


if __name__ == "__main__":
    main()
