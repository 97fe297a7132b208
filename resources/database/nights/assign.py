"""Which session belongs to which night: assigned anew, in the writer's transaction, where sessions changed."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from resources.load_sql import load_sql

_WITHOUT_COMPILATION = text("SET LOCAL jit = off")
"""The planner overrates the statement, and compiling it takes longer than running it."""


_WITHOUT_NIGHTS = text(
    "SELECT DISTINCT user_id FROM asleep.sleep_sessions WHERE slept AND night_role IS NULL ORDER BY user_id LIMIT :most"
)
_SESSIONS_OF_USERS = text("SELECT session_id FROM asleep.sleep_sessions WHERE user_id = ANY (:user_ids)")


class ChangedSession(NamedTuple):
    """A session that was written, and whose it was and where it lay in time before; nothing more of a new one."""

    session_id: str
    former_user: str | None = None
    first: datetime | None = None
    last: datetime | None = None


def assign_nights(connection: Connection, changed: Sequence[ChangedSession]) -> int:
    """Assign the changed sessions and their neighbours to nights, and mark the months of all of them stale.

    The caller holds the users (`Registry.hold`), so that of two transactions the later one finds the sessions of the
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


def users_without_nights(connection: Connection, most: int | None = None) -> list[str]:
    """Users with slept sessions that no writer has assigned to a night: stored before there were nights.

    Args:
        connection: to read with.
        most: at most this many users; None for all.
    """
    return list(connection.scalars(_WITHOUT_NIGHTS, {"most": most}))


def assign_all_nights(connection: Connection, user_ids: Sequence[str]) -> None:
    """Assign every session of some users.

    Args:
        connection: in a transaction that holds the users (`Registry.hold`).
        user_ids: the users.
    """
    session_ids = connection.scalars(_SESSIONS_OF_USERS, {"user_ids": list(user_ids)})
    assign_nights(connection, [ChangedSession(session_id) for session_id in session_ids])
