"""The registry of users, which decides who is synced: the Asleep API cannot list users."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.tables import users
from resources.database.sync.local_zones import settle_local_zones
from resources.load_sql import load_sql

_CHUNK = 5000

_HOLD = text("SELECT user_id FROM asleep.users WHERE user_id = ANY(:ids) ORDER BY user_id FOR NO KEY UPDATE")
_ALL = text("SELECT user_id, timezone, active, gone_at, last_synced_at, source FROM asleep.users ORDER BY user_id")
_NAMES = text("SELECT user_id, asleep.pseudonym(user_id) AS name FROM asleep.users")
_OTHERS = text(
    "SELECT user_id FROM asleep.users WHERE is_synced AND user_id <> ALL (:besides) "
    "ORDER BY last_synced_at DESC NULLS LAST, user_id LIMIT :most"
)
_SWITCH = text("UPDATE asleep.users SET active = :active WHERE user_id = ANY (:ids) AND active <> :active")
_UNMARK = text("UPDATE asleep.users SET gone_at = NULL WHERE user_id = ANY (:ids) AND gone_at IS NOT NULL")
_WITH_MOST_SESSIONS = text(
    "SELECT u.user_id FROM asleep.users AS u LEFT JOIN asleep.sleep_sessions AS s "
    "ON s.user_id = u.user_id AND s.slept WHERE u.is_synced "
    "GROUP BY u.user_id ORDER BY count(s.session_id) DESC, u.user_id LIMIT 1"
)


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


class Registry:
    """The table `asleep.users`, over a connection that is in a transaction when something is written."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def register(self, ids: Iterable[str], source: str) -> frozenset[str]:
        """Register users who are not registered yet, except those who were erased; returns the new ones.

        Args:
            ids: users, in any order; may be repeated.
            source: where they come from, such as `webhook`.
        """
        wanted = set(ids)
        rows = [{"user_id": user_id, "source": source} for user_id in sorted(wanted - self.erased_among(wanted))]
        statement = insert(users).on_conflict_do_nothing().returning(users.c.user_id)
        return frozenset(self._connection.scalars(statement, rows)) if rows else frozenset()

    def add(self, users: Iterable[tuple[str, str | None]], *, again: bool = False) -> Imported:
        """Register users with their time zones, or update them; the mark of users marked as gone is removed.

        A user without a zone keeps the stored one. Repeating an import changes nothing.

        Args:
            users: pairs of user id and time zone; of several pairs for one user the last zone counts.
            again: also register users who were erased here.
        """
        folded: dict[str, str | None] = {}
        for user_id, timezone in users:
            folded[user_id] = timezone or folded.get(user_id)
        erased = frozenset() if again else self.erased_among(folded)
        ids = sorted(folded.keys() - erased)
        inserted: list[bool] = []
        for first in range(0, len(ids), _CHUNK):
            chunk = ids[first : first + _CHUNK]
            values = {"ids": chunk, "timezones": [folded[user_id] for user_id in chunk]}
            inserted.extend(self._connection.scalars(load_sql(__package__, "import_users"), values))
            settle_local_zones(self._connection, chunk)
        return Imported(sum(inserted), len(inserted) - sum(inserted), len(ids) - len(inserted), len(erased))

    def hold(self, ids: Iterable[str]) -> set[str]:
        """Lock users until the transaction ends, so that no other one erases them; returns those registered."""
        return set(self._connection.scalars(_HOLD, {"ids": sorted(set(ids))}))

    def erased_among(self, ids: Iterable[str]) -> frozenset[str]:
        """Those of the users who were erased here and not registered again."""
        wanted = sorted(set(ids))
        if not wanted:
            return frozenset()
        return frozenset(self._connection.scalars(load_sql(__package__, "erased_among"), {"ids": wanted}))

    def some_others(self, besides: Iterable[str], most: int) -> list[str]:
        """A few synced users, the most recently synced first.

        Args:
            besides: users to leave out.
            most: how many at most.
        """
        return list(self._connection.scalars(_OTHERS, {"besides": sorted(besides), "most": most}))

    def users(self) -> list[RegisteredUser]:
        """All registered users, by id."""
        return [RegisteredUser(*row) for row in self._connection.execute(_ALL)]

    def presence(self) -> dict[str, bool]:
        """All users, inactive ones included, and whether each is marked as gone at the source."""
        return {user.user_id: user.gone_at is not None for user in self.users()}

    def find(self, names: Iterable[str]) -> dict[str, str | None]:
        """The ids of users by id or by the pseudonym that `status` and failed runs show; None for an unknown name."""
        rows = self._connection.execute(_NAMES).all()
        known = {row.name: row.user_id for row in rows} | {row.user_id: row.user_id for row in rows}
        return {name: known.get(name) for name in names}

    def set_active(self, ids: Iterable[str], *, active: bool) -> int:
        """Switch the sync of users on or off; returns how many changed.

        Args:
            ids: the users.
            active: True: they are synced.
        """
        return self._connection.execute(_SWITCH, {"ids": sorted(set(ids)), "active": active}).rowcount

    def note_return(self, ids: Iterable[str]) -> int:
        """Unmark users marked as gone whom the API returns again; returns how many were marked."""
        return self._connection.execute(_UNMARK, {"ids": sorted(ids)}).rowcount

    def with_most_sessions(self) -> str | None:
        """The synced user with the most slept sessions; None when no user is synced."""
        found: str | None = self._connection.scalar(_WITH_MOST_SESSIONS)
        return found
