"""Reads files of users as people and spreadsheets write them, and names the lines that are wrong."""

import codecs
import csv
import io
import re
from collections.abc import Iterator
from typing import NamedTuple

from resources.asleep.identifiers import MAX_ID_LENGTH
from resources.local_time import local_zone

MAX_LINES_NAMED = 20
_NAMED_SEPARATOR = re.compile(r'"?\s*sep\s*=([,;\t|])"?[\r\n]*', re.IGNORECASE)
"""Excel's first line."""
_NEVER_IN_AN_ID = frozenset(",;|=\"'`()[]{}<>")
"""Marks of a table, a formula, JSON or a printed list: such a line is no id but something around one."""
_SEPARATORS_HINT = "the first line decides what separates the columns (comma, semicolon or tab)"
_OTHER_HEADERS = frozenset({"id", "ids", "user", "users", "userid", "user id", "user-id", "user_ids"})


class UserFileInvalid(ValueError):
    """Lines of a user file that cannot be read, by number; ids are not repeated."""


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
    rows = list(_rows(_text_of(content)))
    header = [cell.lower() for cell in rows[0][1]] if rows else []
    if len(header) == 1 and header[0] in _OTHER_HEADERS:
        raise UserFileInvalid(f"line {rows[0][0]}: looks like a header, and the header must be user_id")
    is_table = "user_id" in header
    problems: list[str] = []
    warnings: list[str] = []
    found: dict[str, str | None] = {}
    for line, cells in rows[is_table:]:
        named = dict(zip(header, cells, strict=False)) if is_table else {"user_id": cells[0]}
        user_id, zone = named.get("user_id", ""), named.get("timezone") or None
        if zone is not None and local_zone(zone) is None:
            warnings.append(f"line {line}: unknown time zone, left empty (an IANA name is e.g. Asia/Seoul)")
            zone = None
        has_other_zone = user_id in found and found[user_id] != zone
        if problem := _problem(user_id, is_row=not is_table and len(cells) > 1, has_other_zone=has_other_zone):
            problems.append(f"line {line}: {problem}")
        found[user_id] = zone
    if not found:
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


def _rows(text: str) -> Iterator[tuple[int, list[str]]]:
    """Rows that hold something, each with the number of its first line.

    After a quotation mark that is not closed, rows cannot be separated.
    """
    lines = list(io.StringIO(text, newline=""))
    blank = next((number for number, line in enumerate(lines) if line.strip()), len(lines))
    top = "".join(lines[blank : blank + 1])
    if named := _NAMED_SEPARATOR.fullmatch(top):
        separator, skipped = named[1], blank + 1
    else:
        separator, skipped = next((mark for mark in ";\t" if mark in top and "," not in top), ","), blank
    begins, reader = skipped + 1, csv.reader(lines[skipped:], delimiter=separator, strict=True)
    try:
        for row in reader:
            if any(cells := [cell.strip() for cell in row]):
                yield begins, cells
            begins = skipped + 1 + reader.line_num
    except csv.Error:
        raise UserFileInvalid(
            f'line {begins}: a quotation mark (") is not closed or misplaced, or the line is too long'
        ) from None


def _problem(user_id: str, *, is_row: bool, has_other_zone: bool) -> str | None:
    is_text = user_id.isascii() and user_id.isprintable() and " " not in user_id
    checks = (
        (not user_id, "no user id"),
        (is_row, "several columns but no header: name the columns in the first line (user_id, timezone)"),
        (not is_text, "a user id holds only printable ASCII characters and no spaces"),
        (
            bool(_NEVER_IN_AN_ID & set(user_id)),
            f"a user id holds no separators, quotes, brackets or equals signs: {_SEPARATORS_HINT}",
        ),
        (len(user_id) > MAX_ID_LENGTH, f"a user id has at most {MAX_ID_LENGTH} characters"),
        (has_other_zone, "the same user again with another time zone"),
    )
    return next((problem for is_wrong, problem in checks if is_wrong), None)
