"""Records of Dagster's that it has no call to remove: what a deleted run leaves behind, and events without a run."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select

from resources.load_sql import load_sql


def has_records(connection: Connection) -> bool:
    """Return whether Dagster's tables are in this database."""
    return connection.scalar(select(func.to_regclass("dagster.event_logs"))) is not None


def remove_check_executions(connection: Connection, run_ids: Sequence[str]) -> None:
    """Remove the evaluations of checks that belong to runs.

    Args:
        connection: in a transaction.
        run_ids: of the runs deleted.
    """
    connection.execute(load_sql(__package__, "remove_check_executions"), {"run_ids": list(run_ids)})


def remove_runless_events(connection: Connection, before: datetime) -> int:
    """Remove materialisations and evaluations that were reported outside of a run, but the newest of each partition.

    Args:
        connection: in a transaction.
        before: aware; later ones stay.

    Returns:
        How many.
    """
    return connection.scalar(load_sql(__package__, "remove_runless_events"), {"before": before}) or 0
