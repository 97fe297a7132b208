"""Applies a record of erasures to a restored backup, which holds users who were erased after it was made."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from resources.database.users.erase import erase
from resources.load_sql import load_sql


class Erasure(NamedTuple):
    """One row of the record of erasures."""

    user_pseudonym: str
    reason: str
    erased_at: datetime


_ALL = text("SELECT user_pseudonym, reason, erased_at FROM asleep.erasures ORDER BY erasure_id")


def list_erasures(connection: Connection) -> list[Erasure]:
    """Return the whole record, oldest first."""
    return [Erasure(*row) for row in connection.execute(_ALL)]


def apply_erasures(connection: Connection, erasures: Iterable[Erasure]) -> int:
    """Erase each user in the record who is stored here; record the others, so that webhooks do not register them again.

    An erasure that this database already records is skipped: its user may have been registered again on purpose.

    Args:
        connection: in a transaction of isolation READ COMMITTED.
        erasures: of the same installation, because pseudonyms depend on its key.

    Returns:
        How many users were erased.
    """
    newest = {erasure.user_pseudonym: erasure for erasure in sorted(erasures, key=lambda erasure: erasure.erased_at)}
    missing = {
        name: erasure
        for name, erasure in newest.items()
        if connection.execute(load_sql(__package__, "record_erasure_made_elsewhere"), erasure._asdict()).rowcount
    }
    stored = connection.execute(load_sql(__package__, "stored_users_by_pseudonym"), {"names": sorted(missing)}).all()
    for user_id, name in stored:
        erase(connection, user_id, missing[name].reason)
    return len(stored)
