"""A session has what we need whatever the server's defaults are, or it is refused in one line."""

from collections.abc import Iterator
from contextlib import closing

import psycopg2
import pytest
from click.testing import CliRunner
from sqlalchemy import Engine, text

from pipelines.cli.main import main
from resources.database.engine import make_engine
from resources.database.session_settings import SETTINGS, DatabaseUnsuitable, set_up_session
from resources.embedded_postgres import server as embedded
from tests.databases import drop_database, url_of
from tests.integration.pipelines.service.serving import free_port


@pytest.fixture
def hostile(engine: Engine, database_url: str) -> Iterator[Engine]:
    """The same database with other defaults, as an administrator may have set them."""
    name = engine.url.database
    with engine.begin() as connection:
        for setting in ("TimeZone = 'Asia/Seoul'", "search_path = public", "DateStyle = 'German'", "jit = on"):
            connection.execute(text(f"ALTER DATABASE {name} SET {setting}"))
    other = make_engine(database_url, application_name="tests")
    yield other
    other.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"ALTER DATABASE {name} RESET ALL"))


def test_settings_hold_for_the_whole_session(hostile: Engine):
    """Also after a transaction that failed, and whatever the database's defaults are."""
    for statement in ("SELECT 1", "SELECT 1 / 0"):
        with hostile.connect() as connection:
            try:
                connection.execute(text(statement))
            except Exception:  # noqa: BLE001 that is the point
                connection.rollback()
            found = {
                name: connection.scalar(text("SELECT current_setting(:name)"), {"name": name}) for name in SETTINGS
            }
            assert found == dict(SETTINGS)


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1"])
def test_a_database_in_another_encoding_is_refused_by_name(
    postgres: embedded.EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch, encoding: str
):
    """Names outside that encoding would be refused or garbled months later."""
    name = f"in_{encoding.lower()}"
    drop_database(postgres, name)
    with closing(psycopg2.connect(postgres.superuser_dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(
                f"CREATE DATABASE {name} ENCODING '{encoding}' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
            )
    try:
        monkeypatch.setenv("DATABASE_URL", url_of(postgres, name))
        answer = CliRunner().invoke(main, ["migrate"])
        assert answer.exit_code == 2
        assert answer.output.startswith(f"asleep-sync: The database {name} has the encoding {encoding}")
        assert len(answer.output.splitlines()) == 1
    finally:
        drop_database(postgres, name)


def test_several_hosts_are_tried_in_order(database_url: str):
    """As in libpq, so that a URL that psql takes works here: a standby takes over without a change of settings."""
    before, _, after = database_url.rpartition("@")
    host, _, path = after.partition("/")
    url = f"{before}@127.0.0.1:{free_port()},{host}/{path}?target_session_attrs=read-write"
    engine = make_engine(url, application_name="tests")
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT current_database()")) == path
    engine.dispose()


def test_a_setting_that_does_not_stay_is_refused(engine: Engine):
    """A pooler that drops settings would compute local dates in the server's zone."""
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    refused = pytest.raises(DatabaseUnsuitable, match="TimeZone of a database session is 'UTC' and not 'Utc'")
    with closing(psycopg2.connect(url)) as connection, refused:
        set_up_session(connection, {"TimeZone": "Utc"})
