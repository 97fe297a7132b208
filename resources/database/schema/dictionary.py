"""The data dictionary: every table and view an analyst may read, as its comments in the database tell it.

    make data-dictionary

The module starts no server: it reads the URL of a migrated database from standard input.

Lives here: reading the catalogue and writing a page.  Not here: the words (they are comments of tables and views).
"""

import sys
from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from resources.database.engine import make_engine
from resources.load_sql import load_sql

_HEAD = """\
# Data dictionary

Written from the comments in the database by `make data-dictionary`; a test keeps this page equal to them. Schema
`asleep`. Questions and their SQL: [cookbook](../how-to/cookbook.md).

Times are instants (`timestamp with time zone`) unless a name ends in `_local`; durations are seconds, ratios 0 to 1.
Any column may be null unless *never null* is said.
"""


class _Column(NamedTuple):
    relation: str
    is_view: bool
    relation_comment: str
    indexes: list[str]
    column: str
    kind: str
    is_key: bool
    is_required: bool
    comment: str


def dictionary(connection: Connection) -> str:
    """The page, tables first, in Markdown."""
    columns = [_Column(*row) for row in connection.execute(load_sql(__package__, "dictionary"))]
    names = list(dict.fromkeys(column.relation for column in columns))
    contents = "".join(f"- [`{name}`](#{name})\n" for name in names)
    sections = (_section([column for column in columns if column.relation == name]) for name in names)
    return _HEAD + "\n" + contents + "".join(f"\n{section}" for section in sections)


def _section(columns: list[_Column]) -> str:
    first = columns[0]
    lines = [f"## {first.relation}", "", f"{'View' if first.is_view else 'Table'}. {first.relation_comment}", ""]
    lines += ["| Column | Type | Meaning |", "|---|---|---|", *map(_line, columns)]
    if first.indexes:
        lines += ["", "Fast by: " + _listed(first.indexes) + "."]
    return "\n".join(lines) + "\n"


def _line(column: _Column) -> str:
    note = ", *key*" if column.is_key else ", *never null*" if column.is_required else ""
    meaning = column.comment.replace("|", "\\|")
    return f"| `{column.column}` | {column.kind}{note} | {meaning} |"


def _listed(indexes: Iterable[str]) -> str:
    return "; ".join(f"`{index}`" for index in indexes)


if __name__ == "__main__":
    with make_engine(sys.stdin.read(), application_name="data dictionary").connect() as database:
        sys.stdout.write(dictionary(database))
