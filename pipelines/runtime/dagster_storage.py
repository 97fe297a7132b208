"""Dagster's own tables in Postgres, over connections that are kept, set up and checked before use.

`dagster.yaml` names `KeptConnectionsStorage`. Dagster's default opens a connection for every event that it stores. Only
public interfaces are used: Dagster's storage classes with their `optimize_for_webserver`, and SQLAlchemy's pool events.
"""

import threading
from collections.abc import Mapping
from typing import Any

import tenacity
from dagster_postgres import DagsterPostgresStorage
from sqlalchemy import create_engine
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

from pipelines.runtime.dagster_environment import APPLICATION_NAME, DAGSTER_SCHEMA, require_storage_url
from resources.database.session_settings import SETTINGS, set_up_pools_of

STATEMENT_TIMEOUT_MS = 60_000
CONNECTION_MAX_AGE_SECONDS = 3600
MAX_EXTRA_CONNECTIONS = 20
CODE_SERVERS_THREAD = "grpc-server-cleanup"
"""Dagster's name of the thread; a test fails when it changes."""
DATABASE_POLL_SECONDS = 1.0

_SETTINGS = {**SETTINGS, "search_path": DAGSTER_SCHEMA, "synchronous_commit": "off"}
"""A crash of the server may lose Dagster's last events of a fraction of a second, never data in schema `asleep`."""


class KeptConnectionsStorage(DagsterPostgresStorage):
    """Run, event and schedule storage, each with a pool of connections instead of a new one for every call."""

    def __init__(self, postgres_url: str, **options: Any) -> None:
        """Open the storage.

        Args:
            postgres_url: whose `application_name` is `APPLICATION_NAME`.
            options: as for Dagster's own storage.
        """
        super().__init__(postgres_url, **options)
        for storage in (self.run_storage, self.event_log_storage, self.schedule_storage):
            storage.optimize_for_webserver(STATEMENT_TIMEOUT_MS, CONNECTION_MAX_AGE_SECONDS, MAX_EXTRA_CONNECTIONS)

    @classmethod
    def config_type(cls) -> dict[str, Any]:
        """Nothing to configure: the address comes from the environment."""
        return {}

    @classmethod
    def from_config_value(cls, inst_data: Any, _config_value: Mapping[str, Any]) -> "KeptConnectionsStorage":
        """Return the storage that `dagster.yaml` describes; it is the first part of an instance that Dagster loads.

        The thread of the code server that fails the runs of dead processes waits here while the database is away: an
        error would end it, and the runs of later processes would look started for ever.

        Args:
            inst_data: what the instance is built from.
            _config_value: empty.
        """
        url = require_storage_url()
        if threading.current_thread().name == CODE_SERVERS_THREAD:
            wait = tenacity.wait_fixed(DATABASE_POLL_SECONDS)
            is_away = tenacity.retry_if_exception_type(OperationalError)
            tenacity.Retrying(retry=is_away, wait=wait)(create_engine(url, poolclass=NullPool).connect).close()
        return cls(url, inst_data=inst_data)


set_up_pools_of(APPLICATION_NAME, _SETTINGS)
