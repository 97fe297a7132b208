"""What is stored of sessions' statistics, to be compared with what average-stats says.

Lives here: that question, and noting what one kind of answer tells beside the session itself.  Not here: comparing.
"""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection

from resources.asleep.records import Stat
from resources.load_sql import load_sql

_BEFORE_STATISTICS = 13


class StoredStatistics(NamedTuple):
    """A stored session without its stages."""

    session_id: str
    user_id: str
    state: str
    session_start_time: datetime
    session_end_time: datetime | None
    created_timezone: str | None
    completed_time: datetime | None
    """When what is stored was analysed; None when that is not known."""
    fetched_at: datetime
    unexpected_end_time: datetime | None
    last_received_seq_num: int | None
    in_full: bool
    deleted: bool
    never_slept: bool
    stat: Stat


def stored_statistics(
    connection: Connection, asked: Iterable[tuple[str, datetime, datetime]]
) -> dict[str, list[StoredStatistics]]:
    """Stored sessions by user: those of each user's window (start, end exclusive), and older ones not final."""
    rows = list(asked)
    found = connection.execute(
        load_sql(__package__, "stored_statistics"),
        {"user_ids": [r[0] for r in rows], "starts": [r[1] for r in rows], "ends": [r[2] for r in rows]},
    )
    by_user: dict[str, list[StoredStatistics]] = {}
    for row in found:
        values = tuple(row)
        stored = StoredStatistics._make((*values[:_BEFORE_STATISTICS], Stat(*values[_BEFORE_STATISTICS:])))
        by_user.setdefault(stored.user_id, []).append(stored)
    return by_user


def note_completed_times(connection: Connection, known: Sequence[tuple[str, datetime]]) -> None:
    """Note when sessions were analysed, given as session id and time."""
    if known:
        parameters = {"session_ids": [k[0] for k in known], "completed_times": [k[1] for k in known]}
        connection.execute(load_sql(__package__, "note_completed_times"), parameters)


def note_last_chunks(connection: Connection, known: Sequence[tuple[str, int | None]]) -> None:
    """Note the last chunk of sessions that were read before they were ever listed."""
    if known:
        parameters = {"session_ids": [k[0] for k in known], "numbers": [k[1] for k in known]}
        connection.execute(load_sql(__package__, "note_last_chunks"), parameters)
