"""What is missing in the tables, as a person may see it: users by pseudonym."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from resources.load_sql import load_sql
from resources.pseudonyms import pseudonym

MAX_SHOWN = 20


class Missing(NamedTuple):
    """A user or session that is missing, without an id."""

    user: str
    what: str
    """`list` when the user's list could not be read, `one` for one session."""
    kind: str
    attempts: int
    since: datetime
    message: str


def read_missing_data(connection: Connection, user_ids: Sequence[str] = ()) -> tuple[int, list[Missing]]:
    """Return how many users and sessions are missing, and the first `MAX_SHOWN` of them.

    Args:
        connection: to read with.
        user_ids: only these users; none for all.
    """
    values = {"user_ids": list(user_ids) or None, "most": MAX_SHOWN}
    found = connection.execute(load_sql(__package__, "missing_data"), values).all()
    missing = [
        Missing(
            pseudonym(row.user_id), "list" if row.session_id is None else "one",
            row.kind, row.attempts, row.first_failed_at, row.message,
        )
        for row in found
    ]  # fmt: skip
    return (found[0].waiting if found else 0), missing
