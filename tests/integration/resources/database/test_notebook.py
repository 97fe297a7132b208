"""The notebook of a first look runs from its first cell to its last, on a database of its own."""

import csv
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine
from warehouse_sessions import session, slept, store

from assets.metrics.monthly_summary import summarise
from assets.metrics.sleep_metrics import compute_metrics

ROOT = Path(__file__).resolve().parents[4]
EVENING = datetime(2026, 3, 2, 14, tzinfo=UTC)
EXECUTE = """
import sys, nbformat
from nbclient import NotebookClient
notebook = nbformat.read(sys.argv[1], 4)
NotebookClient(notebook, timeout=120, resources={"metadata": {"path": sys.argv[2]}}).execute()
print(sum("image/png" in output.get("data", {}) for cell in notebook.cells for output in cell.get("outputs", [])))
"""


def test_the_notebook_runs_and_leaves_three_pictures_and_a_file(engine: Engine, tmp_path: Path):
    """Somebody's first hour with the data: a cell that fails ends it."""
    with engine.begin() as connection:
        for number in range(3):
            for day in range(12):
                start = EVENING + timedelta(days=day, minutes=17 * (day % (number + 2)))
                stat = slept(sleep_time=start + timedelta(minutes=10), wake_time=start + timedelta(hours=7))
                stages = (0,) * 20 + (1, 2, 1, 3) * 200 + (-1,) * 10 + (1,) * 10 + (0,) * 120
                store(connection, [session(f"user {number}", start, stat, sleep_stages=stages)])
        summarise(connection)
    compute_metrics(engine, date(2026, 4, 2))
    written = tmp_path / "months.csv"
    done = subprocess.run(
        [sys.executable, "-c", EXECUTE, ROOT / "docs" / "tutorial" / "first-look.ipynb", ROOT],
        env={
            **os.environ,
            "DATABASE_URL": engine.url.render_as_string(hide_password=False),
            "CSV_PATH": str(written),
            "MPLBACKEND": "module://matplotlib_inline.backend_inline",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True, text=True, check=False, timeout=240,
    )  # fmt: skip

    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.strip() == "3"
    with written.open(newline="") as file:
        assert [row["nights"] for row in csv.DictReader(file)] == ["12"] * 3
