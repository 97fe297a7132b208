"""What is remembered of lists: who was listed lately, which ends are not confirmed."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import unconfirmed_lists
from resources.load_sql import load_sql


class ListEnd(NamedTuple):
    """The end of a list that was taken for whole because its last page was short."""

    user_id: str
    window_start: datetime
    window_end: datetime
    rows: int
    last_page_rows: int
    last_session_id: str
    last_start: datetime | None

    @property
    def span(self) -> tuple[datetime, datetime]:
        """Start and end of the window."""
        return self.window_start, self.window_end


class ListEnds(NamedTuple):
    """What is to be confirmed."""

    longest_page: int  # rows of the longest last page
    first: list[ListEnd]  # those to confirm first


def expire_lists(connection: Connection, user_ids: Iterable[str]) -> int:
    """Make the next sync list these users' sessions although they were listed lately.

    Args:
        connection: in the caller's transaction.
        user_ids: of the users to list again.

    Returns:
        How many of them had a list.
    """
    wanted = sorted(set(user_ids))
    return connection.execute(load_sql(__package__, "expire_lists"), {"user_ids": wanted}).rowcount if wanted else 0


def note_list_ends(connection: Connection, run_id: str, ends: Iterable[ListEnd]) -> None:
    """Remember the ends of lists that are to be confirmed.

    Args:
        connection: in the caller's transaction.
        run_id: of the run that read the lists.
        ends: one for each list.
    """
    if rows := [end._asdict() | {"run_id": run_id} for end in sorted(ends)]:
        statement = insert(unconfirmed_lists).values(rows)
        keys = [column.name for column in unconfirmed_lists.primary_key]
        values = {c.name: c for c in statement.excluded if c.name not in keys}
        connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values))


def list_ends_to_confirm(connection: Connection, run_id: str, most: int) -> ListEnds:
    """Take over all ends that are not confirmed, also of runs that stopped.

    Args:
        connection: in the caller's transaction.
        run_id: of the run that confirms them.
        most: number of lists to return at most.

    Returns:
        The longest lists, and the rows of the longest last page.
    """
    ends = unconfirmed_lists.c
    connection.execute(update(unconfirmed_lists).where(ends.run_id != run_id, ends.rows > 0).values(run_id=run_id))
    longest = connection.scalar(select(func.max(ends.last_page_rows)).where(ends.run_id == run_id))
    query = select(*(ends[name] for name in ListEnd._fields)).where(ends.run_id == run_id, ends.rows > 0)
    found = connection.execute(query.order_by(ends.rows.desc(), ends.last_start, ends.user_id).limit(most))
    return ListEnds(longest or 0, [ListEnd(*row) for row in found])


def remove_list_ends(
    connection: Connection, run_id: str, *, from_page: int = 1, besides: Iterable[str] = ()
) -> list[ListEnd]:
    """Remove and return ends: confirmed ones, or those of lists to be read again.

    Args:
        connection: in a transaction.
        run_id: of the run that took them over.
        from_page: only lists whose last page had at least this many rows.
        besides: users whose ends stay.
    """
    ends = unconfirmed_lists.c
    chosen = (ends.run_id == run_id, ends.last_page_rows >= max(1, from_page), ends.user_id.not_in(list(besides)))
    statement = delete(unconfirmed_lists).where(*chosen)
    return [ListEnd(*row) for row in connection.execute(statement.returning(*(ends[n] for n in ListEnd._fields)))]


def remove_empty_lists(connection: Connection, user_ids: Iterable[str]) -> None:
    """Accept the first lists of these users, which were empty: a second list was empty, too.

    Args:
        connection: in the caller's transaction.
        user_ids: of users whose list was read a second time.
    """
    ends, wanted = unconfirmed_lists.c, list(user_ids)
    if wanted:
        connection.execute(delete(unconfirmed_lists).where(ends.rows == 0, ends.user_id.in_(wanted)))
