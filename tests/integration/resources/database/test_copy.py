"""Values written by COPY equal those read from the table: any text, any array, any moment."""

import json
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import (
    Column,
    DateTime,
    Double,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, SMALLINT
from sqlalchemy.exc import DBAPIError

from resources.database.copy import copy_in, copy_text

TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"))
MOMENTS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 bounds
KINDS = {
    "t": (Text, TEXTS),
    "i": (Integer, st.integers(-(2**31), 2**31 - 1)),
    "d": (Double, st.floats(allow_nan=False, allow_infinity=False)),
    "m": (DateTime(timezone=True), MOMENTS),
    "b": (LargeBinary, st.binary()),
    "j": (JSONB, st.dictionaries(TEXTS, TEXTS | st.integers(-(2**53), 2**53) | st.none(), max_size=4)),
    "s": (ARRAY(SMALLINT), st.lists(st.integers(-(2**15), 2**15 - 1))),
    "ts": (ARRAY(Text), st.lists(TEXTS)),
    "ms": (ARRAY(DateTime(timezone=True)), st.lists(MOMENTS)),
}
_COLUMNS = (Column(name, kind) for name, (kind, _) in KINDS.items())
COPIED = Table("copied", MetaData(), Column("n", Integer), *_COLUMNS, prefixes=["TEMPORARY"])
ROWS = st.lists(st.tuples(*(strategy | st.none() for _, strategy in KINDS.values())), max_size=6)


@given(rows=ROWS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_row_is_read_as_it_was_written(connection, rows):
    """A tab in a zone's name must not separate columns, nor a backslash disappear."""
    connection.execute(text("DROP TABLE IF EXISTS copied"))
    COPIED.create(connection)
    json_at = [*KINDS].index("j")
    numbered = [
        (n, *row[:json_at], None if row[json_at] is None else json.dumps(row[json_at]), *row[json_at + 1 :])
        for n, row in enumerate(rows)
    ]
    copy_in(connection, COPIED, numbered)

    found = connection.execute(select(COPIED).order_by(COPIED.c.n)).all()
    assert [tuple(bytes(v) if isinstance(v, memoryview) else v for v in row[1:]) for row in found] == rows


def test_a_type_without_an_encoder_is_refused_before_anything_is_written():
    with pytest.raises(KeyError, match="timedelta"):
        copy_text([(timedelta(days=1),)])


def test_a_day_is_written_as_a_day():
    assert copy_text([(date(2026, 3, 1),)]).getvalue() == b"2026-03-01\n"


def test_a_refused_copy_looks_like_any_refused_statement_and_quotes_no_row(connection):
    """The driver's own error would look like a bug and would quote the row."""
    connection.execute(text("DROP TABLE IF EXISTS copied"))
    COPIED.create(connection)
    with pytest.raises(DBAPIError) as caught, connection.begin_nested():
        copy_in(connection, COPIED, [("secret", *[None] * len(KINDS))])
    assert caught.value.__cause__ is None
