"""Benchmarks run by hand, rarely: a renamed import would be noticed too late."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent.parent / "benchmarks"


def test_every_benchmark_can_be_imported(tmp_path: Path):
    modules = sorted(path.stem for path in FOLDER.glob("*.py"))
    program = f"import sys; sys.path.insert(0, {str(FOLDER)!r}); import {', '.join(modules)}"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
