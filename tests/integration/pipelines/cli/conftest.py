"""`typed("users", "list")`: a command as a person types it, in a folder of its own, over the module's database."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine

from pipelines.cli.main import main
from pipelines.settings import Settings

Type = Callable[..., Result]


@pytest.fixture
def typed(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """Type a command; only exits are allowed to end it."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("APP_ROOT", "DAGSTER_HOME", "DAGSTER_LOCAL_DIR", "DAGSTER_STORAGE_URL", "DAGSTER_DISABLE_TELEMETRY"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # `sync` sets them for good
    monkeypatch.setenv("DAGSTER_EVENT_BATCH_SIZE", "0")
    monkeypatch.setenv("DATA_DIRECTORY", str(tmp_path / "data"))
    monkeypatch.setenv("DATABASE_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("ASLEEP_API_KEY", "a-key")
    monkeypatch.setenv("ASLEEP_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str, stdin: str = "") -> Result:
        result = CliRunner().invoke(main, arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return typed
