"""Reads a list in pages while rows come and go, without losing one.

Pages are by offset, so a row inserted or deleted between two of them shifts all others. Therefore each page begins
with the last row of the page before. If it does not, or if a row comes twice, the list is read again. A read whose
seams all hold has lost nothing that was there from beginning to end; nor have two reads in a row that found the
same rows in the same order.

A page is the last one when it is empty, or shorter than the largest page that the API is known to return. That size
is an assumption: `assets.sync.confirmations` has it confirmed once per run.
"""

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from resources.asleep.errors import Malformed, Unavailable
from resources.asleep.records import ListedSession, SessionList

PAGE_ROWS = 100
"""Rows requested, by the contract the most that a page holds. The server may return fewer, whatever the contract."""
MAX_READS = 5
MAX_PAGES = 1000

_LAST = datetime.max.replace(tzinfo=UTC)

Page = tuple[ListedSession, ...]
ReadPage = Callable[[int], Page]
"""Offset → page."""


class PageSize:
    """The largest page that the API is known to return. Threads share it."""

    def __init__(self, rows: int = PAGE_ROWS) -> None:
        self._lock = threading.Lock()
        self._is_lowered = False
        self._rows_at_start = rows
        self.rows = rows
        """0 when nothing is known: then only an empty page, or one shorter than an earlier one, is the last."""

    def start(self, rows: int | None) -> None:
        """Begin with the size that was remembered; None means the contract's."""
        with self._lock:
            self.rows = self._rows_at_start = PAGE_ROWS if rows is None else rows

    @property
    def is_changed(self) -> bool:
        """True when the size is no longer the one it began with."""
        return self.rows != self._rows_at_start

    def is_last(self, page: Page) -> bool:
        """True when no page follows, as far as is known. A page longer than the known size raises it."""
        rows = len(page)
        with self._lock:
            is_last = not rows or rows < self.rows
            if not self._is_lowered:
                self.rows = max(self.rows, min(rows, PAGE_ROWS))
        return is_last

    def lower(self, rows: int) -> None:
        """A page of `rows` was not the last one: for the rest of the run no page of this length is."""
        with self._lock:
            self._is_lowered = True
            self.rows = rows

    def forget(self) -> None:
        """A list lacked a session, so the size is not known."""
        with self._lock:
            self.rows = 0


class _Reading(NamedTuple):
    rows: list[ListedSession]
    pages: int
    is_whole: bool
    """Nothing can have been lost."""
    last_page_rows: int


class Pager:
    """Reads lists to their end. Threads may share it."""

    def __init__(self, size: PageSize | None = None) -> None:
        self.size = size or PageSize()

    def read_all(self, read_page: ReadPage, *, until_empty: bool = False) -> SessionList:
        """Read a whole list until it stands still.

        Args:
            read_page: returns the page at an offset.
            until_empty: end with a page that brings nothing new, whatever size is known.

        Raises:
            Unavailable: it does not stand still.
            Malformed: it has no end.
        """
        requests = 0
        ids_before: list[str] | None = None
        for _ in range(MAX_READS):
            reading = self._read_once(read_page, until_empty=until_empty)
            requests += reading.pages
            newest = {row.session_id: row for row in reading.rows}
            if reading.is_whole or list(newest) == ids_before:
                by_start = sorted(newest.values(), key=lambda row: (row.session_start_time or _LAST, row.session_id))
                last_id = reading.rows[-1].session_id if reading.rows else ""
                return SessionList(tuple(by_start), requests, reading.last_page_rows, last_id)
            ids_before = list(newest)
        raise Unavailable("the list would not settle")

    def _read_once(self, read_page: ReadPage, *, until_empty: bool) -> _Reading:
        first = read_page(0)
        rows = list(first)
        seen = {row.session_id for row in rows}
        is_whole = _distinct(first) == len(first)
        if self._is_last(first, until_empty):
            return _Reading(rows, 1, is_whole, len(first))
        step = _step(first)
        offset = step
        for pages in range(2, MAX_PAGES):
            page = read_page(offset)
            brought = {row.session_id for row in page}
            if offset < len(seen):
                is_whole &= bool(page) and page[0].session_id == rows[-1].session_id
            else:  # pages of one row cannot overlap
                is_whole &= not page
            if is_whole and page:
                rows.pop()
            rows += page
            is_last = self._is_last(page, until_empty)
            if brought <= seen or is_last:
                last_page_rows = 0 if brought <= seen else len(page)
                return _Reading(rows, pages, is_whole and _distinct(rows) == len(rows), last_page_rows)
            seen |= brought
            offset += _step(page)
        raise Malformed("the list of sessions has no end")

    def _is_last(self, page: Page, until_empty: bool) -> bool:
        return self.size.is_last(page) and not (until_empty and page)


def _step(page: Page) -> int:
    """How far the next page begins after this one: with its last row, unless there is only one."""
    return max(1, _distinct(page) - 1)


def _distinct(rows: Page | list[ListedSession]) -> int:
    return len({row.session_id for row in rows})
