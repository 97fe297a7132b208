"""The first day that has a partition. It is stored, so that the partitions of every process are the same."""

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import Connection, select
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import first_day

EARLIEST_DAY = date(2021, 1, 1)
"""The Asleep API holds nothing older."""
DEFAULT_DAYS = 400


def default_first_day() -> date:
    """Return the first day of a database that is migrated today without another wish."""
    return datetime.now(UTC).date() - timedelta(days=DEFAULT_DAYS)


def read_first_day(connection: Connection) -> date:
    """Return the stored first day."""
    stored: date = connection.scalars(select(first_day.c.day)).one()
    return stored


def store_first_day(connection: Connection, day: date | None) -> date:
    """Store the first day, or move it back; returns the first day now. It never moves forward.

    Args:
        connection: in a transaction.
        day: the first day at the latest; None keeps what is stored, or stores the default.
    """
    statement = insert(first_day).values(day=day or default_first_day())
    if day is None:
        statement = statement.on_conflict_do_nothing()
    else:
        statement = statement.on_conflict_do_update(
            index_elements=[first_day.c.only_row], set_={"day": day}, where=first_day.c.day > day
        )
    connection.execute(statement)
    return read_first_day(connection)
