"""Dagster's own tables in Postgres, over connections that are kept, set up and checked before use.

`dagster.yaml` names `KeptConnectionsStorage`. Dagster's default opens a connection for every event that it stores. Only
public interfaces are used: Dagster's storage classes with their `optimize_for_webserver`, and SQLAlchemy's pool events.
"""

import threading
from collections.abc import Mapping
from typing import Any

import tenacity
from dagster_postgres import DagsterPostgresStorage
from dagster_postgres.utils import DagsterPostgresException

from pipelines.runtime.dagster_environment import APPLICATION_NAME, DAGSTER_SCHEMA, require_storage_url
from resources.database.session_settings import SETTINGS, set_up_pools_of

STATEMENT_TIMEOUT_MS = 60_000
CONNECTION_MAX_AGE_SECONDS = 3600
MAX_EXTRA_CONNECTIONS = 20
CODE_SERVERS_THREAD = "grpc-server-cleanup"
"""Dagster's name of the thread; a test fails when it changes."""
DATABASE_POLL_SECONDS = 1.0
DATABASE_WAIT_SECONDS = 120
"""Less than the 180 seconds that Dagster gives a code server to start."""

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

        While the database is away, waits. A code server that starts without it has no code until the next reload, and
        runs that leave the queue meanwhile fail for good. The code server's thread that fails the runs of dead
        processes waits without an end: an error would end it.

        Args:
            inst_data: what the instance is built from.
            _config_value: empty.
        """
        may_end = threading.current_thread().name != CODE_SERVERS_THREAD
        storage: KeptConnectionsStorage = tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(DagsterPostgresException),
            stop=tenacity.stop_after_delay(DATABASE_WAIT_SECONDS) if may_end else tenacity.stop_never,
            wait=tenacity.wait_fixed(DATABASE_POLL_SECONDS),
            reraise=True,
        )(cls, require_storage_url(), inst_data=inst_data)
        return storage


set_up_pools_of(APPLICATION_NAME, _SETTINGS)
