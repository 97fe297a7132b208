"""Files of users, as people write them.

Lives here: reading a CSV or one id a line, and saying which lines are wrong.  Not here: the registry.
"""

import csv
from collections.abc import Iterable
from itertools import chain

from assets.shaping import zone_of

MOST_PROBLEMS_TOLD = 20


class UserFileInvalid(ValueError):
    """Lines of a user file that cannot be read, by number; ids are not repeated."""


def read_users(lines: Iterable[str]) -> list[tuple[str, str | None]]:
    """Users and time zones of a file: CSV with a `user_id` column (`timezone` optional), or one id a line.

    The first line tells what separates the columns: commas, semicolons or tabs.

    Raises:
        UserFileInvalid: names every bad line by its number.
    """
    remaining = iter(lines)
    top = next(remaining, "")
    separator = next((mark for mark in ";\t" if mark in top and "," not in top), ",")
    rows = list(csv.reader(chain([top], remaining), delimiter=separator))
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    if "user_id" in header:
        id_at, zone_at, first = header.index("user_id"), _position(header, "timezone"), 1
    else:
        id_at, zone_at, first = 0, None, 0
    problems: list[str] = []
    found: dict[str, str | None] = {}
    for number, cells in enumerate(rows[first:], start=first + 1):
        if not any(cell.strip() for cell in cells):
            continue
        user_id = cells[id_at].strip() if id_at < len(cells) else ""
        zone = (cells[zone_at].strip() or None) if zone_at is not None and zone_at < len(cells) else None
        if problem := _problem(user_id, zone, extra=not first and len(cells) > 1, known=found):
            problems.append(f"line {number}: {problem}")
        found[user_id] = zone
    if not found and not problems:
        problems.append("no users in it: write a column user_id, or one id a line")
    if problems:
        told = problems[:MOST_PROBLEMS_TOLD]
        rest = len(problems) - len(told)
        raise UserFileInvalid("\n".join([*told, *([f"… and {rest} more lines"] if rest else [])]))
    return list(found.items())


def _position(header: list[str], name: str) -> int | None:
    return header.index(name) if name in header else None


def _problem(user_id: str, zone: str | None, *, extra: bool, known: dict[str, str | None]) -> str | None:
    if not user_id:
        return "no user id"
    if extra:
        return "several columns but no header: name the columns in the first line (user_id, timezone)"
    if not user_id.isascii() or not user_id.isprintable() or any(c.isspace() for c in user_id):
        return "a user id holds only printable ASCII characters and no spaces"
    if zone is not None and zone_of(zone) is None:
        return f"unknown time zone {zone!r}: use an IANA name such as Asia/Seoul, or leave it empty"
    if user_id in known and known[user_id] != zone:
        return "the same user again with another time zone"
    return None
