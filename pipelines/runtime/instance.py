"""Dagster's instance, for a process that runs jobs itself.

Lives here: how its connections are kept.  Not here: where it is (`dagster.yaml`), jobs.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from dagster_postgres.event_log import PostgresEventLogStorage
from dagster_postgres.run_storage import PostgresRunStorage
from sqlalchemy import create_engine


@contextmanager
def open_instance() -> Iterator[dg.DagsterInstance]:
    """The instance that `dagster.yaml` describes, with connections that are kept.

    Dagster opens one anew for every event it stores: 500 in a sync of two months, and most of its time. Its own
    remedy, `optimize_for_webserver`, would fail after a restart of the database, so each connection is tried first.
    """
    with dg.DagsterInstance.get() as instance:
        for storage in (instance.run_storage, instance.event_log_storage):
            if isinstance(storage, PostgresRunStorage | PostgresEventLogStorage):
                _keep_connections(storage)
        yield instance


def _keep_connections(storage: Any) -> None:
    url = storage._engine.url  # noqa: SLF001 Dagster has no other way
    storage._engine = create_engine(url, isolation_level="AUTOCOMMIT", pool_pre_ping=True)  # noqa: SLF001
