"""Name and naming rules of the schema, and its kinds of columns: each has a comment, for analysts read comments."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, DateTime, MetaData
from sqlalchemy.types import TypeEngine

SCHEMA = "asleep"
metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "pk": "%(table_name)s_pkey",
        "ix": "%(table_name)s_%(column_0_N_name)s_idx",
        "uq": "%(table_name)s_%(column_0_N_name)s_key",
        "ck": "%(table_name)s_%(constraint_name)s_check",
    },
)

Timestamp = DateTime(timezone=True)
Type = TypeEngine[Any] | type[TypeEngine[Any]]


def _kind_of_column(**nature: Any) -> Callable[..., Column[Any]]:
    """A function of name, type, comment (for analysts), and other items and options of `Column`."""

    def column(name: str, kind: Type, comment: str, *more: Any, **options: Any) -> Column[Any]:
        return Column(name, kind, *more, comment=comment, **nature, **options)

    return column


key, required, optional = _kind_of_column(primary_key=True), _kind_of_column(nullable=False), _kind_of_column()
"""A column of the primary key, one that is never null, and one that may be null."""
