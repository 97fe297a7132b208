"""The project's definitions over the module's database and a simulated API, and jobs run in this process."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from pipelines.definitions import build_definitions
from pipelines.settings import Settings
from tests.conftest import Simulator

KEY = "simulated-key"


@pytest.fixture(scope="module")
def api(simulate: Callable[..., AbstractContextManager[Simulator]]) -> Iterator[Simulator]:
    """The simulated API with a few users."""
    with simulate("--users", "6", "--days", "30", "--seed", "5", "--rate", "2000") as simulator:
        yield simulator


def definitions_for(engine: Engine, url: str, **settings: Any) -> dg.Definitions:
    """The project's definitions as an environment with these settings would have them."""
    values: dict[str, Any] = {
        "asleep_api_key": (SecretStr(KEY),),
        "asleep_base_url": url,
        "database_url": SecretStr(engine.url.render_as_string(hide_password=False)),
        "asleep_requests_per_second": 1500.0,
        "max_connections": 4,
        "cache_ttl_seconds": 0.0,
    }
    return build_definitions(Settings(_env_file=None, **{**values, **settings}))  # type: ignore[call-arg]


@pytest.fixture
def definitions(engine: Engine, api: Simulator) -> dg.Definitions:
    """The project's definitions."""
    return definitions_for(engine, api.url)


@pytest.fixture
def run(definitions: dg.Definitions, instance: dg.DagsterInstance) -> Callable[..., dg.ExecuteInProcessResult]:
    """`run("job", …)` runs a job here; a failure is a result, not an exception."""

    def run(job: str, **options: Any) -> dg.ExecuteInProcessResult:
        return definitions.resolve_job_def(job).execute_in_process(instance=instance, raise_on_error=False, **options)

    return run


def failure_messages(result: dg.ExecuteInProcessResult) -> list[str]:
    """Return the messages of the failed steps."""
    failures = [
        event.step_failure_data.user_failure_data for event in result.filter_events(lambda e: e.is_step_failure)
    ]
    return [data.description or "" for data in failures if data]
