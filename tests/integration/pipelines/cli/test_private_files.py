"""Health data and ids are written for their owner alone, and git does not take them."""

import subprocess

from pipelines.runtime.dagster_environment import dagster_environment
from pipelines.settings import load_settings
from tests.conftest import ROOT
from tests.integration.pipelines.cli.conftest import Type


def test_the_data_directory_is_for_its_owner_alone(typed: Type, tmp_path):
    """Dagster's files name users by pseudonym, and logs say what failed for whom."""
    assert typed("users", "list").exit_code == 0
    (tmp_path / "data").mkdir(mode=0o755, exist_ok=True)
    dagster_environment(load_settings())
    for folder in (tmp_path / "data", tmp_path / "data" / "dagster"):
        assert folder.stat().st_mode & 0o077 == 0


def test_git_ignores_what_the_commands_write_by_default():
    """A report in the project's folder must not be committed by `git add .`."""
    written = ["asleep-2026-11.html", "users.csv", "exports/x.parquet", ".data/dev.log", ".env"]
    ignored = subprocess.run(["git", "check-ignore", *written], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == written
