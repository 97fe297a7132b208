"""What asleep_analyst may and may not do, by trying it with a login of that role."""

import secrets
from collections.abc import Iterator
from importlib.resources import files

import pandas as pd
import pytest
from psycopg2.errors import InsufficientPrivilege
from sqlalchemy import Connection, Engine, create_engine, make_url, text
from sqlalchemy.exc import ProgrammingError

from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.schema import bookkeeping, metrics_table, tables

READABLE = {
    "users", "sleep_sessions", "monthly_averages",
    "sleep_metrics", "night_dates", "nights", "night_calendar", "sleep_stage_epochs", "monthly_overview",
    "user_months", "data_freshness", "changes", "session_versions",
}  # fmt: skip
DEFINED_IN = (tables, metrics_table, bookkeeping)


@pytest.fixture(scope="module")
def analyst_url(engine: Engine) -> Iterator[str]:
    """The documented line of a login that an administrator made as the cookbook says."""
    name, password = f"analyst_{secrets.token_hex(4)}", secrets.token_hex(8)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE asleep_analyst"))
    ours = make_url(engine.url.render_as_string(hide_password=False))
    yield ours.set(username=name, password=password).render_as_string(hide_password=False)
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {name}"))


@pytest.fixture
def analyst(analyst_url: str) -> Iterator[Connection]:
    """A connection of the analyst."""
    theirs = make_engine(analyst_url, application_name="analyst")
    with theirs.connect() as connection:
        yield connection
    theirs.dispose()


def everything(engine: Engine) -> set[str]:
    """Every table and view of the schema, as the owner sees them."""
    query = text(
        "SELECT relname FROM pg_class WHERE relnamespace = 'asleep'::regnamespace AND relkind IN ('r','v','m','p')"
    )
    with engine.connect() as connection:
        return set(connection.scalars(query))


def allowed(connection: Connection, statement: str) -> bool:
    """Whether the statement is permitted; it is rolled back."""
    try:
        with connection.begin_nested():
            connection.exec_driver_sql(statement)
            connection.get_nested_transaction().rollback()  # type: ignore[union-attr]
    except ProgrammingError as error:
        if not isinstance(error.orig, InsufficientPrivilege):
            raise
        return False
    return True


def test_the_analyst_reads_what_is_documented_and_nothing_else(engine: Engine, analyst: Connection):
    """Raw answers, the inbox, failures and keys' state are none of an analyst's business; new tables neither."""
    assert {name for name in everything(engine) if allowed(analyst, f"SELECT * FROM asleep.{name} LIMIT 1")} == READABLE


def test_no_single_column_slips_through(engine: Engine, analyst: Connection):
    """A grant on one column would pass a test that only tries `SELECT *`."""
    query = text(
        "SELECT format('%I.%I', relname, attname) FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid "
        "WHERE relnamespace = 'asleep'::regnamespace AND attnum > 0 AND relkind IN ('r', 'v') AND NOT attisdropped "
        "AND has_column_privilege(:name, pg_class.oid, attnum, 'SELECT')"
    )
    name = analyst.scalar(text("SELECT current_user"))
    with engine.connect() as connection:
        columns = set(connection.scalars(query, {"name": name}))

    assert {column.partition(".")[0] for column in columns} == READABLE


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO asleep.users (user_id, source) VALUES ('x', 'x')",
        "UPDATE asleep.sleep_sessions SET state = 'x'",
        "DELETE FROM asleep.monthly_averages",
        "TRUNCATE asleep.monthly_averages",
        "CREATE TABLE asleep.mine (x integer)",
        "CREATE VIEW asleep.mine AS SELECT 1",
        "DROP VIEW asleep.nights",
        "SELECT nextval('asleep.erasures_erasure_id_seq')",
        "SET ROLE asleep",
    ],
)
def test_the_analyst_changes_nothing(analyst: Connection, statement: str):
    """Reports must not be able to damage what they report on."""
    assert not allowed(analyst, statement)


def test_pandas_connects_with_the_documented_line(analyst_url: str):
    """The cookbook's line for pandas, with this server's host and login."""
    source = create_engine(analyst_url)
    table = pd.read_sql("SELECT * FROM asleep.data_freshness", source)
    source.dispose()

    assert table.loc[0, "missing_data"] == 0


def test_the_documented_search_path_works(analyst_url: str):
    """`options=-csearch_path=asleep` spares analysts the schema's name."""
    source = create_engine(make_url(analyst_url).update_query_dict({"options": "-csearch_path=asleep"}))
    with source.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM nights")).scalar() == 0
    source.dispose()


def test_a_grant_too_many_is_taken_back_by_the_next_migration(engine: Engine, analyst: Connection):
    """Somebody's quick GRANT in the night does not stay for ever."""
    with engine.begin() as connection:
        connection.execute(text("GRANT SELECT ON asleep.session_payloads TO asleep_analyst"))
        connection.execute(text("GRANT SELECT (body) ON asleep.webhook_events TO PUBLIC"))
    assert allowed(analyst, "SELECT body FROM asleep.webhook_events")
    analyst.rollback()

    migrate(engine)

    assert not allowed(analyst, "SELECT result FROM asleep.session_payloads")
    assert not allowed(analyst, "SELECT body FROM asleep.webhook_events")


@pytest.fixture
def plain(engine: Engine) -> Iterator[Engine]:
    """A database of an owner who may make nothing else, as managed services hand them out."""
    name, password = f"plain_{secrets.token_hex(4)}", secrets.token_hex(8)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}'"))
        connection.execute(text(f"GRANT {name} TO current_user"))
        connection.execute(text(f"CREATE DATABASE {name} OWNER {name}"))
        theirs = make_engine(engine.url.set(username=name, password=password, database=name), application_name="plain")
        yield theirs
        theirs.dispose()
        connection.execute(text(f"DROP DATABASE {name}"))
        connection.execute(text(f"DROP ROLE {name}"))


def test_a_migration_without_the_right_to_make_roles_goes_on(plain: Engine):
    """Managed databases often lack CREATEROLE: all else must be there, and somebody must be told."""
    migrate(plain)
    roles = files("resources.database").joinpath("views", "90_roles.sql").read_text("utf-8")
    with plain.begin() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        driver.cursor().execute(roles.replace("asleep_analyst", "nobody_has_this_role"))
        assert any("let an administrator run" in notice for notice in driver.notices)
        assert connection.execute(text("SELECT count(*) FROM asleep.nights")).scalar() == 0
