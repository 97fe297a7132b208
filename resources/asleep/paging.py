"""Reading a list in pages while rows come and go, without losing one.

Lives here: which page comes next, which one is the last, whether a read can be trusted.  Not here: HTTP, fields.

Pages are by offset, so a row inserted or deleted between two of them shifts all others. Therefore each page begins
with the last row of the page before. If it does not, or if a row comes twice, the list is read again. A read whose
seams all hold has lost nothing that was there from beginning to end; nor have two reads in a row that found the
same rows in the same order.
"""

from collections.abc import Callable
from datetime import UTC, datetime

from resources.asleep.errors import Malformed, Unavailable
from resources.asleep.records import ListedSession, SessionList

PAGE_ROWS = 100
LIKELY_CAPS = frozenset({20, 25, 50})
"""Older documentation caps pages at 20, and 25 and 50 are what else servers choose: a page of exactly so many rows
may not be the last, not even after longer ones, since servers of several kinds may stand side by side."""
MOST_READS = 5
MOST_PAGES = 1000

_LAST = datetime.max.replace(tzinfo=UTC)

Page = tuple[ListedSession, ...]
ReadPage = Callable[[int], Page]
"""Offset → page."""


class Pager:
    """Reads lists to their end. Threads may share it."""

    def read_all(self, read_page: ReadPage) -> SessionList:
        """Read a whole list until it stands still.

        Raises:
            Unavailable: it does not.
            Malformed: it has no end.
        """
        requests = 0
        ids_before: list[str] | None = None
        for _ in range(MOST_READS):
            rows, pages, is_whole = self._read_once(read_page)
            requests += pages
            newest = {row.session_id: row for row in rows}
            if is_whole or list(newest) == ids_before:
                by_start = sorted(newest.values(), key=lambda row: (row.session_start_time or _LAST, row.session_id))
                return SessionList(tuple(by_start), requests)
            ids_before = list(newest)
        raise Unavailable("the list would not settle")

    def _read_once(self, read_page: ReadPage) -> tuple[list[ListedSession], int, bool]:
        """Rows as they came, pages read, and whether nothing can have been lost."""
        first = read_page(0)
        rows = list(first)
        seen = {row.session_id for row in rows}
        is_whole = _distinct(first) == len(first)
        if _is_last(first):
            return rows, 1, is_whole
        offset = _distinct(first) - 1
        for pages in range(2, MOST_PAGES):
            page = read_page(offset)
            brought = {row.session_id for row in page}
            is_whole &= bool(page) and page[0].session_id == rows[-1].session_id
            if is_whole:
                rows.pop()
            rows += page
            if brought <= seen or _is_last(page):
                return rows, pages, is_whole and _distinct(rows) == len(rows)
            seen |= brought
            offset += _distinct(page) - 1
        raise Malformed("the list of sessions has no end")


def _is_last(page: Page) -> bool:
    return len(page) < PAGE_ROWS and len(page) not in LIKELY_CAPS


def _distinct(rows: Page | list[ListedSession]) -> int:
    return len({row.session_id for row in rows})
