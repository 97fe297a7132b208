"""Files of users, as people write them.

Lives here: reading a CSV or one id a line, and saying which lines are wrong.  Not here: the registry.
"""

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from assets.sync.session_rows import zone_of

MOST_PROBLEMS_TOLD = 20
LONGEST_ID = 200
_OTHER_HEADERS = frozenset({"id", "ids", "user", "users", "userid", "user id", "user-id", "user_ids"})


class UserFileInvalid(ValueError):
    """Lines of a user file that cannot be read, by number; ids are not repeated."""


class _Row(NamedTuple):
    """A row that holds something, and the line on which it begins."""

    line: int
    cells: list[str]

    def cell(self, at: int | None) -> str:
        return self.cells[at].strip() if at is not None and at < len(self.cells) else ""


class _Columns(NamedTuple):
    """Where ids and time zones are; without a header there are ids only."""

    user_id: int = 0
    timezone: int | None = None
    are_named: bool = False


def read_users(lines: Iterable[str]) -> list[tuple[str, str | None]]:
    """Users and time zones of a file: CSV with a `user_id` column (`timezone` optional), or one id a line.

    The first line tells what separates the columns: commas, semicolons or tabs.

    Raises:
        UserFileInvalid: names every bad line by its number.
    """
    rows = list(_rows(lines))
    columns = _columns(rows[0]) if rows else _Columns()
    problems: list[str] = []
    found: dict[str, str | None] = {}
    for row in rows[1:] if columns.are_named else rows:
        user_id, zone = row.cell(columns.user_id), row.cell(columns.timezone) or None
        if problem := _problem(user_id, zone, extra=not columns.are_named and len(row.cells) > 1, known=found):
            problems.append(f"line {row.line}: {problem}")
        found[user_id] = zone
    if not found and not problems:
        problems.append("no users in it: write a column user_id, or one id a line")
    if problems:
        told = problems[:MOST_PROBLEMS_TOLD]
        rest = len(problems) - len(told)
        raise UserFileInvalid("\n".join([*told, *([f"… and {rest} more lines"] if rest else [])]))
    return list(found.items())


def _rows(lines: Iterable[str]) -> Iterator[_Row]:
    """The rows, as long as they can be told apart: behind a quotation mark that is not closed nothing can."""
    remaining = iter(lines)
    begins, top = 1, next(remaining, "")
    while top and not top.strip():
        begins, top = begins + 1, next(remaining, "")
    separator = next((mark for mark in ";\t" if mark in top and "," not in top), ",")
    before, reader = begins, csv.reader(chain([top], remaining), delimiter=separator, strict=True)
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield _Row(begins, cells)
            begins = before + reader.line_num
    except csv.Error:
        raise UserFileInvalid(
            f'line {begins}: a quotation mark (") is not closed or misplaced, or the line is too long'
        ) from None


def _columns(top: _Row) -> _Columns:
    header = [cell.strip().lower() for cell in top.cells]
    if "user_id" in header:
        return _Columns(header.index("user_id"), header.index("timezone") if "timezone" in header else None, True)
    if len(header) == 1 and header[0] in _OTHER_HEADERS:
        raise UserFileInvalid(f"line {top.line}: looks like a header, and the header must be user_id")
    return _Columns()


def _problem(user_id: str, zone: str | None, *, extra: bool, known: dict[str, str | None]) -> str | None:
    if not user_id:
        return "no user id"
    if extra:
        return "several columns but no header: name the columns in the first line (user_id, timezone)"
    if problem := _problem_of_id(user_id):
        return problem
    if zone is not None and zone_of(zone) is None:
        return f"unknown time zone {zone!r}: use an IANA name such as Asia/Seoul, or leave it empty"
    if user_id in known and known[user_id] != zone:
        return "the same user again with another time zone"
    return None


def _problem_of_id(user_id: str) -> str | None:
    if not user_id.isascii() or not user_id.isprintable() or any(c.isspace() for c in user_id):
        return "a user id holds only printable ASCII characters and no spaces"
    if "," in user_id or ";" in user_id:
        return "a user id holds neither commas nor semicolons: the first line tells what separates the columns"
    if len(user_id) > LONGEST_ID:
        return f"a user id has at most {LONGEST_ID} characters"
    return None
