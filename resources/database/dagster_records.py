"""Records of Dagster's that it has no call to remove: what a deleted run leaves behind, and events without a run."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Connection, func, select, text

from resources.load_sql import load_sql

_REMOVE_CHECKS = text("DELETE FROM dagster.asset_check_executions WHERE run_id = ANY (:run_ids)")


def has_records(connection: Connection) -> bool:
    """Return whether Dagster's tables are in this database."""
    return connection.scalar(select(func.to_regclass("dagster.event_logs"))) is not None


def remove_records(connection: Connection, run_ids: Sequence[str], before: datetime) -> int:
    """Remove evaluations of checks of deleted runs, and old materialisations and evaluations without a run.

    Args:
        connection: in a transaction.
        run_ids: of the runs deleted.
        before: aware; later events stay, and the newest of each partition.

    Returns:
        The number of events without a run that were removed.
    """
    if not has_records(connection):
        return 0
    connection.execute(_REMOVE_CHECKS, {"run_ids": list(run_ids)})
    return connection.scalar(load_sql(__package__, "remove_runless_events"), {"before": before}) or 0
