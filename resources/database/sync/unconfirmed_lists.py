"""Ends of lists that are not confirmed: a short last page was taken for the last one, or a first list was empty."""

from collections.abc import Iterable
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select, update
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import unconfirmed_lists


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


_END = unconfirmed_lists.c
_FIELDS = [_END[name] for name in ListEnd._fields]


class UnconfirmedLists(NamedTuple):
    """Those that a run has read or taken over."""

    connection: Connection
    """In the caller's transaction."""
    run_id: str

    def note(self, ends: Iterable[ListEnd]) -> None:
        """Remember the ends of lists that are to be confirmed."""
        if rows := [end._asdict() | {"run_id": self.run_id} for end in sorted(ends)]:
            statement = insert(unconfirmed_lists)
            keys = [column.name for column in unconfirmed_lists.primary_key]
            values = {c.name: c for c in statement.excluded if c.name not in keys}
            self.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=values), rows)

    def to_confirm(self, most: int) -> ListEnds:
        """Take over all ends that are not confirmed, also of runs that stopped; at most so many lists are returned."""
        others = update(unconfirmed_lists).where(_END.run_id != self.run_id, _END.rows > 0)
        self.connection.execute(others.values(run_id=self.run_id))
        is_ours = _END.run_id == self.run_id
        longest = self.connection.scalar(select(func.max(_END.last_page_rows)).where(is_ours))
        query = select(*_FIELDS).where(is_ours, _END.rows > 0)
        found = self.connection.execute(query.order_by(_END.rows.desc(), _END.last_start, _END.user_id).limit(most))
        return ListEnds(longest or 0, [ListEnd(*row) for row in found])

    def remove(self, *, from_page: int = 1, besides: Iterable[str] = ()) -> list[ListEnd]:
        """Remove and return ends: confirmed ones, or those of lists to be read again.

        Args:
            from_page: only lists whose last page had at least this many rows.
            besides: users whose ends stay.
        """
        chosen = (_END.run_id == self.run_id, _END.last_page_rows >= max(1, from_page), _END.user_id.not_in(besides))
        statement = delete(unconfirmed_lists).where(*chosen).returning(*_FIELDS)
        return [ListEnd(*row) for row in self.connection.execute(statement)]

    def accept_empty(self, user_ids: Iterable[str]) -> None:
        """Accept the first lists of these users, which were empty: a second list was empty, too."""
        if wanted := list(user_ids):
            self.connection.execute(delete(unconfirmed_lists).where(_END.rows == 0, _END.user_id.in_(wanted)))
