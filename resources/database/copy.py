"""Rows as the text that Postgres' COPY reads: an encoder for each type of Python."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from io import BytesIO
from types import NoneType
from typing import Any

import orjson
import psycopg2
from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

_PIECE_BYTES = 1024 * 1024
"""Bytes given to the driver at once. Other threads run between two pieces."""

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
"""Backslashes first, or those of the other escapes would be escaped, too."""


def _escape(text: str) -> str:
    for character, escaped in _ESCAPES:
        if character in text:
            text = text.replace(character, escaped)
    return text


def _array(values: Sequence[Any]) -> str:
    if values and isinstance(values[0], str):
        quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
        return _escape("{" + ",".join(quoted) + "}")
    return "{" + orjson.dumps(values).decode()[1:-1] + "}"


_ENCODERS: dict[type, Callable[[Any], str]] = {
    NoneType: lambda _: "\\N",
    str: _escape,
    bool: str,
    int: str,
    float: repr,
    bytes: lambda value: "\\\\x" + value.hex(),
    datetime: datetime.isoformat,
    date: date.isoformat,
    time: time.isoformat,
    list: _array,
    tuple: _array,
}


def copy_text(rows: Iterable[Sequence[Any]]) -> BytesIO:
    """Encode rows as COPY text; None becomes SQL's NULL, and bytes become bytea.

    Raises:
        KeyError: a value's type has no encoder.
    """
    return BytesIO(b"".join(("\t".join([_ENCODERS[type(v)](v) for v in row]) + "\n").encode() for row in rows))


def copy_in(connection: Connection, table: Table, rows: Iterable[Sequence[Any]]) -> None:
    """COPY rows into `table` within the connection's transaction.

    Args:
        connection: in a transaction.
        table: temporary or not.
        rows: values of all columns, in their order.

    Raises:
        DBAPIError: as any statement would, so that a database that went away looks the same everywhere.
    """
    preparer = connection.dialect.identifier_preparer
    names = ", ".join(preparer.quote(column.name) for column in table.c)
    statement = f"COPY {preparer.format_table(table)} ({names}) FROM STDIN (ENCODING 'UTF8')"
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert(statement, copy_text(rows), _PIECE_BYTES)
    except psycopg2.Error as error:
        failure = DBAPIError.instance("COPY", None, error, psycopg2.Error, dialect=connection.dialect)
        raise failure from None
    finally:
        cursor.close()
