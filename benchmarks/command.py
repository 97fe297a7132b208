"""How long does `asleep-sync sync` take when nothing is new, beside `import dagster` and `asleep-sync --help`?

    python benchmarks/command.py [--users 200] [--days 7 66 325] [--repetitions 5]

The API answers after 20 ms and knows no limit, over 64 connections. Each pass is a process of its own; the passes are
interleaved, so that other load hits all alike. Each sync lists every user once and reads no session.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from datetime import timedelta

from contenders import NO_LIMIT_PER_SECOND
from surroundings import KEY, ROOT, surroundings


def run(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run to the end; wall and CPU seconds of the process."""
    began = time.perf_counter()
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL) as process:
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed with {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime


def main() -> None:
    """Run them all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200)
    parser.add_argument("--days", type=int, nargs="+", default=[7, 66])
    parser.add_argument("--latency-ms", type=float, default=20)
    parser.add_argument("--repetitions", type=int, default=5)
    options = parser.parse_args()
    asleep_sync = [sys.executable, "-m", "pipelines.cli.main"]
    with surroundings(options.users, max(options.days) // 2, options.latency_ms) as found, found.database() as url:
        last = found.days[1]
        environment = {
            **os.environ,
            "PYTHONWARNINGS": "ignore",
            "ASLEEP_API_KEY": KEY,
            "ASLEEP_BASE_URL": found.api_url,
            "DATABASE_URL": url,
            "ASLEEP_REQUESTS_PER_SECOND": str(NO_LIMIT_PER_SECOND),
            "MAX_CONNECTIONS": "64",
            "ENABLE_CACHING": "false",
        }

        def sync(days: int) -> list[str]:
            return [*asleep_sync, "sync", "--from", str(last - timedelta(days=days - 1)), "--to", str(last)]

        commands = {
            "import dagster": [sys.executable, "-c", "import dagster"],
            "asleep-sync --help": [*asleep_sync, "--help"],
            **{f"asleep-sync sync, {days} days": sync(days) for days in options.days},
        }
        run(sync((last - found.days[0]).days + 1), environment)
        passes = defaultdict(list)
        for _ in range(options.repetitions):
            for name, command in commands.items():
                passes[name].append(run(command, environment))
                print(f"{name}: {passes[name][-1][0]:.2f} s", file=sys.stderr)
    base = [wall for wall, _ in passes["import dagster"]]
    load = os.getloadavg()[1]
    print(f"{options.users} users, {options.latency_ms:g} ms, median of {options.repetitions}, load {load:.1f}\n")
    print("| | wall | CPU | wall / (2.5 `import dagster` + 1 s) |\n|---|--:|--:|--:|")
    for name, found_passes in passes.items():
        walls = [wall for wall, _ in found_passes]
        ratio = statistics.median(wall / (2.5 * least + 1) for wall, least in zip(walls, base, strict=True))
        cpu = statistics.median(cpu for _, cpu in found_passes)
        print(f"| {name} | {statistics.median(walls):.2f} s | {cpu:.2f} s | {ratio:.2f} |")


if __name__ == "__main__":
    main()
