"""The registry of users: who is synced. The Asleep API cannot list users, so this table is the only list.

Lives here: registering, importing, knowing who was erased.  Not here: files, the API.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from resources.database.sync.local_zones import settle_local_zones
from resources.load_sql import load_sql

_CHUNK = 5000

_HOLD = text("SELECT user_id FROM asleep.users WHERE user_id = ANY(:ids) ORDER BY user_id FOR NO KEY UPDATE")


class RegisteredUser(NamedTuple):
    """A row of the registry, as an operator sees it."""

    user_id: str
    timezone: str | None
    active: bool
    gone_at: datetime | None
    last_synced_at: datetime | None
    source: str


class Imported(NamedTuple):
    """What became of the users handed in, duplicates folded."""

    new: int
    updated: int
    unchanged: int
    erased: int = 0
    """Left out, because they were erased here."""


def register_users(connection: Connection, ids: Iterable[str], source: str) -> frozenset[str]:
    """Add users who are not known yet; those who were erased stay away.

    Args:
        connection: open, in a transaction.
        ids: users, in any order, repeated or not.
        source: how we learnt of them, such as `webhook`.

    Returns:
        The users who are new.
    """
    wanted = set(ids)
    wanted -= erased_among(connection, wanted)
    if not wanted:
        return frozenset()
    return frozenset(
        connection.scalars(load_sql(__package__, "register_users"), {"ids": sorted(wanted), "source": source})
    )


def import_users(connection: Connection, users: Iterable[tuple[str, str | None]], *, again: bool = False) -> Imported:
    """Add users and their time zones on a person's word, which also brings back those taken for gone.

    A user without a zone keeps the one that is stored. Repeating an import changes nothing.

    Args:
        connection: open, in a transaction.
        users: pairs of user id and time zone; of several pairs for one user the last zone counts.
        again: register also those who were erased here.
    """
    folded: dict[str, str | None] = {}
    for user_id, timezone in users:
        folded[user_id] = timezone or folded.get(user_id)
    erased = frozenset() if again else erased_among(connection, folded)
    ids = sorted(folded.keys() - erased)
    inserted: list[bool] = []
    for first in range(0, len(ids), _CHUNK):
        chunk = ids[first : first + _CHUNK]
        values = {"ids": chunk, "timezones": [folded[user_id] for user_id in chunk]}
        inserted.extend(connection.scalars(load_sql(__package__, "import_users"), values))
        settle_local_zones(connection, chunk)
    return Imported(sum(inserted), len(inserted) - sum(inserted), len(ids) - len(inserted), len(erased))


def hold_registered(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of the users who are registered. Until the transaction ends no other one erases them or stores for them."""
    return set(connection.scalars(_HOLD, {"ids": sorted(set(ids))}))


def erased_among(connection: Connection, ids: Iterable[str]) -> frozenset[str]:
    """Those of the users who were erased here and not registered again on purpose."""
    wanted = sorted(set(ids))
    return (
        frozenset(connection.scalars(load_sql(__package__, "erased_among"), {"ids": wanted})) if wanted else frozenset()
    )


def some_other_users(connection: Connection, besides: Iterable[str], most: int) -> list[str]:
    """A few active users, those synced last first."""
    query = text(
        "SELECT user_id FROM asleep.users WHERE is_synced AND user_id <> ALL (:besides) "
        "ORDER BY last_synced_at DESC NULLS LAST, user_id LIMIT :most"
    )
    return list(connection.scalars(query, {"besides": sorted(besides), "most": most}))


def list_users(connection: Connection) -> list[RegisteredUser]:
    """Return all registered users, by id."""
    query = text("SELECT user_id, timezone, active, gone_at, last_synced_at, source FROM asleep.users ORDER BY user_id")
    return [RegisteredUser(*row) for row in connection.execute(query)]


def find_users(connection: Connection, names: Iterable[str]) -> dict[str, str | None]:
    """Find registered users by id or by pseudonym, as `status` and failed runs show it.

    Args:
        connection: open.
        names: ids or pseudonyms.

    Returns:
        The id that belongs to each name; None where no user is registered under it.
    """
    rows = connection.execute(text("SELECT user_id, asleep.pseudonym(user_id) AS name FROM asleep.users")).all()
    known = {row.name: row.user_id for row in rows} | {row.user_id: row.user_id for row in rows}
    return {name: known.get(name) for name in names}


def set_active(connection: Connection, ids: Iterable[str], *, active: bool) -> int:
    """Switch the sync of users on or off; returns how many were switched."""
    query = text("UPDATE asleep.users SET active = :active WHERE user_id = ANY (:ids) AND active <> :active")
    return connection.execute(query, {"ids": sorted(set(ids)), "active": active}).rowcount


def users_by_presence(connection: Connection) -> dict[str, bool]:
    """All users, those set inactive included, with whether the API was seen not to know them any more."""
    query = text("SELECT user_id, gone_at IS NOT NULL FROM asleep.users ORDER BY user_id")
    return dict(tuple(row) for row in connection.execute(query))


def note_return(connection: Connection, ids: Iterable[str]) -> int:
    """Users once taken for gone whom the API knows after all are synced again; returns how many."""
    query = text("UPDATE asleep.users SET gone_at = NULL WHERE user_id = ANY (:ids) AND gone_at IS NOT NULL")
    return connection.execute(query, {"ids": sorted(ids)}).rowcount


def user_with_most_sessions(connection: Connection) -> str | None:
    """A synced user with many slept sessions; None when no user is registered."""
    query = text(
        "SELECT u.user_id FROM asleep.users AS u LEFT JOIN asleep.sleep_sessions AS s "
        "ON s.user_id = u.user_id AND s.slept WHERE u.is_synced "
        "GROUP BY u.user_id ORDER BY count(s.session_id) DESC, u.user_id LIMIT 1"
    )
    found: str | None = connection.scalar(query)
    return found
