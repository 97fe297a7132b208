"""What the comments in the database tell about every table and view that an analyst may read, for people and for dbt.

    make data-dictionary

The module starts no server: it reads the URL of a migrated database from standard input and writes into the checkout
that its argument names.
"""

import json
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection

from resources.database.engine import make_engine
from resources.load_sql import load_sql

DICTIONARY = Path("docs/reference/data-dictionary.md")
DBT_SOURCES = Path("deploy/dbt/models/sources.yml")

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
    relations = _relations(connection)
    contents = "".join(f"- [`{name}`](#{name})\n" for name in relations)
    return _HEAD + "\n" + contents + "".join(f"\n{_section(columns)}" for columns in relations.values())


def dbt_sources(connection: Connection) -> str:
    """The same tables, views and comments as sources of a dbt project, in YAML."""
    return "".join(f"{line}\n" for line in _yaml(_relations(connection)))


def _relations(connection: Connection) -> dict[str, list[_Column]]:
    found: dict[str, list[_Column]] = {}
    for row in connection.execute(load_sql(__package__, "data_dictionary")):
        found.setdefault(row.relation, []).append(_Column(*row))
    return found


def _yaml(relations: dict[str, list[_Column]]) -> Iterator[str]:
    """Lines of YAML; texts are quoted as JSON, which YAML includes."""
    yield "# Written from the comments in the database by `make data-dictionary`; a test keeps this file equal to them."
    yield from ("version: 2", "sources:", "  - name: asleep", "    schema: asleep", "    tables:")
    for name, columns in relations.items():
        yield f"      - name: {name}"
        yield f"        description: {json.dumps(columns[0].relation_comment)}"
        yield "        columns:"
        for column in columns:
            yield f"          - name: {column.column}"
            yield f"            data_type: {column.kind}"
            yield f"            description: {json.dumps(column.comment)}"


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
    root = Path(sys.argv[1])
    with make_engine(sys.stdin.read(), application_name="data dictionary").connect() as database:
        (root / DICTIONARY).write_text(dictionary(database), "utf-8")
        (root / DBT_SOURCES).write_text(dbt_sources(database), "utf-8")
