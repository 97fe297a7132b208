"""Name and naming rules of the schema, and its kinds of columns: each has a comment, for analysts read comments."""

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


def key(name: str, kind: Type, comment: str, *more: Any, **options: Any) -> Column[Any]:
    """A column of the primary key.

    Args:
        name: of the column.
        kind: its SQL type.
        comment: explains the column to analysts.
        *more: foreign keys and other items of `Column`.
        **options: of `Column`.
    """
    return Column(name, kind, *more, primary_key=True, comment=comment, **options)


def required(name: str, kind: Type, comment: str, *more: Any, **options: Any) -> Column[Any]:
    """A column that is never null.

    Args:
        name: of the column.
        kind: its SQL type.
        comment: explains the column to analysts.
        *more: foreign keys and other items of `Column`.
        **options: of `Column`.
    """
    return Column(name, kind, *more, nullable=False, comment=comment, **options)


def optional(name: str, kind: Type, comment: str, *more: Any, **options: Any) -> Column[Any]:
    """A column that may be null.

    Args:
        name: of the column.
        kind: its SQL type.
        comment: explains the column to analysts.
        *more: foreign keys and other items of `Column`.
        **options: of `Column`.
    """
    return Column(name, kind, *more, comment=comment, **options)
