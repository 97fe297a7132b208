"""Export at scale: time, memory and bytes of each dataset.

    python benchmarks/export.py [--sessions 1000000] [--server URL]

Without --server an embedded Postgres is started in a temporary directory and destroyed afterwards. Each export runs in
a process of its own, whose memory is reported; the sessions are those of `benchmarks/warehouse.py`.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sqlalchemy import Connection, text

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from assets.export.export import DATASETS, STAGES, ExportRequest, export
from assets.metrics.monthly_summary import summarise
from benchmarks.warehouse import DAYS, MONTH, TOUCH, fill
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.embedded_postgres import server as embedded

BY_NAME = {dataset.name: dataset for dataset in (*DATASETS, STAGES)}
EXPORTS = (
    (("sessions", "nights"), ("parquet", "csv")),
    (("sessions", "nights"), ("parquet",)),
    (("monthly_averages",), ("parquet", "csv")),
    (("stages",), ("parquet", "csv")),
    (("stages",), ("parquet",)),
)


def write(url: str, names: list[str], formats: list[str]) -> str:
    """Export in this process; returns the cells of a table's row. With stage arrays only the last month."""
    engine = make_engine(url, application_name="benchmark")
    request = ExportRequest([BY_NAME[name] for name in names], [MONTH] if names == ["stages"] else None, formats)
    with engine.connect() as one, engine.connect() as other:  # they return to the pool, and the export uses them
        servers = [_without_parallel_workers(connection) for connection in (one, other)]
    with tempfile.TemporaryDirectory() as directory:
        before, began, cpu = _memory(), time.perf_counter(), time.process_time()
        done = export(engine, Path(directory), request)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        size = sum(file.stat().st_size for file in Path(directory).rglob("*") if file.is_file())
    served = sum(int(Path(f"/proc/{server}/schedstat").read_text().split()[0]) for server in servers) / 1e9
    engine.dispose()
    return (
        f"{done.rows:,} in {done.written} months | {seconds:,.1f} s | {cpu:,.1f} s + {served:,.1f} s | "
        f"{_memory():,.0f} MiB ({before:,.0f} before) | {size / 2**20:,.0f} MiB"
    )


def _without_parallel_workers(connection: Connection) -> int:
    """Let the server's process do all its work itself; returns the process."""
    connection.execute(text("SET max_parallel_workers_per_gather = 0"))
    process: int = connection.execute(text("SELECT pg_backend_pid()")).scalar_one()
    connection.commit()
    return process


def _memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def compare(url: str, sessions: int) -> None:
    """Fill the database and print a row for each export."""
    engine = make_engine(url, application_name="benchmark")
    migrate(engine)
    with engine.begin() as connection:
        fill(connection, max(1, sessions // DAYS))
    with engine.begin() as connection:
        connection.execute(text(TOUCH))
        summarise(connection)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE asleep.sleep_sessions"))
    engine.dispose()
    print(
        "| Datasets | Formats | Rows | Time | CPU here + server | Peak memory | Files |\n|---|---|---|---|---|---|---|",
        flush=True,
    )
    for names, formats in EXPORTS:
        command = [sys.executable, __file__, "--write", url, *names, *formats]
        cells = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        print(f"| {', '.join(names)} | {', '.join(formats)} | {cells} |", flush=True)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=1_000_000)
    parser.add_argument(
        "--server", help="URL of an empty database; default: an embedded Postgres, destroyed afterwards"
    )
    parser.add_argument("--write", nargs="+", metavar="WORD", help="URL, datasets and formats: only this export")
    options = parser.parse_args()
    if options.write:
        url, *words = options.write
        print(write(url, [w for w in words if w in BY_NAME], [w for w in words if w not in BY_NAME]))
    elif options.server:
        compare(options.server, options.sessions)
    else:
        with tempfile.TemporaryDirectory() as directory:
            folder = Path(directory) / "postgres"
            try:
                compare(embedded.start(folder).url, options.sessions)
            finally:
                embedded.destroy(folder)


if __name__ == "__main__":
    main()
