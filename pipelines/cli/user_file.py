"""Reads files of users as people and spreadsheets write them, and names the lines that are wrong."""

import codecs
import csv
import io
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from resources.asleep.identifiers import MAX_ID_LENGTH
from resources.local_time import local_zone

MAX_LINES_NAMED = 20
_SEPARATORS = ",;\t|"
_NEVER_IN_AN_ID = frozenset(",;|=\"'`()[]{}<>")
"""Marks of a table, a formula, JSON or a printed list: such a line is no id but something around one."""
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


class UserFile(NamedTuple):
    """What a file holds."""

    users: list[tuple[str, str | None]]
    """Each id once, with its time zone if it has a known one."""
    warnings: list[str]
    """Lines whose time zone is unknown: the user counts, the zone does not."""


def read_users(content: bytes) -> UserFile:
    """Users and time zones of a file: CSV with a `user_id` column (`timezone` optional), or one id a line.

    The text is UTF-8, or UTF-16 with a byte order mark. The first line decides what separates the columns: commas,
    semicolons or tabs, or what Excel's line `sep=…` names.

    Raises:
        UserFileInvalid: names every bad line by its number.
    """
    rows = list(_rows(io.StringIO(_text_of(content), newline="")))
    columns = _columns(rows[0]) if rows else _Columns()
    problems: list[str] = []
    warnings: list[str] = []
    found: dict[str, str | None] = {}
    for row in rows[1:] if columns.are_named else rows:
        user_id, zone = row.cell(columns.user_id), row.cell(columns.timezone) or None
        if zone is not None and local_zone(zone) is None:
            warnings.append(f"line {row.line}: unknown time zone, left empty (an IANA name is e.g. Asia/Seoul)")
            zone = None
        if problem := _problem(user_id, zone, extra=not columns.are_named and len(row.cells) > 1, known=found):
            problems.append(f"line {row.line}: {problem}")
        found[user_id] = zone
    if not found and not problems:
        problems.append("no users in it: write a column user_id, or one id a line")
    if problems:
        raise UserFileInvalid("\n".join(_shortened(problems)))
    return UserFile(list(found.items()), _shortened(warnings))


def _shortened(lines: list[str]) -> list[str]:
    rest = len(lines) - MAX_LINES_NAMED
    return [*lines[:MAX_LINES_NAMED], *([f"… and {rest} more lines"] if rest > 0 else [])]


def _text_of(content: bytes) -> str:
    is_utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf_16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserFileInvalid(f"it is neither UTF-8 nor UTF-16 text (byte {error.start})") from None


def _rows(lines: Iterable[str]) -> Iterator[_Row]:
    """The rows. After a quotation mark that is not closed, rows cannot be separated."""
    remaining = iter(lines)
    begins, top = 1, next(remaining, "")
    while top and not top.strip():
        begins, top = begins + 1, next(remaining, "")
    separator = _named_separator(top)
    if separator is not None:
        begins, top = begins + 1, next(remaining, "")
    else:
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


def _named_separator(top: str) -> str | None:
    """The separator that Excel's first line `sep=…` names."""
    name, _, mark = top.rstrip("\r\n").strip('"').partition("=")
    return mark if name.strip().lower() == "sep" and len(mark) == 1 and mark in _SEPARATORS else None


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
    if user_id in known and known[user_id] != zone:
        return "the same user again with another time zone"
    return None


def _problem_of_id(user_id: str) -> str | None:
    if not user_id.isascii() or not user_id.isprintable() or any(c.isspace() for c in user_id):
        return "a user id holds only printable ASCII characters and no spaces"
    if _NEVER_IN_AN_ID & set(user_id):
        return (
            "a user id holds no separators, quotes, brackets or equals signs: the first line decides what separates "
            "the columns (comma, semicolon or tab)"
        )
    if len(user_id) > MAX_ID_LENGTH:
        return f"a user id has at most {MAX_ID_LENGTH} characters"
    return None
