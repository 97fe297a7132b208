"""How complete the tables are, in figures without ids."""

from dataclasses import dataclass

from sqlalchemy import Connection

from resources.load_sql import load_sql


@dataclass(frozen=True, slots=True)
class Completeness:
    """What is missing, and for how long."""

    missing_data: int
    """Users and sessions that could not be synced."""
    never_synced_users: int
    oldest_sync_seconds: float
    """Age of the last sync of the active user who has waited longest; 0 without such a user."""


def read_completeness(connection: Connection) -> Completeness:
    """Read the figures; one scan of the users."""
    row = connection.execute(load_sql(__package__, "completeness")).one()
    return Completeness(row.missing_data, row.never_synced_users, float(row.oldest_sync_seconds))
