"""Dagster's own programs, typed in the project's folder as Dagster's documentation has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.settings import Settings
from tests.conftest import ROOT

BIN = Path(sys.executable).parent
TYPED = ("dagster job list", "dagster dev", "dg dev", "dg check defs")


def _all(commands: tuple[str, ...], environment: dict[str, str]) -> dict[str, tuple[int, str]]:
    """Run all of them at the same time; returns exit code and output of each."""
    ours = {name.upper() for name in Settings.model_fields}
    kept = {name: value for name, value in os.environ.items() if name not in ours and not name.startswith("DAGSTER_")}
    kept["PATH"] = f"{BIN}{os.pathsep}{kept['PATH']}"
    started = {
        command: subprocess.Popen(
            command.split(),
            cwd=ROOT,
            env=kept | environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for command in commands
    }
    try:
        ended = {command: process.communicate(timeout=200)[0] for command, process in started.items()}
        return {command: (started[command].returncode, output) for command, output in ended.items()}
    finally:
        for process in started.values():
            process.kill()


@pytest.mark.skipif((ROOT / ".env").exists(), reason="a developer's own .env has a database")
def test_without_a_database_each_program_ends_in_one_line_that_names_the_command():
    """Before, the answer was a traceback of sixty lines."""
    for command, (code, output) in _all(TYPED, {}).items():
        assert code != 0, command
        assert "Traceback" not in output, output
        assert "`asleep-sync dev`" in output.splitlines()[-1], output


def test_with_a_database_they_work(database_url: str, tmp_path: Path):
    """They find Dagster's tables where the project's commands keep them."""
    environment = {"DATABASE_URL": database_url, "DATA_DIRECTORY": str(tmp_path), "ASLEEP_API_KEY": "a-key"}
    for command, (code, output) in _all(("dagster definitions validate", "dg list defs"), environment).items():
        assert code == 0, output
        assert "sleep_sessions" in output or "All code locations passed validation" in output, command
