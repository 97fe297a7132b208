"""Events at a steady rate against the real service, with Postgres restarted in the middle.

    python benchmarks/webhooks.py [--rate 500] [--seconds 60]

Asks two things. Is every event that got a 200 in the inbox exactly once? What does the insert cost: the 50th and 99th
percentile of the answer's time, against the same application whose inbox accepts without writing?

The sender is open-loop: requests leave by the clock whether or not answers come, and time counts from the moment a
request was due, so that a stalled server cannot hide its stall.
"""

import argparse
import asyncio
import collections
import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import requests
from sqlalchemy import text

from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.embedded_postgres import server as embedded

KEY = "benchmark-key"
CONNECTIONS = 64
ROUNDS, ROUND_SECONDS = 5, 3
ROOT = Path(__file__).resolve().parent.parent


@dataclass
class Heard:
    """What came back."""

    seconds: list[float] = field(default_factory=list)
    """Of answers 200, from the moment the request was due."""
    accepted: set[int] = field(default_factory=set)
    statuses: collections.Counter[str] = field(default_factory=collections.Counter)


def _night() -> list[bytes]:
    """A finished night of eight hours, about 9 KB, cut where its number belongs."""
    stages = random.Random(1).choices((0, 1, 2, 3), k=960)
    session = {
        "id": "20260307140211_NUMBER", "state": "COMPLETE", "start_time": "2026-03-07T14:02:11+00:00",
        "end_time": "2026-03-07T22:02:11+00:00", "unexpected_end_time": None, "created_timezone": "Asia/Seoul",
        "sleep_stages": stages, "breath_stages": [0] * 960, "snoring_stages": [0] * 960,
    }  # fmt: skip
    data = {
        "user_id": "G-NUMBER", "timezone": "UTC", "peculiarities": [], "missing_data_ratio": 0,
        "session": session, "stat": {"time_in_bed": 28800, "number": "NUMBER"},
    }  # fmt: skip
    whole = json.dumps({"event": "SESSION_COMPLETE", "version": "V3", "data": data}, separators=(",", ":"))
    return whole.encode().split(b"NUMBER")


_NIGHT = _night()


def event(number: int) -> bytes:
    """An event different from every other."""
    return str(number).encode().join(_NIGHT)


class Sender:
    """Sends by the clock over kept connections."""

    def __init__(self, port: int, rate: float, seconds: float, *, first: int = 0) -> None:
        self._port, self._rate, self._total, self._first = port, rate, int(rate * seconds), first
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._limit = asyncio.Semaphore(CONNECTIONS)
        self.heard = Heard()

    async def run(self) -> Heard:
        """Send everything, wait for every answer."""
        start = time.perf_counter() + 0.1
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._total):
                due = start + number / self._rate
                if (wait := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait)
                tasks.create_task(self._send(self._first + number, due))
        for _, writer in self._idle:
            writer.close()
        return self.heard

    async def _send(self, number: int, due: float) -> None:
        async with self._limit:
            try:
                status = await asyncio.wait_for(self._exchange(event(number)), 30)
            except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
                self.heard.statuses[type(error).__name__] += 1
                return
        self.heard.statuses[str(status)] += 1
        if status == 200:
            self.heard.accepted.add(number)
            self.heard.seconds.append(time.perf_counter() - due)

    async def _exchange(self, body: bytes) -> int:
        reader, writer = await self._connection()
        head = f"POST /webhooks/asleep HTTP/1.1\r\nhost: x\r\nx-api-key: {KEY}\r\ncontent-length: {len(body)}\r\n\r\n"
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        length = int(answer.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
        self._idle.append((reader, writer))
        return int(answer.split(b" ", 2)[1])

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A kept one that the server has not closed for having been idle, or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)


