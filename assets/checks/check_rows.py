"""Rows that contradict a check: one SQL file for each, beside this module."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from resources.load_sql import load_sql


def rows_of_check(connection: Connection, name: str) -> Sequence[Row[Any]]:
    """Run `check_<name>.sql`; returns rows of kind, found, since, none when the check passes."""
    return connection.execute(load_sql(__package__, f"check_{name}")).all()
