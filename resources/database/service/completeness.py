"""How complete the tables are, in figures without ids."""

from typing import NamedTuple

from sqlalchemy import Connection

from resources.load_sql import load_sql


class Completeness(NamedTuple):
    """What is missing, and for how long."""

    missing_data: int
    """Users and sessions that could not be synced."""
    never_synced_users: int
    oldest_sync_seconds: float
    """Age of the last sync of the active user who has waited longest; 0 without such a user."""


def read_completeness(connection: Connection) -> Completeness:
    """Read the figures; one scan of the users."""
    return Completeness(*connection.execute(load_sql(__package__, "completeness")).one())
