"""What is written by COPY is what was meant."""

import json

import pytest
from sqlalchemy import Column, Connection, MetaData, Table, Text, select
from sqlalchemy.dialects.postgresql import ARRAY, JSON

from resources.database.copy import copy_in, copy_text, encoder_of

ODD = ["", "\\", "\\n", "\n", "\r\n", "\t", "a\\\tb\\\\\n", "\\N", "\\.", '"', "{}", ",", "NULL", "é😀", "\\x00"]


@pytest.fixture
def table(connection: Connection) -> Table:
    columns = Column("plain", Text), Column("many", ARRAY(Text)), Column("document", JSON)
    table = Table("odd_texts", MetaData(), *columns, prefixes=["TEMPORARY"])
    table.create(connection)
    return table


def test_every_text_comes_back_as_it_went_in(connection: Connection, table: Table):
    """COPY gives backslashes, tabs and ends of lines a meaning of its own: a name may hold them all the same."""
    rows = [(text, [text, *ODD], json.dumps(ODD).encode()) for text in ODD]
    copy_in(connection, table, list(table.c.keys()), copy_text(rows, [encoder_of(c) for c in table.c]))

    found = connection.execute(select(table)).all()
    assert [tuple(row) for row in found] == [(text, [text, *ODD], ODD) for text in ODD]
