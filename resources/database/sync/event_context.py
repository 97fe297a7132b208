"""What our tables already know about the sessions that events name, and which of them are known from an event alone.

Lives here: reading and noting that.  Not here: what follows from it.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, text

from resources.load_sql import load_sql


@dataclass(frozen=True, slots=True)
class KnownSession:
    """A session as far as it is stored."""

    user_id: str
    is_final: bool
    """COMPLETE and read in full."""
    is_deleted: bool
    """Found deleted at the source."""


def known_sessions(connection: Connection, session_ids: Iterable[str]) -> dict[str, KnownSession]:
    """Those of the sessions that are stored."""
    wanted = sorted(set(session_ids))
    if not wanted:
        return {}
    rows = connection.execute(load_sql(__package__, "known_sessions"), {"ids": wanted})
    return {row.session_id: KnownSession(row.user_id, row.is_final, row.is_deleted) for row in rows}


_UNVERIFIED = text("""
INSERT INTO asleep.event_only_sessions (session_id)
SELECT session_id FROM unnest(CAST(:ids AS text[])) AS of_events (session_id) ORDER BY session_id
ON CONFLICT (session_id) DO NOTHING
""")
_VERIFIED = text("DELETE FROM asleep.event_only_sessions WHERE session_id = ANY (:ids)")


def note_event_only(connection: Connection, session_ids: Iterable[str]) -> None:
    """These sessions were stored from an event: the next sync reads them once from the API."""
    if wanted := sorted(set(session_ids)):
        connection.execute(_UNVERIFIED, {"ids": wanted})


def note_verified(connection: Connection, session_ids: Iterable[str]) -> None:
    """These sessions were read from the API."""
    if wanted := sorted(set(session_ids)):
        connection.execute(_VERIFIED, {"ids": wanted})
