"""Does memory grow with users? Peak resident memory of a first sync of 200 and of 2,000 users with 30 sessions each.

    python benchmarks/memory.py [--quick]

The engine alone, and the whole `asleep-sync sync`, each in a process of its own; USER_BATCH_SIZE is 500, so 2,000
users are four batches.
"""

import argparse
import sys

from engine import NAMES, run_pass
from surroundings import surroundings

MAX_MIB = 300


def main() -> None:
    """Print the peaks; exit code 1 when one is too high."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 and 200 users instead")
    parser.add_argument("--connections", type=int, default=64)
    options = parser.parse_args()
    peaks: list[float] = []
    print("| users | | peak | wall | CPU |\n|--:|---|--:|--:|--:|")
    for users in (20, 200) if options.quick else (200, 2000):
        with surroundings(users, 30, latency_ms=0) as found:
            for name in ("engine", "command"):
                with found.database() as url:
                    measured = run_pass(name, found, url, options.connections)
                peaks.append(measured.peak_mib)
                figures = f"{measured.peak_mib:.0f} MiB | {measured.wall:.1f} s | {measured.cpu:.1f} s"
                print(f"| {users:,} | {NAMES[name]} | {figures} |", flush=True)
    sys.exit(max(peaks) >= MAX_MIB)


if __name__ == "__main__":
    main()
