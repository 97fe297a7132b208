"""What `asleep-sync serve` starts beside its workers."""

import os

import pytest
from pydantic import SecretStr

from pipelines.service import program
from pipelines.service.metrics import SHARED_DIRECTORY
from pipelines.settings import Settings


@pytest.mark.parametrize("workers", [1, 2])
def test_the_command_watches_the_database_and_lets_workers_share_metrics(monkeypatch: pytest.MonkeyPatch, workers: int):
    """Both were missing from the shipped command once, because the tests started another entry point."""
    settings = Settings(_env_file=None, database_url=SecretStr("postgresql://a:b@127.0.0.1/c"))  # type: ignore[call-arg]
    seen: list[object] = []

    class Watch:
        def __init__(self, _settings: Settings, host: str, port: int) -> None:
            seen.append((host, port))

        def start(self) -> None:
            seen.append("watching")

    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(program, "DatabaseWatch", Watch)
    monkeypatch.setattr(program, "set_up_logs", lambda _settings: None)

    def serve(_factory: str, **options: object) -> None:
        seen.append((options["workers"], SHARED_DIRECTORY in environment))

    monkeypatch.setattr(program, "serve", serve)

    program.run_service(settings, host="127.0.0.1", port=9, workers=workers)

    assert seen == [("127.0.0.1", 9), "watching", (workers, workers > 1)]
