"""Write sessions and payloads with COPY and one INSERT … ON CONFLICT, then assign them to nights."""

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.schema import CreateTable

from resources.database.copy import copy_in
from resources.database.nights.assign import ChangedSession, assign_nights
from resources.database.schema.tables import OWN_NIGHT_DATE, session_payloads, sleep_sessions
from resources.database.sync.local_zones import BORROWED, local_columns, settle_local_zones
from resources.database.sync.stored_sessions import StoredSessions
from resources.load_sql import any_of

_SLEPT, _DOUBTFUL = (
    f"({computed.sqltext})" for name in ("slept", "doubtful") if (computed := sleep_sessions.c[name].computed)
)
_NIGHT_ALONE = {
    "night_date": OWN_NIGHT_DATE,
    "episode_id": f"CASE WHEN {_SLEPT} AND NOT {_DOUBTFUL} THEN session_id END",
    "episode_sessions": f"CASE WHEN {_SLEPT} AND NOT {_DOUBTFUL} THEN 1 END",
    "night_role": f"CASE WHEN {_SLEPT} AND {_DOUBTFUL} THEN 'doubtful' WHEN {_SLEPT} THEN 'main' END",
}
"""The night of a session without neighbours, which most are. `assign_nights` corrects the others."""

_KEPT_BY_THE_DATABASE = {"created_at", "updated_at", "deleted_at", "deletion_checked_at", *_NIGHT_ALONE}
SESSION_COLUMNS: tuple[str, ...] = tuple(
    c.name for c in sleep_sessions.c if c.computed is None and c.name not in _KEPT_BY_THE_DATABASE
)
"""Values of a row for `upsert_sessions`, in this order, followed by the raw `result` (text or None)."""

_incoming = sa.Table(
    "incoming_sessions",
    sa.MetaData(),
    *(sa.Column(name, sleep_sessions.c[name].type) for name in SESSION_COLUMNS),
    sa.Column("result", session_payloads.c.result.type),
    prefixes=["TEMPORARY"],
    postgresql_on_commit="DELETE ROWS",
)
_ID, _FETCHED_AT = SESSION_COLUMNS.index("session_id"), SESSION_COLUMNS.index("fetched_at")
_USER, _ZONE_SOURCE = SESSION_COLUMNS.index("user_id"), SESSION_COLUMNS.index("zone_source")
_NOT_COMPARED = {"session_id", "fetched_at"}
_KEPT_WHEN_NOT_ASKED = {"last_received_seq_num"}  # known from the list only: an answer that lacks it does not forget it


def disputed_sessions(connection: sa.Connection, rows: Iterable[tuple[Any, ...]]) -> dict[str, set[str]]:
    """Sessions that more than one user has, by these rows or by what is stored.

    Args:
        connection: reads; writes nothing.
        rows: rows of sessions, in the order of `SESSION_COLUMNS`.

    Returns:
        The users, by session id.
    """
    users: dict[str, set[str]] = {}
    for row in rows:
        users.setdefault(row[_ID], set()).add(row[_USER])
    stored = sleep_sessions.c
    query = sa.select(stored.session_id, stored.user_id).where(any_of(stored.session_id, users))
    for session_id, user_id in connection.execute(query):
        users[session_id].add(user_id)
    return {session_id: owners for session_id, owners in users.items() if len(owners) > 1}


def upsert_sessions(
    connection: sa.Connection, rows: Iterable[tuple[Any, ...]], *, moved: Iterable[str] = ()
) -> Counter[str]:
    """Write sessions in the connection's transaction; a row equal to the stored one is not rewritten.

    The newest answer wins: a row requested earlier than the stored one changes nothing. Rows without
    `payload_hash` (statistics only) never overwrite a session fetched in full. What is written in full counts as read
    from the API; a caller with another source records it afterwards. A session that is stored under another user, or
    comes under two, is not written: `disputed_sessions` finds it.

    Args:
        connection: in a transaction that holds the users (`Registry.hold`).
        rows: values in the order of `SESSION_COLUMNS`, then the raw result.
        moved: sessions that may change their user.

    Returns:
        sessions_inserted, sessions_updated, sessions_unchanged; duplicates folded.
    """
    folded: dict[str, tuple[Any, ...]] = {}
    owners: dict[str, set[str]] = {}
    for row in rows:
        owners.setdefault(row[_ID], set()).add(row[_USER])
        if (seen := folded.get(row[_ID])) is None or seen[_FETCHED_AT] <= row[_FETCHED_AT]:
            folded[row[_ID]] = row
    folded = {session_id: row for session_id, row in folded.items() if len(owners[session_id]) == 1}
    if not folded:
        return Counter(sessions_inserted=0, sessions_updated=0, sessions_unchanged=0)
    _borrow_zones(connection, folded)
    connection.execute(CreateTable(_incoming, if_not_exists=True))
    connection.execute(sa.delete(_incoming))  # a second call in one transaction begins anew
    copy_in(connection, _incoming, folded.values())
    written = connection.execute(_statement(), {"moved": list(moved)}).all()
    settle_local_zones(connection, {row[_USER] for row in folded.values()})
    assign_nights(connection, [ChangedSession(row.session_id, row.former_user, row.first, row.last) for row in written])
    StoredSessions(connection).note_verified((session_id for session_id, row in folded.items() if row[-1] is not None))
    inserted = sum(row.inserted for row in written)
    return Counter(
        sessions_inserted=inserted,
        sessions_updated=len(written) - inserted,
        sessions_unchanged=len(folded) - len(written),
    )


