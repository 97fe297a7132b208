"""API record → table row: which column gets which value. Pure functions."""

from dataclasses import fields
from datetime import datetime
from operator import itemgetter
from typing import Any

from resources.asleep.records import (
    COMPLETE,
    STAT_FIELDS,
    ListedSession,
    NeverSleptSession,
    SleepSession,
    SleptSession,
    Stat,
)
from resources.database.schema.session_columns import STAT
from resources.database.sync.local_zones import local_columns, own_zone
from resources.database.sync.upsert import SESSION_COLUMNS

Row = tuple[Any, ...]

_in_table_order = itemgetter(*(STAT_FIELDS.index(name) for name, _, _ in STAT))
_FIRST_STAT = SESSION_COLUMNS.index(STAT[0][0])
_OF_SESSION = [f.name for f in fields(SleepSession) if f.name in SESSION_COLUMNS]
_OF_STATISTICS = [f.name for f in fields(NeverSleptSession) if f.name in SESSION_COLUMNS]


def session_row(
    session: SleepSession, *, last_received_seq_num: int | None = None, completed_time: datetime | None = None
) -> Row:
    """The row of a session for `upsert_sessions`: values in the order of `SESSION_COLUMNS`, then the raw result.

    Args:
        session: read in full.
        last_received_seq_num: from the list; None keeps the stored number.
        completed_time: end of the analysis, from average-stats; None keeps the stored time.
    """
    values = {name: getattr(session, name) for name in _OF_SESSION} | {
        "last_received_seq_num": last_received_seq_num,
        "completed_time": completed_time,
        "fetched_at": session.asked_at,
    }
    return (*_row(values, session.stat or Stat()), session.raw.decode())


def statistics_row(
    session: SleptSession | NeverSleptSession,
    *,
    user_id: str,
    asked_at: datetime,
    listed: ListedSession | None = None,
) -> Row:
    """The row of a session known from average-stats: statistics, but no stages and no `payload_hash`.

    Args:
        session: as average-stats give it.
        user_id: the user.
        asked_at: when the request was sent.
        listed: the session's row of the list, which has a zone also where no sleep was found.
    """
    slept = session if isinstance(session, SleptSession) else None
    zone = slept.created_timezone if slept else None
    values = {name: getattr(session, name) for name in _OF_STATISTICS} | {
        "user_id": user_id,
        "state": COMPLETE,
        "unexpected_end_time": listed.unexpected_end_time if listed else None,
        "created_timezone": zone or (listed.created_timezone if listed else None),
        "last_received_seq_num": listed.last_received_seq_num if listed else None,
        "peculiarities": None if slept else ("NEVER_SLEPT",),
        "fetched_at": asked_at,
    }
    return (*_row(values, slept.stat if slept else Stat()), None)


def _row(values: dict[str, Any], stat: Stat) -> list[Any]:
    """Values in table order, with what the local clock showed and the statistics filled in."""
    moments = values | {"sleep_time": stat.sleep_time, "wake_time": stat.wake_time}
    values |= local_columns(moments, *own_zone(values["created_timezone"]))
    row = list(map(values.get, SESSION_COLUMNS))
    row[_FIRST_STAT : _FIRST_STAT + len(STAT)] = _in_table_order(stat)
    return row
