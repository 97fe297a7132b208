"""One rate limit for all processes, at a strict server: ours, also in bad conditions, and pyrate-limiter.

    uv sync --group bench && python benchmarks/rate_limit.py    # --quick: a few cells; --others: pyrate-limiter as well

Each cell: 1 to 8 processes with 8 threads each send to a server that counts every arrival over a sliding second.
Printed as markdown tables: how much of the permitted rate was used from the fourth second on; the highest count in any
second, wherever it starts; the slack, by which the closest limit + 1 arrivals missed being within one second; throttled
responses; fairness among processes (Jain's index, 1 is perfect); processor time of the clients per request, sending
included; database transactions per request; the longest time without a request; the load average. With `--repeat` each
cell runs several times: medians of use, worst of the rest. About seven minutes.
"""

import argparse
import http.client
import json
import math
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from queue import SimpleQueue
from statistics import median
from typing import Any, NamedTuple, Self

from sqlalchemy import MetaData, NullPool, create_engine, text

sys.path.insert(0, str(Path(__file__).parents[1]))
from surroundings import postgres

from resources.database.engine import database_url, make_engine
from resources.rate_limit.limiter import Outcome, PermitUnavailable, PostgresRateLimiter
from resources.rate_limit.table import create_functions, rate_limits_table

THREADS = 8
WARM_SECONDS = 3.0
"""After an idle time the first slots are loose and further apart; use is counted from then on."""
PAUSE_SECONDS = 0.02
"""Between two requests of a thread when the rate is not to bind."""
BUSY, LATE, KILLED, AWAY, NOT_BINDING = (
    "two busy loops beside", "10 % sent late", "one `kill -9`", "database away for 2 s", "rate does not bind",
)  # fmt: skip
BUSY_LOOP = (
    "import os; os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)); os.setpriority(os.PRIO_PROCESS, 0, 0)\n"
    "while True: pass"
)
"""At usual priority, whatever that of the benchmark is."""
CONDITIONS = (BUSY, LATE, KILLED, AWAY)


@dataclass(frozen=True)
class Cell:
    """One measurement."""

    limiter: str
    rate: int
    processes: int
    seconds: float
    condition: str = ""
    """One of `CONDITIONS`; else nothing is wrong."""


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
WAITS: list[float] = []
"""Seconds that each permit took, and below, processor seconds of the limiter for each request; of this process."""
COSTS: list[float] = []


def in_turn_with_ours(job: Job, stack: ExitStack) -> InTurn:
    """Our limiter, as the transport uses it."""
    engine = make_engine(job.url, application_name="benchmark")
    limiter = stack.enter_context(
        closing(PostgresRateLimiter(engine, api_key="benchmark", requests_per_second=job.cell.rate))
    )

    def in_turn(request: Request, give_up_at: float) -> None:
        began = time.thread_time()
        permit = limiter.acquire(give_up_at=give_up_at)
        cost = time.thread_time() - began

        def sent() -> None:
            nonlocal cost
            began = time.thread_time()
            limiter.sent(permit)
            cost += time.thread_time() - began

        is_good = request(sent)
        began = time.thread_time()
        limiter.report(permit, Outcome.ANSWERED if is_good else Outcome.THROTTLED)
        COSTS.append(cost + time.thread_time() - began)
        WAITS.append(permit.waited_seconds)

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


class Report(NamedTuple):
    """What one worker process measured."""

    used_seconds: float
    waits: list[float]
    costs: list[float]


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
            WAITS.clear()
            COSTS.clear()
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
        orders.send(Report(used_seconds, WAITS[1:], COSTS[1:]))


