"""Retention of the change feed; the feed itself is kept by triggers and read by `asleep.changes_since()`."""

from datetime import datetime

from sqlalchemy import Connection

from resources.load_sql import load_sql


def prune_changes(connection: Connection, *, before: datetime) -> int:
    """Remove changes made before a moment; readers whose position is older have to copy anew.

    Args:
        connection: in a transaction.
        before: aware.

    Returns:
        How many were removed.
    """
    return connection.scalar(load_sql(__package__, "prune_changes"), {"before": before}) or 0
