"""The registry of users, which decides who is synced: the Asleep API cannot list users."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text

from resources.database.sync.local_zones import settle_local_zones
from resources.load_sql import load_sql

_CHUNK = 5000

_HOLD = text("SELECT user_id FROM asleep.users WHERE user_id = ANY(:ids) ORDER BY user_id FOR NO KEY UPDATE")


class RegisteredUser(NamedTuple):
    """A row of the registry, for operators."""

    user_id: str
    timezone: str | None
    active: bool
    gone_at: datetime | None
    last_synced_at: datetime | None
    source: str


class Imported(NamedTuple):
    """What an import did; a repeated user counts once."""

    new: int
    updated: int
    unchanged: int
    erased: int = 0
    """Not registered, because they were erased here."""


def register_users(connection: Connection, ids: Iterable[str], source: str) -> frozenset[str]:
    """Register users who are not registered yet, except those who were erased.

    Args:
        connection: in a transaction.
        ids: users, in any order; may be repeated.
        source: where they come from, such as `webhook`.

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
    """Register users with their time zones; the mark of users marked as gone is removed.

    A user without a zone keeps the stored one. Repeating an import changes nothing.

    Args:
        connection: in a transaction.
        users: pairs of user id and time zone; of several pairs for one user the last zone counts.
        again: also register users who were erased here.
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
    """Lock users until the transaction ends, so that no other one erases them or stores sessions of them.

    Args:
        connection: in a transaction.
        ids: the users.

    Returns:
        Those of them who are registered.
    """
    return set(connection.scalars(_HOLD, {"ids": sorted(set(ids))}))


def erased_among(connection: Connection, ids: Iterable[str]) -> frozenset[str]:
    """Return those of the users who were erased here and not registered again.

    Args:
        connection: to read with.
        ids: the users.
    """
    wanted = sorted(set(ids))
    return (
        frozenset(connection.scalars(load_sql(__package__, "erased_among"), {"ids": wanted})) if wanted else frozenset()
    )


def some_other_users(connection: Connection, besides: Iterable[str], most: int) -> list[str]:
    """Return a few synced users, the most recently synced first.

    Args:
        connection: to read with.
        besides: users to leave out.
        most: how many at most.
    """
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
    """Find registered users by id or by the pseudonym that `status` and failed runs show.

    Args:
        connection: to read with.
        names: ids or pseudonyms.

    Returns:
        The id that belongs to each name; None where no user is registered under it.
    """
    rows = connection.execute(text("SELECT user_id, asleep.pseudonym(user_id) AS name FROM asleep.users")).all()
    known = {row.name: row.user_id for row in rows} | {row.user_id: row.user_id for row in rows}
    return {name: known.get(name) for name in names}


def set_active(connection: Connection, ids: Iterable[str], *, active: bool) -> int:
    """Switch the sync of users on or off; returns how many changed.

    Args:
        connection: in a transaction.
        ids: the users.
        active: True: they are synced.
    """
    query = text("UPDATE asleep.users SET active = :active WHERE user_id = ANY (:ids) AND active <> :active")
    return connection.execute(query, {"ids": sorted(set(ids)), "active": active}).rowcount


def users_by_presence(connection: Connection) -> dict[str, bool]:
    """Return all users, inactive ones included, and whether each is marked as gone at the source."""
    query = text("SELECT user_id, gone_at IS NOT NULL FROM asleep.users ORDER BY user_id")
    return dict(tuple(row) for row in connection.execute(query))


def note_return(connection: Connection, ids: Iterable[str]) -> int:
    """Unmark users marked as gone whom the API returns again; returns how many were marked.

    Args:
        connection: in a transaction.
        ids: users whom the API returns.
    """
    query = text("UPDATE asleep.users SET gone_at = NULL WHERE user_id = ANY (:ids) AND gone_at IS NOT NULL")
    return connection.execute(query, {"ids": sorted(ids)}).rowcount


def user_with_most_sessions(connection: Connection) -> str | None:
    """Return the synced user with the most slept sessions; None when no user is synced."""
    query = text(
        "SELECT u.user_id FROM asleep.users AS u LEFT JOIN asleep.sleep_sessions AS s "
        "ON s.user_id = u.user_id AND s.slept WHERE u.is_synced "
        "GROUP BY u.user_id ORDER BY count(s.session_id) DESC, u.user_id LIMIT 1"
    )
    found: str | None = connection.scalar(query)
    return found
