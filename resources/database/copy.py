"""Rows as the text that Postgres' COPY reads: an encoder for each column type."""

from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime, time
from io import BytesIO
from typing import Any

import orjson
import psycopg2
from sqlalchemy import Boolean, Column, Connection, Date, DateTime, Double, Integer, LargeBinary, Table, Text, Time
from sqlalchemy.dialects.postgresql import ARRAY, JSON, SMALLINT
from sqlalchemy.exc import DBAPIError

Encoder = Callable[[Any], str]

_PIECE_BYTES = 1024 * 1024
"""Bytes given to the driver at once. Other threads run between two pieces."""

_ESCAPES = (("\\", "\\\\"), ("\t", "\\t"), ("\n", "\\n"), ("\r", "\\r"))
"""Backslashes first, or those of the other escapes would be escaped, too."""


def _escape(text: str) -> str:
    for character, escaped in _ESCAPES:
        if character in text:
            text = text.replace(character, escaped)
    return text


def _small_integers(values: Sequence[int]) -> str:
    return "{" + orjson.dumps(values).decode()[1:-1] + "}"


def _texts(values: Iterable[str]) -> str:
    quoted = ('"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"' for value in values)
    return _escape("{" + ",".join(quoted) + "}")


def _times(values: Iterable[datetime]) -> str:
    return "{" + ",".join(f'"{value.isoformat()}"' for value in values) + "}"


_ENCODERS: tuple[tuple[type, Encoder], ...] = (
    (JSON, lambda value: _escape(value.decode())),
    (LargeBinary, lambda value: "\\\\x" + value.hex()),
    (DateTime, datetime.isoformat),
    (Date, date.isoformat),
    (Time, time.isoformat),
    (Boolean, lambda value: "t" if value else "f"),
    (Double, repr),
    (Integer, str),
    (Text, _escape),
)


def encoder_of(column: Column[Any]) -> Encoder:
    """Return the encoder of a column's values; null is written by `copy_text`.

    Raises:
        TypeError: the column's type has no encoder.
    """
    kind = column.type
    if isinstance(kind, ARRAY):
        item = kind.item_type
        return _small_integers if isinstance(item, SMALLINT) else _texts if isinstance(item, Text) else _times
    for base, encoder in _ENCODERS:
        if isinstance(kind, base):
            return encoder
    raise TypeError(f"no COPY encoding for {kind!r} of {column}")


def copy_text(rows: Iterable[Sequence[Any]], encoders: Sequence[Encoder]) -> BytesIO:
    """Encode rows as COPY text; None becomes SQL's NULL.

    Args:
        rows: values in the order of `encoders`.
        encoders: of the columns (`encoder_of`).
    """
    lines = [
        "\t".join(["\\N" if value is None else encode(value) for encode, value in zip(encoders, row, strict=True)])
        for row in rows
    ]
    return BytesIO("\n".join([*lines, ""]).encode())


def copy_in(connection: Connection, table: Table, columns: Sequence[str], text: BytesIO) -> None:
    """COPY encoded rows into `table` within the connection's transaction.

    Args:
        connection: in a transaction.
        table: temporary or not.
        columns: names, in the order of the encoded values.
        text: from `copy_text`.

    Raises:
        DBAPIError: as any statement would, so that a database that went away looks the same everywhere.
    """
    preparer = connection.dialect.identifier_preparer
    names = ", ".join(preparer.quote(name) for name in columns)
    cursor = connection.connection.cursor()
    try:
        cursor.copy_expert(
            f"COPY {preparer.format_table(table)} ({names}) FROM STDIN (ENCODING 'UTF8')", text, _PIECE_BYTES
        )
    except psycopg2.Error as error:
        failure = DBAPIError.instance("COPY", None, error, psycopg2.Error, dialect=connection.dialect)
        raise failure from None
    finally:
        cursor.close()