def call(job: Job, number: int, in_turn: InTurn, start_at: float) -> None:
    """One thread: requests, one after the other, as fast as it is let."""
    with socket.create_connection(("127.0.0.1", job.port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        message = f"GET /{job.number}.{number} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()

        chance = random.Random(f"{job.number}.{number}")

        def request(sent: Callable[[], None]) -> bool:
            if job.cell.condition == LATE and chance.random() < 0.1:
                time.sleep(chance.uniform(0.01, 0.3))
            connection.sendall(message)
            sent()
            return connection.recv(4096).startswith(b"HTTP/1.1 200")

        time.sleep(max(0.0, start_at - time.monotonic()))
        while time.monotonic() < start_at + job.cell.seconds:
            try:
                in_turn(request, start_at + job.cell.seconds)
            except PermitUnavailable:
                return
            if job.cell.condition == NOT_BINDING:
                time.sleep(PAUSE_SECONDS)


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

    def run(self, cell: Cell, disturb: Callable[[], AbstractContextManager[object]]) -> list[Report]:
        """Do one cell; what the members that lived measured."""
        members = self._members[: cell.processes]
        start_at = time.monotonic() + 0.3
        for _, orders in members:
            orders.send(start_at)
        with disturb():
            if cell.condition == KILLED:
                time.sleep(start_at + cell.seconds / 2 - time.monotonic())
                process, _ = members.pop()
                os.kill(process.pid or 0, signal.SIGKILL)
                self._members = [member for member in self._members if member[0] is not process]
            return [orders.recv() for _, orders in members]

    def stop(self) -> None:
        """Let all go."""
        for process, orders in self._members:
            orders.send(None)
            process.join()


@contextmanager
def disturbance(cell: Cell, url: str) -> Iterator[None]:
    """What is wrong during a cell."""
    with ExitStack() as stack:
        if cell.condition == BUSY:
            for _ in range(2):
                stack.callback(subprocess.Popen([sys.executable, "-c", BUSY_LOOP]).kill)
        if cell.condition == AWAY:
            timer = threading.Timer(cell.seconds / 2, take_database_away, (url, 2.0))
            timer.start()
            stack.callback(timer.join)
        yield


def take_database_away(url: str, seconds: float) -> None:
    """Refuse connections to the database for a while, and end those that it has."""
    target = database_url(url)
    engine = create_engine(target.set(database="template1"), isolation_level="AUTOCOMMIT", poolclass=NullPool)
    name = target.database
    with engine.connect() as connection:
        connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false'))
        connection.execute(
            text("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"), {"name": name}
        )
        time.sleep(seconds)
        connection.execute(text(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true'))


def measure(cell: Cell, fleet: Fleet, *, port: int, url: str, scratch: str) -> dict[str, Any]:
    """Figures of one run of a cell."""
    engine = create_engine(database_url(url), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.rate_limits"))
    ask(port, f"/-/reset/{cell.rate}")
    fleet.ready(cell, port=port, url=url, scratch=scratch)
    before = transactions(engine) if cell.limiter in IN_POSTGRES else 0
    reports = fleet.run(cell, lambda: disturbance(cell, url))
    spent = transactions(engine) - before if cell.limiter in IN_POSTGRES else 0
    return figures_of(cell, ask(port, "/-/log"), reports, spent)


def figures_of(cell: Cell, log: list[tuple[float, str, bool]], reports: list[Report], spent: int) -> dict[str, Any]:
    """Figures from the server's log and the workers' reports."""
    times = [arrival[0] for arrival in log]
    by_process = Counter(int(caller.split(".")[0]) for _, caller, _ in log)
    counts = [by_process[number] for number in range(cell.processes - (cell.condition == KILLED))]
    spans = [after - before for before, after in zip(times, times[cell.rate :], strict=False)] or [math.inf]
    waits = sorted(wait for report in reports for wait in report.waits) or [0.0]
    costs = [cost for report in reports for cost in report.costs] or [0.0]
    return {
        "use": use(times, cell.seconds) / cell.rate * 100,
        "highest": highest_second(times),
        "slack": (min(spans) - 1) * 1000,
        "throttled": sum(1 for arrival in log if arrival[2]),
        "fairness": sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts)),
        "cpu": sum(report.used_seconds for report in reports) / len(times) * 1e6,
        "transactions": spent / len(times),
        "transactions_per_second": spent / cell.seconds,
        "gap": max(after - before for before, after in pairwise(times)) * 1000,
        "requests_per_second": len(times) / cell.seconds,
        "limiter_cpu": sum(costs) / len(costs) * 1e6,
        "p50": waits[len(waits) // 2] * 1000,
        "p99": waits[int(len(waits) * 0.99)] * 1000,
        "load": os.getloadavg()[0],
    }


def row_of(cell: Cell, runs: list[dict[str, Any]]) -> dict[str, str]:
    """One row of a table: medians, and the worst of what must never happen."""

    def middle(name: str) -> float:
        return float(median(run[name] for run in runs))

    first = {
        "limiter": cell.limiter + (f", {cell.condition}" if cell.condition else ""),
        "limit /s": f"{cell.rate}",
        "processes": f"{cell.processes}",
    }
    if cell.condition == NOT_BINDING:
        return first | {
            "requests /s": f"{middle('requests_per_second'):.0f}",
            "limiter CPU µs": f"{middle('limiter_cpu'):.0f}",
            "transactions per 1,000": f"{middle('transactions') * 1000:.1f}",
            "transactions /s": f"{middle('transactions_per_second'):.1f}",
            "wait p50 ms": f"{middle('p50'):.2f}",
            "wait p99 ms": f"{middle('p99'):.2f}",
            "load": f"{middle('load'):.1f}",
        }
    highest = max(run["highest"] for run in runs)
    return first | {
        "used %": f"{middle('use'):.1f}",
        "highest second": f"{highest}" + (" **over**" if highest > cell.rate else ""),
        "slack ms": f"{min(run['slack'] for run in runs):.1f}",
        "throttled": f"{sum(run['throttled'] for run in runs)}",
        "fairness": f"{middle('fairness'):.3f}",
        "CPU µs": f"{middle('cpu'):.0f}",
        "transactions": f"{middle('transactions'):.2f}",
        "longest gap ms": f"{max(run['gap'] for run in runs):.0f}",
        "load": f"{middle('load'):.1f}",
    }


def use(times: list[float], seconds: float) -> float:
    """Requests per second once under way: the mean over all windows of one length that begin in the fourth second.

    One window alone would be off by up to one request, which is two in a hundred at 10/s, or by one whole burst.
    """
    length = seconds - WARM_SECONDS - 1.2
    begins = (times[0] + WARM_SECONDS, times[0] + WARM_SECONDS + 1)
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


def cells(*, quick: bool, others: bool) -> Iterator[Cell]:
    """The whole plan."""
    rates, fleets = ((50,), (2, 8)) if quick else ((10, 50, 200), (1, 2, 8))
    for limiter in [*LIMITERS] if others else ["ours"]:
        for rate in rates:
            yield from (Cell(limiter, rate, processes, 9.0) for processes in fleets)
    for condition in CONDITIONS:
        yield from (Cell("ours", rate, fleets[-1], 11.0, condition) for rate in rates)
    yield from (Cell("ours", 5000, processes, 6.0, NOT_BINDING) for processes in fleets)


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
    arguments.add_argument("--others", action="store_true", help="pyrate-limiter as well")
    arguments.add_argument("--repeat", type=int, default=1, help="runs of each cell")
    arguments.add_argument("--rate", type=int, help="one rate")
    arguments.add_argument("--processes", type=int, help="one number of processes")
    arguments.add_argument("--condition", choices=["none", *CONDITIONS, NOT_BINDING], help="one condition")
    options = arguments.parse_args()
    with ExitStack() as stack:
        url = database_url(options.database_url or stack.enter_context(postgres())[0].url)
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
    fleet, heading = Fleet(), ""
    with strict_server() as port, tempfile.TemporaryDirectory() as scratch:
        for cell in cells(quick=options.quick, others=options.others):
            is_left_out = (
                (options.rate and cell.rate != options.rate)
                or (options.processes and cell.processes != options.processes)
                or (options.condition and (cell.condition or "none") != options.condition)
            )
            if is_left_out:
                continue
            runs = [measure(cell, fleet, port=port, url=url, scratch=scratch) for _ in range(options.repeat)]
            row = row_of(cell, runs)
            if heading != (heading := "| " + " | ".join(row) + " |\n|" + "---|" * len(row)):
                print(f"\n{heading}", flush=True)
            print("| " + " | ".join(row.values()) + " |", flush=True)
        fleet.stop()


if __name__ == "__main__":
    main()
