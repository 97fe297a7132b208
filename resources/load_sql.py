"""SQL files as statements with bound parameters."""

from collections.abc import Iterable, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from sqlalchemy import Column, ColumnElement, Text, TextClause, any_, func, literal, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.sql.selectable import TableValuedAlias


@cache
def load_sql(package: str | None, name: str) -> TextClause:
    """The statement in a file beside the module that runs it.

    Args:
        package: the module's own `__package__`, so that no package runs another's SQL.
        name: of the file, without the suffix.
    """
    return text(files(package or "").joinpath(f"{name}.sql").read_text("utf-8"))


def any_of(column: ColumnElement[str] | Column[str], values: Iterable[str]) -> ColumnElement[bool]:
    """`column = ANY(values)`: the same statement, whatever the number of values.

    Args:
        column: of texts.
        values: bound as one array.
    """
    return column == any_(literal(list(values), ARRAY(Text)))


def arrays_of(rows: Sequence[NamedTuple]) -> dict[str, list[Any]]:
    """Parameters for `unnest`: one array for each field of the rows, under the field's name.

    Args:
        rows: at least one.
    """
    columns = zip(*rows, strict=True)
    return {name: list(column) for name, column in zip(rows[0]._fields, columns, strict=True)}


def as_table(columns: Sequence[Column[Any]], rows: Sequence[Sequence[Any]]) -> TableValuedAlias:
    """Rows as a table of a statement, bound as one array for each column.

    Args:
        columns: names and types of the table's columns.
        rows: at least one, values in the order of the columns.
    """
    arrays = [literal(list(values), ARRAY(c.type)) for c, values in zip(columns, zip(*rows, strict=True), strict=True)]
    return func.unnest(*arrays).table_valued(*(column.name for column in columns)).render_derived()
