"""Rebuilds the typed columns from the stored raw results, without a request: for instance after a fix of the parser."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import orjson
from sqlalchemy import Connection, Engine

from assets.sync.session_rows import Row, session_row
from resources.asleep.errors import Malformed
from resources.asleep.parsing import parse_session_result
from resources.database.checkpoints import Checkpoint
from resources.database.sync.upsert import upsert_sessions
from resources.database.users.registry import Registry
from resources.load_sql import load_sql

PAGE_ROWS = 500
CHECKPOINT = "reshape"


class Reshaped(NamedTuple):
    """What a rebuild did."""

    read: int
    changed: int
    unchanged: int
    unreadable: int
    """Raw results that the parser rejects; their rows stay as they are."""


def reshape(engine: Engine, *, progress: Callable[[Reshaped], None], restart: bool = False) -> Reshaped:
    """Parse every stored raw result again and write the rows that differ.

    Each page is a short transaction that also stores the position, at which an interrupted rebuild continues.

    Args:
        engine: of the database with the tables.
        progress: called after each page with the sums so far.
        restart: start from the beginning, not from the stored position.

    Returns:
        The sums.
    """
    total = Reshaped(0, 0, 0, 0)
    with engine.begin() as connection:
        after = "" if restart else Checkpoint(connection, CHECKPOINT).read()
    while True:
        with engine.begin() as connection:
            values = {"after": after, "page_rows": PAGE_ROWS}
            page = connection.execute(load_sql(__package__, "stored_payloads"), values).all()
            if not page:
                Checkpoint(connection, CHECKPOINT).clear()
                return total
            after = page[-1].session_id
            total = Reshaped(*map(sum, zip(total, _rebuild(connection, page), strict=True)))
            Checkpoint(connection, CHECKPOINT).write(after)
        progress(total)


def _rebuild(connection: Connection, page: Sequence[Any]) -> Reshaped:
    registered = Registry(connection).hold({stored.user_id for stored in page})
    rows = [_row(stored) for stored in page if stored.user_id in registered]
    written = upsert_sessions(connection, [row for row in rows if row is not None])
    changed = written["sessions_inserted"] + written["sessions_updated"]
    return Reshaped(len(page), changed, written["sessions_unchanged"], unreadable=rows.count(None))


def _row(stored: Any) -> Row | None:
    """Return the row that the current parser makes of a stored result; None when it rejects the result."""
    try:
        session = parse_session_result(orjson.loads(stored.result), user_id=stored.user_id, asked_at=stored.fetched_at)
    except (Malformed, orjson.JSONDecodeError):
        return None
    of_the_list = [violation for violation in stored.contract_violations if violation.startswith("list.")]
    return session_row(replace(session, contract_violations=(*session.contract_violations, *of_the_list)))
