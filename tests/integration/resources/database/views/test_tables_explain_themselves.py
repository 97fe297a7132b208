"""Every table, view and column says what it means, and the page of it is the database's own words.

Not here: whether the words are true.
"""

from pathlib import Path

from sqlalchemy import Connection, Engine, text

from resources.database.schema.dictionary import dictionary

PAGE = Path(__file__).resolve().parents[5] / "docs" / "reference" / "data-dictionary.md"


def test_the_data_dictionary_is_the_databases_own_words(connection: Connection):
    """A page that lags behind the tables is worse than none. Remedy: python -m resources.database.schema.dictionary."""
    assert dictionary(connection) == PAGE.read_text("utf-8")


def test_everything_has_a_comment(engine: Engine):
    """Somebody with psql and no knowledge of the code must find out what a column means, anywhere."""
    query = text(
        "SELECT format('%s.%s', relname, attname) FROM pg_class "
        "JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped "
        "WHERE relnamespace = 'asleep'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'alembic_version' "
        "AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid, 'pg_class') IS NULL)"
    )
    with engine.connect() as connection:
        assert list(connection.scalars(query)) == []