@contextlib.contextmanager
def served(database_url: str, *, workers: int, without_insert: bool = False) -> Iterator[tuple[int, int]]:
    """The service in a process of its own; its port and process."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    settings = {"DATABASE_URL": database_url, "ASLEEP_API_KEY": KEY, "LOG_FORMAT": "json", "PYTHONPATH": str(ROOT)}
    if without_insert:
        settings["NO_INSERT"] = "yes"
    command = [sys.executable, __file__, "--serve", str(port), "--workers", str(workers)]
    process = subprocess.Popen(command, env={**os.environ, **settings}, stderr=subprocess.DEVNULL)
    try:
        answered, deadline = 0, time.monotonic() + 60
        while answered < 20 * workers and time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                answered += requests.get(f"http://127.0.0.1:{port}/live", timeout=5).ok
        yield port, process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def cpu_seconds(process: int) -> float:
    """CPU time that a process and its children have used so far (Linux)."""
    used = 0.0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(folder.name) == process or int(fields[1]) == process:
                used += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return used


def build() -> object:
    """The application of one worker; with NO_INSERT set its inbox accepts without writing."""
    from pipelines.service import app, program

    if "NO_INSERT" in os.environ:

        class NoInbox(app.InboxWriter):
            async def put(self, event: object) -> bool:  # noqa: ARG002 the same signature
                return True

        app.InboxWriter = NoInbox  # type: ignore[misc]
    return program.build()


async def with_restart(sender: Sender, directory: Path, after_seconds: float) -> tuple[Heard, float]:
    """Send, and restart Postgres in the middle; how long it was away."""

    def restart() -> float:
        started = time.monotonic()
        embedded.stop(directory)
        embedded.start(directory)
        return time.monotonic() - started

    async def later() -> float:
        await asyncio.sleep(after_seconds)
        return await asyncio.to_thread(restart)

    heard, away = await asyncio.gather(sender.run(), later())
    return heard, away


def line(name: str, heard: Heard) -> str:
    """A row of the result."""
    ordered = sorted(heard.seconds)
    at = [ordered[min(len(ordered) - 1, int(len(ordered) * share))] * 1000 for share in (0.5, 0.99)]
    statuses = ", ".join(f"{count} x {status}" for status, count in sorted(heard.statuses.items()))
    return f"| {name} | {statuses} | {at[0]:.1f} ms | {at[1]:.1f} ms |"


def main() -> None:
    """Compare, then restart Postgres under load; print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rate", type=float, default=500)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--compare-only", action="store_true")
    parser.add_argument("--serve", type=int)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    if options.serve:
        from pipelines.service.program import serve

        serve("benchmarks.webhooks:build", host="127.0.0.1", port=options.serve, workers=options.workers)
        return
    with tempfile.TemporaryDirectory() as name:
        measure(Path(name) / "postgres", options.rate, 0 if options.compare_only else options.seconds, options.workers)


def compare(database_url: str, rate: float, workers: int) -> None:
    """The application with and without its insert, in turns, so that both meet the same neighbours on the machine.

    Of each the round with the lowest median counts: the one that was disturbed least.
    """
    best: dict[bool, tuple[Heard, float]] = {}
    with (
        served(database_url, workers=workers, without_insert=True) as bare,
        served(database_url, workers=workers) as whole,
    ):
        for number in range(2 * ROUNDS):
            without_insert = number % 2 == 0
            port, process = bare if without_insert else whole
            first = number * int(rate * ROUND_SECONDS)
            before = cpu_seconds(process)
            heard = asyncio.run(Sender(port, rate, ROUND_SECONDS, first=first).run())
            cost = (cpu_seconds(process) - before) / (rate * ROUND_SECONDS) * 1000
            if without_insert not in best or median(heard) < median(best[without_insert][0]):
                best[without_insert] = (heard, cost)
    for without_insert, title in ((True, "without the insert"), (False, "with the insert")):
        heard, cost = best[without_insert]
        print(line(f"{title}, {rate:.0f}/s, {cost:.2f} ms of CPU an event", heard), flush=True)


def median(heard: Heard) -> float:
    """The 50th percentile in seconds."""
    return sorted(heard.seconds)[len(heard.seconds) // 2]


def measure(directory: Path, rate: float, seconds: float, workers: int) -> None:
    """Start a Postgres of one's own, send, count."""
    try:
        server = embedded.start(directory)
        engine = make_engine(server.url, application_name="benchmark")
        migrate(engine)
        print("| Round | Answers | 50th | 99th |\n|---|---|---|---|")
        compare(server.url, rate, workers)
        if not seconds:
            return
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE asleep.webhook_events"))
        with served(server.url, workers=workers) as (port, _):
            heard, away = asyncio.run(with_restart(Sender(port, rate, seconds), directory, seconds / 2))
        print(line(f"Postgres restarted, {rate:.0f}/s, {seconds:.0f} s", heard))
        numbers = text(
            "SELECT (convert_from(body, 'UTF8')::json #>> '{data,stat,number}')::int FROM asleep.webhook_events"
        )
        with engine.connect() as connection:
            stored = collections.Counter(connection.scalars(numbers))
        engine.dispose()
        missing = [number for number in heard.accepted if stored[number] == 0]
        twice = [number for number, count in stored.items() if count > 1]
        print(f"\nPostgres away for {away:.1f} s. Accepted: {len(heard.accepted)}; of these missing: {len(missing)};")
        print(f"stored twice: {len(twice)}; stored although refused: {len(stored.keys() - heard.accepted)}.")
    finally:
        embedded.destroy(directory)


if __name__ == "__main__":
    main()
