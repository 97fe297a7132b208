"""Which session belongs to which night: assigned anew, in the writer's transaction, where sessions changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from resources.load_sql import load_sql

_USERS_AT_ONCE = 200

_WITHOUT_COMPILATION = text("SET LOCAL jit = off")
"""The planner overrates the statement, and compiling it takes longer than running it."""


class ChangedSession(NamedTuple):
    """A session that was written, and whose it was and where it lay in time before; nothing more of a new one."""

    session_id: str
    former_user: str | None = None
    first: datetime | None = None
    last: datetime | None = None


def assign_nights(connection: Connection, changed: Sequence[ChangedSession]) -> int:
    """Assign the changed sessions and their neighbours to nights, and mark the months of all of them stale.

    The caller holds the users (`hold_registered`), so that of two transactions the later one finds the sessions of the
    other one.

    Args:
        connection: in the transaction that changed the sessions.
        changed: every session that was inserted, updated, or marked deleted.

    Returns:
        How many sessions belong to another night, or play another role in it, than stored before.
    """
    if not changed:
        return 0
    connection.execute(_WITHOUT_COMPILATION)
    parameters = {
        "session_ids": [each.session_id for each in changed],
        "former_users": [each.former_user for each in changed],
        "firsts": [each.first for each in changed],
        "lasts": [each.last for each in changed],
    }
    return connection.scalar(load_sql(__package__, "assign_nights"), parameters) or 0


def assign_new_nights(connection: Connection) -> None:
    """Assign the sessions that no writer has assigned: those stored before there were nights."""
    while ids := connection.scalars(load_sql(__package__, "unassigned_sessions"), {"users": _USERS_AT_ONCE}).all():
        assign_nights(connection, [ChangedSession(session_id) for session_id in ids])
