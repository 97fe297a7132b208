"""How fast is the engine? Ours, a bare fetch with COPY (the floor), requests in threads, and dlt, in one run.

    uv sync --group bench && python benchmarks/engine.py [--quick] [--contender NAME …]

Every contender does the same job: read all finished sessions of 200 users, 30 each, from a local API that answers
after 20 ms and knows no limit, over 64 connections, into Postgres; then once more with nothing new. API and Postgres
share the machine with it. Each pass runs in a process of its own and in a database of its own; processor time is that
of the whole process, start-up included. The repetitions are interleaved, so that other load hits all alike.
`command` is the whole `asleep-sync sync`, Dagster and monthly averages included.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass

from contenders import NO_LIMIT_PER_SECOND
from surroundings import KEY, ROOT, Surroundings, surroundings

NAMES = {
    "engine": "our engine (`sync_batch`)",
    "engine-without-limit": "our engine, rate limit left out",
    "command": "`asleep-sync sync`, everything",
    "floor": "floor: aiohttp + COPY",
    "requests": "requests in threads + COPY",
    "dlt": "dlt",
}
HEADINGS = (
    *("| ", "sessions/s", "wall", "CPU", "CPU a session", "wall ÷ floor", "CPU ÷ floor", "CPU before the work"),
    *("nothing new: wall", "CPU", "peak memory |"),
)


@dataclass(frozen=True)
class Pass:
    """One pass of one contender, in seconds."""

    wall: float
    cpu: float
    work_wall: float
    work_cpu: float
    peak_mib: float


def run_pass(name: str, found: Surroundings, database_url: str, connections: int) -> Pass:
    """Start the contender, wait for its end, take its measure."""
    first, last = (day.isoformat() for day in found.days)
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "PYTHONPATH": str(ROOT)}
    if name == "command":
        command = [sys.executable, "-m", "pipelines.cli.main", "sync", "--from", first, "--to", last]
        environment |= {
            "ASLEEP_API_KEY": KEY,
            "ASLEEP_BASE_URL": found.api_url,
            "DATABASE_URL": database_url,
            "ASLEEP_REQUESTS_PER_SECOND": str(NO_LIMIT_PER_SECOND),
            "MAX_CONNECTIONS": str(connections),
            "ENABLE_CACHING": "false",
        }
    else:
        command = [
            *(sys.executable, str(ROOT / "benchmarks" / "contenders.py"), name, "--api", found.api_url),
            *("--database", database_url, "--first", first, "--last", last, "--connections", str(connections)),
        ]
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as process:
        said = process.stdout.read() if process.stdout else ""
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        wall = time.perf_counter() - began
    if process.returncode:
        raise RuntimeError(f"{name} failed with {process.returncode}")
    cpu = used.ru_utime + used.ru_stime
    told = {} if name == "command" else json.loads(said.splitlines()[-1])
    return Pass(wall, cpu, told.get("seconds", wall), told.get("cpu_seconds", cpu), used.ru_maxrss / 1024)


def both_passes(name: str, found: Surroundings, connections: int) -> tuple[Pass, Pass]:
    """Everything new, then nothing new; each session must have been read exactly once."""
    with found.database() as url:
        found.ask("stats/reset", {})
        first = run_pass(name, found, url, connections)
        read = found.ask("stats")["requests"]["read_session"]
        second = run_pass(name, found, url, connections)
        read_again = found.ask("stats")["requests"]["read_session"]
    if read != found.sessions or read_again != read:
        raise RuntimeError(f"{name} read {read}, then {read_again - read} of {found.sessions} sessions")
    return first, second


def table(runs: dict[str, list[tuple[Pass, Pass]]], sessions: int) -> str:
    """The medians as markdown; ratios are the medians of the ratios within a repetition."""
    lines = [" | ".join(HEADINGS), "|---" + "|--:" * 10 + "|"]
    for name, passes in runs.items():
        firsts, seconds = [first for first, _ in passes], [second for _, second in passes]
        wall, cpu = (statistics.median(values) for values in ([p.wall for p in firsts], [p.cpu for p in firsts]))
        floors = [first for first, _ in runs.get("floor", [])]
        ratios = [
            statistics.median([mine / theirs for mine, theirs in zip(ours, bare, strict=True)]) if bare else 0.0
            for ours, bare in (
                ([p.wall for p in firsts], [p.wall for p in floors]),
                ([p.cpu for p in firsts], [p.cpu for p in floors]),
            )
        ]
        before = statistics.median([p.cpu - p.work_cpu for p in firsts])
        lines.append(
            f"| {NAMES[name]} | {sessions / wall:,.0f} | {wall:.2f} s | {cpu:.2f} s | {cpu / sessions * 1e6:,.0f} µs "
            f"| {ratios[0]:.2f} | {ratios[1]:.2f} | {f'{before:.2f} s' if name != 'command' else ''} "
            f"| {statistics.median([p.wall for p in seconds]):.2f} s "
            f"| {statistics.median([p.cpu for p in seconds]):.2f} s "
            f"| {max(p.peak_mib for p in firsts):.0f} MiB |"
        )
    return "\n".join(lines)


def main() -> None:
    """Run them all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--sessions-per-user", type=int, default=30)
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--contender", action="append", choices=NAMES, help="only these; may be repeated")
    parser.add_argument("--quick", action="store_true", help="50 users, once")
    options = parser.parse_args()
    if options.quick:
        options.users, options.repetitions = 50, 1
    names = options.contender or list(NAMES)
    runs: dict[str, list[tuple[Pass, Pass]]] = defaultdict(list)
    with surroundings(options.users, options.sessions_per_user, options.latency_ms) as found:
        for repetition in range(options.repetitions):
            for name in names:
                passes = both_passes(name, found, options.connections)
                runs[name].append(passes)
                told = " then ".join(f"{p.wall:.2f} s ({p.cpu:.2f} s CPU)" for p in passes)
                print(f"{repetition + 1}. {name}: {told}", file=sys.stderr)
        sessions = found.sessions
    print(
        f"{options.users} users with {options.sessions_per_user} sessions each, {options.latency_ms:g} ms, "
        f"{options.connections} connections, {os.cpu_count()} cores shared with API and Postgres, "
        f"median of {options.repetitions}, load {os.getloadavg()[1]:.1f}\n"
    )
    print(table(runs, sessions))


if __name__ == "__main__":
    main()