def _borrow_zones(connection: sa.Connection, rows: dict[str, tuple[Any, ...]]) -> None:
    """Sessions without a zone of their own keep the one that they are stored with, so that they count as unchanged."""
    borrowing = [session_id for session_id, row in rows.items() if row[_ZONE_SOURCE] in BORROWED]
    if not borrowing:
        return
    stored = sleep_sessions.c
    query = sa.select(stored.session_id, stored.local_zone, stored.zone_source)
    query = query.where(any_of(stored.session_id, borrowing), stored.zone_source.in_(BORROWED))
    for session_id, zone, source in connection.execute(query):
        values = dict(zip(SESSION_COLUMNS, rows[session_id], strict=False))
        values.update(local_columns(values, zone, source))
        rows[session_id] = (*(values[name] for name in SESSION_COLUMNS), rows[session_id][-1])


@cache
def _statement() -> sa.Executable:
    """One row per session written: whether it is new, whose it was and where it lay in time before."""
    stored = sleep_sessions.c
    before = (
        sa.select(
            stored.session_id,
            stored.user_id.label("former_user"),
            stored.session_start_time.label("first"),
            sa.func.greatest(stored.session_start_time, stored.session_end_time).label("last"),
        )
        .join(_incoming, _incoming.c.session_id == stored.session_id)
        .cte("before")
    )
    written = _written()
    return (
        sa.select(written.c.session_id, written.c.inserted, before.c.former_user, before.c.first, before.c.last)
        .select_from(written.outerjoin(before, before.c.session_id == written.c.session_id))
        .add_cte(_payloads(written))
    )


def _written() -> sa.CTE:
    no_deletion = sa.cast(sa.null(), sleep_sessions.c.deleted_at.type).label("deleted_at")
    rows = sa.select(_incoming, no_deletion).subquery("rows")
    statement = insert(sleep_sessions).from_select(
        [*SESSION_COLUMNS, *_NIGHT_ALONE],
        sa.select(
            *(rows.c[name] for name in SESSION_COLUMNS),
            *(sa.literal_column(expression) for expression in _NIGHT_ALONE.values()),
        ).order_by(rows.c.session_id),
    )
    stored, new = sleep_sessions.c, statement.excluded
    values = {
        name: sa.func.coalesce(new[name], stored[name]) if name in _KEPT_WHEN_NOT_ASKED else new[name]
        for name in SESSION_COLUMNS
        if name != "session_id"
    }
    is_same_result = sa.or_(stored.payload_hash.is_(None), stored.payload_hash == new.payload_hash)
    values["completed_time"] = sa.func.coalesce(new.completed_time, sa.case((is_same_result, stored.completed_time)))
    compared = [name for name in values if name not in _NOT_COMPARED]
    now, then = (sa.tuple_(*(row[name] for name in compared)) for row in (values, stored))
    changed = sa.or_(stored.deleted_at.is_not(None), then.is_distinct_from(now))
    may_move = stored.session_id == sa.any_(sa.bindparam("moved", type_=ARRAY(sa.Text)))
    is_same_user = sa.or_(stored.user_id == new.user_id, may_move)
    whole_enough = sa.or_(stored.payload_hash.is_(None), new.payload_hash.is_not(None))
    return (
        statement.on_conflict_do_update(
            index_elements=["session_id"],
            set_={**values, "updated_at": sa.func.now(), "deleted_at": None, "deletion_checked_at": None},
            where=sa.and_(new.fetched_at >= stored.fetched_at, is_same_user, whole_enough, changed),
        )
        .returning(stored.session_id, sa.literal_column("(xmax = 0)").label("inserted"))
        .cte("written")
    )


def _payloads(written: sa.CTE) -> sa.CTE:
    rows = (
        sa.select(_incoming.c.session_id, _incoming.c.result, _incoming.c.fetched_at)
        .join(written, written.c.session_id == _incoming.c.session_id)
        .where(_incoming.c.result.is_not(None))
    )
    statement = insert(session_payloads).from_select(["session_id", "result", "fetched_at"], rows)
    return (
        statement.on_conflict_do_update(
            index_elements=["session_id"],
            set_={"result": statement.excluded.result, "fetched_at": statement.excluded.fetched_at},
        )
        .returning(session_payloads.c.session_id)
        .cte("payloads")
    )
