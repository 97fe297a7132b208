"""The zone by which a session's local times are computed, whatever the order in which sessions arrive.

A session's own zone counts, else a fixed offset in its text. A session with neither borrows: the zone of the user's
latest earlier session that has one, else of the earliest later one, else the registered zone, else UTC. Sessions
deleted at the source lend nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any

from sqlalchemy import Connection

from resources.database.nights.assign import ChangedSession, assign_nights
from resources.load_sql import load_sql
from resources.local_time import UTC_ZONE, local_zone, on_the_clock

ON_THE_CLOCK = {
    "session_start_local": "session_start_time",
    "session_end_local": "session_end_time",
    "sleep_time_local": "sleep_time",
    "wake_time_local": "wake_time",
}
"""Columns that hold what the local clock showed at the moment in another column."""
BORROWED = frozenset({"earlier", "later", "registered", "utc"})
"""Values of `zone_source` of sessions without a zone of their own."""


def local_columns(moments: Mapping[str, Any], zone_name: str, zone_source: str) -> dict[str, Any]:
    """Every column of a session that depends on its zone.

    Args:
        moments: values of the columns named in `ON_THE_CLOCK`; those that are missing count as null.
        zone_name: as `local_zone` names a zone; a name that the zone database lacks counts as UTC.
        zone_source: where the zone comes from.
    """
    known = local_zone(zone_name)
    zone: tzinfo = known.tzinfo if known else UTC
    clocks = {column: on_the_clock(moments.get(source), zone) for column, source in ON_THE_CLOCK.items()}
    start = clocks["session_start_local"]
    assert start is not None  # noqa: S101 a session has a start
    return {
        **clocks,
        "local_date": start.date(),
        "local_month": start.date().replace(day=1),
        "local_zone": zone_name,
        "zone_source": zone_source,
    }


def own_zone(created_timezone: str | None) -> tuple[str, str]:
    """Name and source of a session's own zone; UTC until its neighbours are known, when it has none."""
    found = local_zone(created_timezone)
    return (found.name, found.source) if found else (UTC_ZONE, "utc")


def borrowed_zones(connection: Connection, session_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Name and source of the zone that each of these sessions, as far as they are stored, borrows now.

    Args:
        connection: to read with.
        session_ids: sessions without a zone of their own.
    """
    wanted = sorted(session_ids)
    rows = connection.execute(load_sql(__package__, "borrowed_zones"), {"session_ids": wanted}) if wanted else ()
    return {row.session_id: (row.local_zone, row.zone_source) for row in rows}


def settle_local_zones(connection: Connection, user_ids: Iterable[str]) -> int:
    """Give every session of these users that borrows a zone the right one, and assign those that changed to nights.

    Belongs at the end of every transaction that stores or deletes sessions or changes a registered zone. The caller
    holds the users (`Registry.hold`), so that two transactions do not each miss the other's sessions.

    Args:
        connection: in a transaction.
        user_ids: whose sessions changed.

    Returns:
        How many sessions have another zone than before.
    """
    wanted = sorted(set(user_ids))
    borrowers = connection.execute(load_sql(__package__, "users_who_borrow_zones"), {"user_ids": wanted}).all()
    if not borrowers:
        return 0
    fallbacks = [_fallback(row.timezone) for row in borrowers]
    wrong = connection.execute(
        load_sql(__package__, "wrong_zones"),
        {
            "user_ids": [row.user_id for row in borrowers],
            "zones": [zone for zone, _ in fallbacks],
            "sources": [source for _, source in fallbacks],
        },
    ).mappings()
    rows = [{"session_id": row["session_id"], **local_columns(dict(row), row["zone"], row["source"])} for row in wrong]
    if not rows:
        return 0
    arrays = {name: [row[name] for row in rows] for name in rows[0]}
    changed = connection.scalars(load_sql(__package__, "change_zones"), arrays).all()
    assign_nights(connection, [ChangedSession(session_id) for session_id in changed])
    return len(changed)


def _fallback(registered: str | None) -> tuple[str, str]:
    found = local_zone(registered)
    return (found.name, "registered") if found else (UTC_ZONE, "utc")
