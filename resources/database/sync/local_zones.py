"""The zone by which a session's local times are computed, whatever the order in which sessions arrive.

A session's own zone counts, else a fixed offset in its text. A session with neither borrows: the zone of the user's
latest earlier session that has one, else of the earliest later one, else the registered zone, else UTC. Sessions
deleted at the source lend nothing.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, tzinfo
from typing import Any

from sqlalchemy import Connection, RowMapping, func, update

from resources.database.nights.assign import ChangedSession, assign_nights
from resources.database.schema.tables import sleep_sessions
from resources.load_sql import as_table, load_sql
from resources.local_time import UTC_ZONE, local_zone, on_the_clock

ON_THE_CLOCK = {
    "session_start_local": "session_start_time",
    "session_end_local": "session_end_time",
    "sleep_time_local": "sleep_time",
    "wake_time_local": "wake_time",
}
"""Columns that hold what the local clock showed at the moment in another column."""
BORROWED = frozenset({"earlier", "later", "registered", "utc"})  # sources of a zone that is not the session's


def local_columns(moments: Mapping[str, Any], zone_name: str, zone_source: str) -> dict[str, Any]:
    """Every column of a session that depends on its zone.

    Args:
        moments: the session's values by column, at least those that `ON_THE_CLOCK` names; null where missing.
        zone_name: name of the zone; one that the zone database lacks counts as UTC.
        zone_source: where the zone comes from, stored as `zone_source`.
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


def own_zone(text: str | None) -> tuple[str, str]:
    """Name and source of the zone that a session or user has; UTC where the text names none."""
    found = local_zone(text)
    return (found.name, found.source) if found else (UTC_ZONE, "utc")


def settle_local_zones(connection: Connection, user_ids: Iterable[str]) -> None:
    """Give every session of these users that borrows a zone the right one, and assign those that changed to nights.

    Belongs at the end of every transaction that stores or deletes sessions or changes a registered zone. The caller
    holds the users (`Registry.hold`), so that two transactions do not each miss the other's sessions.

    Args:
        connection: in the caller's transaction.
        user_ids: of users with changed sessions or another registered zone.
    """
    borrowing = connection.execute(load_sql(__package__, "borrowed_zones"), {"user_ids": sorted(set(user_ids))})
    found = [(dict(row), *_zone_to_borrow(row)) for row in borrowing.mappings()]
    right = [
        {"session_id": row["session_id"], **local_columns(row, zone, source)}
        for row, zone, source in found
        if (zone, source) != (row["local_zone"], row["zone_source"])
    ]
    if right:
        stored = sleep_sessions.c
        given = as_table([stored[name] for name in right[0]], [tuple(row.values()) for row in right]).c
        values = {name: given[name] for name in right[0] if name != "session_id"} | {"updated_at": func.now()}
        connection.execute(update(sleep_sessions).where(stored.session_id == given.session_id).values(values))
        assign_nights(connection, [ChangedSession(row["session_id"]) for row in right])


def _zone_to_borrow(row: RowMapping) -> tuple[str, str]:
    """Zone and source."""
    for source in ("earlier", "later"):
        if row[source] is not None:
            return row[source], source
    zone, source = own_zone(row["registered"])
    return zone, "utc" if source == "utc" else "registered"
