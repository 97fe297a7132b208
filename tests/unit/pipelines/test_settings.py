"""The environment as settings: everything wrong is told at once, by name, and no value is ever repeated."""

from collections.abc import Callable
from pathlib import Path

import pytest

from pipelines.settings import Settings, SettingsInvalid, load_settings, without_unknown

Load = Callable[..., Settings]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Load:
    """Settings of an environment that holds these variables only, and of a `.env` with these lines."""

    def load(dotenv: str = "", **variables: str) -> Settings:
        for name in Settings.model_fields:
            monkeypatch.delenv(name.upper(), raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (tmp_path / "env").write_text(dotenv)
        return load_settings(tmp_path / "env")

    return load


def test_the_defaults_are_those_that_are_documented(load: Load):
    """Other programs rely on them."""
    settings = load()
    assert {name: getattr(settings, name) for name in (
        "environment", "asleep_base_url", "database_url", "asleep_requests_per_second", "max_connections",
        "request_timeout", "recent_days", "sync_detail", "user_batch_size", "enable_caching", "enable_webhooks",
        "enable_metrics", "cache_ttl_seconds", "statsd_host", "statsd_port", "log_level", "logs_as_json",
    )} == {
        "environment": "development", "asleep_base_url": "https://api.asleep.ai", "database_url": None,
        "asleep_requests_per_second": 10, "max_connections": 20, "request_timeout": 30, "recent_days": 7,
        "sync_detail": "full", "user_batch_size": 500, "enable_caching": True, "enable_webhooks": True,
        "enable_metrics": False, "cache_ttl_seconds": 300, "statsd_host": "127.0.0.1", "statsd_port": 8125,
        "log_level": "INFO", "logs_as_json": False,
    }  # fmt: skip


def test_every_error_is_told_at_once_by_name_and_without_its_value(load: Load):
    """A typo in a secret must not end in a log."""
    with pytest.raises(SettingsInvalid) as refused:
        load(
            DATABASE_URL="mysql://me:hunter2@host/data", REQUEST_TIMEOUT="hunter3", MAX_CONNECTIONS="0",
            ASLEEP_API_KEY="hunter 4", STATSD_PORT="70000", SYNC_DETAIL="hunter5", ENABLE_CACHING="hunter6",
        )  # fmt: skip
    told = str(refused.value)
    for name in (
        "DATABASE_URL", "REQUEST_TIMEOUT", "MAX_CONNECTIONS", "ASLEEP_API_KEY", "STATSD_PORT", "SYNC_DETAIL",
        "ENABLE_CACHING",
    ):  # fmt: skip
        assert f"{name}: " in told
    assert "hunter" not in told


def test_production_names_everything_it_lacks(load: Load):
    """An embedded database, or a key sent in clear, is for development."""
    with pytest.raises(SettingsInvalid) as refused:
        load(ENVIRONMENT="production", ASLEEP_BASE_URL="http://example.test", NOTIFY_URL="https://example.test")
    assert [line.partition(":")[0] for line in str(refused.value).splitlines()] == [
        "DATABASE_URL", "ASLEEP_BASE_URL", "NOTIFY_SECRET",
    ]  # fmt: skip


def test_a_file_is_read_below_the_environment(load: Load):
    """What is set for one command wins over the file."""
    settings = load("RECENT_DAYS=3\nLOG_LEVEL=debug\nASLEEP_API_KEY= one , two \n", RECENT_DAYS="5")
    assert (settings.recent_days, settings.log_level, settings.calling_key) == (5, "DEBUG", "one")
    assert [key.get_secret_value() for key in settings.asleep_api_key] == ["one", "two"]


def test_no_secret_shows_in_the_settings_own_words(load: Load):
    """They are printed in many a traceback."""
    settings = load(
        "WEBHOOK_SECRET=hunter1\nNOTIFY_SECRET=hunter2",
        ASLEEP_API_KEY="hunter3", DATABASE_URL="postgresql://me:hunter4@host/data", SERVICE_API_KEYS="hunter5",
        CELERY_BROKER_URL="redis://:hunter6@host",
    )  # fmt: skip
    assert "hunter" not in f"{settings!r} {settings}"


def test_settings_stay_as_they_were_read(load: Load):
    """They are read once."""
    with pytest.raises(ValueError, match="frozen"):
        load().recent_days = 9


def test_a_misspelt_variable_is_noticed():
    """ASLEEP_API_KEYS instead of ASLEEP_API_KEY would otherwise simply not work."""
    assert without_unknown({"ASLEEP_API_KEYS": "", "ASLEEP_API_KEY": "", "STATSD_HOST": "", "PATH": ""}) == [
        "ASLEEP_API_KEYS"
    ]
