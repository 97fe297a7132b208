"""The first day of the partitions: stored by the first migration, and moved back only."""

from datetime import date, timedelta

from sqlalchemy import Connection, Engine, text

from resources.database.first_day import default_first_day, read_first_day, store_first_day
from resources.database.migrate import migrate

YESTERDAY = default_first_day() + timedelta(days=399)


def test_the_first_migration_stores_the_first_day_and_later_ones_keep_it(connection: Connection):
    """Partitions of every process start on the same day, whenever the process started."""
    connection.execute(text("DELETE FROM asleep.first_day"))

    assert store_first_day(connection, None) == default_first_day()

    connection.execute(text("UPDATE asleep.first_day SET day = '2025-01-31'"))
    assert store_first_day(connection, None) == read_first_day(connection) == date(2025, 1, 31)


def test_the_first_day_moves_back_and_never_forward(connection: Connection):
    """A day that was synced keeps its partition."""
    connection.execute(text("DELETE FROM asleep.first_day"))

    days = [store_first_day(connection, day) for day in (YESTERDAY, date(2024, 2, 29), YESTERDAY)]

    assert days == [YESTERDAY, date(2024, 2, 29), date(2024, 2, 29)]


def test_migrate_takes_the_first_day_of_the_settings(engine: Engine):
    """FIRST_DAY is read by `asleep-sync migrate`, also when the schema is current."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.first_day SET day = '2025-06-01'"))

    migrate(engine, first_day=date(2024, 6, 1))

    with engine.connect() as connection:
        assert read_first_day(connection) == date(2024, 6, 1)
