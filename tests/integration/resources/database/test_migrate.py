"""Schema upgrades: one transaction for each migration, beside writers and readers; refusals in one line."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from queue import SimpleQueue
from threading import Event

import pytest
from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.exc import ProgrammingError

from resources.database import migrate as module
from resources.database.engine import make_engine
from resources.database.migrate import NotMigrated, migrate, newest_revision, require_migrated
from tests.warehouse_sessions import session, slept, store

REAL = module.VERSIONS[0]
HEAD = newest_revision()
BEFORE = '"""Test."""\nfrom alembic import op\nimport sqlalchemy as sa\nrevision = "{0}"\ndown_revision = "{1}"\n'
COLUMN = BEFORE + 'def upgrade():\n    op.add_column("users", sa.Column("{2}", sa.Text()), schema="asleep")\n'
INDEX = BEFORE + (
    "IN_TRANSACTION = False\n"
    "def upgrade():\n"
    '    names = dict(schema="asleep", postgresql_concurrently=True)\n'
    '    op.drop_index("{2}", if_exists=True, **names)\n'
    '    op.create_index("{2}", "sleep_sessions", ["completed_time"], **names)\n'
)
TYPE = BEFORE + 'def upgrade():\n    op.alter_column("sleep_sessions", "{2}", type_=sa.BigInteger(), schema="asleep")\n'
BROKEN = BEFORE + 'def upgrade():\n    op.execute("SELECT 1 / 0")\n'

Write = Callable[..., str]


@pytest.fixture
def engine(new_database: Callable[[], AbstractContextManager[str]]) -> Iterator[Engine]:
    """A migrated database of the test's own."""
    with new_database() as url:
        engine = make_engine(url, application_name="tests")
        yield engine
        engine.dispose()


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """`write(COLUMN, "note")`: a later migration, as the next release would bring it; returns its revision."""
    monkeypatch.setattr(module, "VERSIONS", (REAL, tmp_path))
    numbers, last = count(9001), [HEAD]

    def write(form: str, *words: str) -> str:
        number = str(next(numbers))
        (tmp_path / f"{number}.py").write_text(form.format(number, last[-1], *words))
        last.append(number)
        newest_revision.cache_clear()
        return number

    yield write
    newest_revision.cache_clear()


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the waits, so that all attempts take less than a second."""
    for name, value in (("LOCK_SECONDS", 0.05), ("PAUSE_SECONDS", (0.01, 0.02)), ("ATTEMPTS", 3)):
        monkeypatch.setattr(module, name, value)


def revision_of(engine: Engine) -> str:
    with engine.connect() as connection:
        return str(connection.scalar(text("SELECT version_num FROM asleep.alembic_version")))


def columns_of_users(engine: Engine) -> set[str]:
    query = "SELECT attname FROM pg_attribute WHERE attrelid = 'asleep.users'::regclass AND attnum > 0"
    with engine.connect() as connection:
        return set(connection.scalars(text(query)))


def store_one(connection: Connection, name: str) -> None:
    store(connection, [session("G-1", datetime(2026, 5, 20, 14, tzinfo=UTC), slept(), session_id=name)])


@contextmanager
def writing(engine: Engine) -> Iterator[SimpleQueue[str]]:
    """Store sessions one by one and read a view until the block ends; yields the ids stored so far."""
    stop, written = Event(), SimpleQueue[str]()

    def work() -> None:
        for number in count():
            if stop.is_set():
                return
            with engine.begin() as connection:
                store_one(connection, f"s-{number}")
                connection.execute(text("SELECT count(*) FROM asleep.nights")).one()
            written.put(f"s-{number}")

    with ThreadPoolExecutor(1) as pool:
        work_done = pool.submit(work)
        try:
            yield written
        finally:
            stop.set()
            work_done.result(60)


def test_an_upgrade_runs_beside_writers_and_readers(engine: Engine, write: Write):
    """A release must not need a maintenance window: neither the sync nor analysts get an error."""
    write(COLUMN, "note")
    last = write(INDEX, "completed_idx")
    with writing(engine) as written:
        taken = [written.get(timeout=30)]
        assert migrate(engine) == (HEAD, last)
        while not written.empty():
            taken.append(written.get())
        taken.append(written.get(timeout=30))  # it goes on afterwards, too
    while not written.empty():
        taken.append(written.get())
    with engine.connect() as connection:
        stored = list(connection.scalars(text("SELECT session_id FROM asleep.sleep_sessions")))
        index = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'asleep.completed_idx'::regclass"
        assert connection.scalar(text(index)) is True
    assert sorted(stored) == sorted(taken)
    assert "note" in columns_of_users(engine)


def test_functions_that_a_sync_may_be_calling_are_not_dropped(engine: Engine):
    """A call that was under way failed with "cache lookup failed for function", and its request with it."""
    functions = text("SELECT 'asleep.reserve_slots'::regproc::oid, 'asleep.report_outcome'::regproc::oid")
    with engine.connect() as connection:
        before = connection.execute(functions).one()

    migrate(engine)

    with engine.connect() as connection:
        assert connection.execute(functions).one() == before


def test_a_column_under_a_view_can_be_changed(engine: Engine, write: Write):
    """Postgres refuses this while a view uses the column, so they are dropped and created in the same transaction."""
    last = write(TYPE, "time_in_bed")
    assert migrate(engine) == (HEAD, last)
    with engine.connect() as connection:
        column = "attrelid = 'asleep.nights'::regclass AND attname = 'time_in_bed'"
        kind = connection.scalar(text(f"SELECT atttypid::regtype::text FROM pg_attribute WHERE {column}"))
    assert kind == "bigint"


def test_simultaneous_upgrades_apply_a_migration_once(engine: Engine, write: Write):
    """Containers of one release start together; a waiting process with a snapshot would block a concurrent index."""
    last = write(INDEX, "completed_idx")
    with ThreadPoolExecutor(3) as pool:
        found = sorted(migrated for migrated, _ in pool.map(migrate, [engine] * 3))
    assert found == [HEAD, last, last]


def test_a_failed_migration_keeps_those_before_it(engine: Engine, write: Write):
    """Each migration is a transaction of its own: the next attempt continues after the last one that succeeded."""
    first = write(COLUMN, "note")
    write(BROKEN)
    with pytest.raises(Exception, match="division by zero"):
        migrate(engine)
    assert revision_of(engine) == first
    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM asleep.nights")) == 0


@pytest.mark.usefixtures("hasty")
def test_an_upgrade_without_its_lock_names_the_migration(engine: Engine, write: Write):
    """A long wait for a table would block every writer behind it, so the upgrade gives up and can be repeated."""
    last = write(COLUMN, "note")
    with engine.begin() as long_transaction:
        store_one(long_transaction, "uncommitted")
        long_transaction.execute(text("LOCK TABLE asleep.users IN ACCESS SHARE MODE"))
        with pytest.raises(NotMigrated, match=f"Migration {last}: no lock within .* s, 3 times") as refused:
            migrate(engine)
    assert "\n" not in str(refused.value)
    assert revision_of(engine) == HEAD
    assert migrate(engine) == (HEAD, last)


def test_a_lock_is_awaited_in_short_attempts(engine: Engine, write: Write, monkeypatch: pytest.MonkeyPatch):
    """Writers proceed between two attempts, and the migration gets its lock in the end."""
    monkeypatch.setattr(module, "LOCK_SECONDS", 0.05)
    turns = []

    def pause(*_: float) -> Callable[[object], float]:
        def wait(state: object) -> float:
            turns.append(state)
            if len(turns) == 2:
                long_transaction.rollback()
            return 0.0

        return wait

    monkeypatch.setattr(module, "wait_random", pause)
    last = write(COLUMN, "note")
    with engine.connect() as long_transaction:
        long_transaction.execute(text("LOCK TABLE asleep.users IN ACCESS SHARE MODE"))
        assert migrate(engine) == (HEAD, last)
    assert len(turns) == 2


NIGHTS_OF = (
    "SELECT session_id, night_date, episode_id, episode_sessions, night_role FROM asleep.sleep_sessions ORDER BY 1"
)


def test_sessions_stored_before_there_were_nights_are_assigned_in_batches(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
):
    """A million sessions in one transaction exceeded its time limit, and every attempt started from the beginning."""
    noon = datetime(2026, 5, 20, 12, tzinfo=UTC)
    hours = [timedelta(days=day, hours=hour) for day in range(3) for hour in (1, 9.5)]
    with engine.begin() as connection:
        store(connection, [session(f"user {n}", noon + after, slept()) for n in range(5) for after in hours])
        expected = connection.execute(text(NIGHTS_OF)).all()
        connection.execute(
            text("UPDATE asleep.sleep_sessions SET night_role = NULL, episode_id = NULL, episode_sessions = NULL")
        )
    monkeypatch.setattr(module, "USERS_AT_ONCE", 2)
    lines: list[str] = []

    migrate(engine, progress=lines.append)

    assert lines == [f"Nights of {done} of 5 users assigned." for done in (2, 4, 5)]
    with engine.connect() as connection:
        assert connection.execute(text(NIGHTS_OF)).all() == expected


OTHERS = (
    ("public.my_nights", "CREATE VIEW public.my_nights AS SELECT * FROM asleep.nights"),
    ("public.my_users", "CREATE VIEW public.my_users AS SELECT user_id FROM asleep.users"),
    ("public.my_copy", "CREATE MATERIALIZED VIEW public.my_copy AS SELECT * FROM asleep.sleep_sessions"),
    ("asleep.mine_too", "CREATE VIEW asleep.mine_too AS SELECT month FROM asleep.monthly_averages"),
)


def test_views_of_others_are_named_before_anything_is_touched(engine: Engine, write: Write):
    """They block a change of a column, and dropping them would destroy the work of others."""
    with engine.begin() as connection:
        for _, statement in OTHERS:
            connection.execute(text(statement))
    last = write(COLUMN, "note")
    with pytest.raises(NotMigrated) as refused:
        migrate(engine)
    told = str(refused.value)
    assert all(name in told for name, _ in OTHERS)
    assert "pg_get_viewdef('asleep.mine_too'::regclass)" in told
    assert "\n" not in told
    assert (revision_of(engine), "note" in columns_of_users(engine)) == (HEAD, False)
    with engine.begin() as connection:
        for name, statement in OTHERS:
            connection.execute(text(f"DROP {'MATERIALIZED ' * ('MATERIALIZED' in statement)}VIEW {name}"))
    assert migrate(engine) == (HEAD, last)


def test_views_of_others_do_not_matter_without_an_upgrade(engine: Engine):
    """Every start of a container runs `migrate`."""
    with engine.begin() as connection:
        connection.execute(text(OTHERS[0][1]))
    assert migrate(engine) == (HEAD, HEAD)


def test_a_view_whose_columns_changed_is_created_again(engine: Engine):
    """Postgres cannot replace a view by one with other columns."""
    with engine.begin() as connection:
        connection.execute(text("DROP VIEW asleep.missing_data CASCADE"))
        connection.execute(text("CREATE VIEW asleep.missing_data AS SELECT 1 AS another_column"))
    migrate(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT failure_id FROM asleep.missing_data")).all() == []


@pytest.mark.parametrize(
    ("revision", "remedy"),
    [
        ("9999", "does not have.*Install the release that made it"),
        ("0006", "before the first release.*backup-and-rest"),
    ],
)
def test_a_schema_of_another_release_is_refused_in_one_line(engine: Engine, revision: str, remedy: str):
    """After a rollback of the program, or with a database from before the first release."""
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.alembic_version SET version_num = :revision"), {"revision": revision})
    with pytest.raises(NotMigrated, match=remedy) as refused:
        migrate(engine)
    assert "\n" not in str(refused.value)
    with engine.connect() as connection, pytest.raises(NotMigrated, match=remedy):
        require_migrated(connection)
    assert revision_of(engine) == revision


def test_an_empty_database_is_migrated_from_nothing(postgres, engine: Engine):
    """Before it, the program says that the schema is missing."""
    name = "from_nothing"
    with create_engine(postgres.url, isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    empty = make_engine(engine.url.set(database=name), application_name="tests")
    with empty.connect() as connection:
        with pytest.raises(NotMigrated, match="revision none"):
            require_migrated(connection)
        with pytest.raises(ProgrammingError):
            connection.execute(text("SELECT FROM asleep.users"))
    assert migrate(empty) == (None, HEAD)
    with empty.connect() as connection:
        require_migrated(connection)
    empty.dispose()


WRITE = """
import sys
from pathlib import Path
from sqlalchemy import Column, Text
from resources.database import migrate
from resources.database.engine import make_engine
from tools.new_migration import write_migration
from resources.database.schema.tables import users

migrate.VERSIONS = (Path(sys.argv[2]),)
users.append_column(Column("nickname", Text, comment="Test"))
print(write_migration(make_engine(sys.argv[1], application_name="tests"), "Add a nickname"))
"""


def test_a_migration_is_written_from_the_schema(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A difference between `schema/` and the migrations becomes the next migration; the views stay."""
    versions = tmp_path / "versions"
    shutil.copytree(REAL, versions, ignore=shutil.ignore_patterns("__pycache__"))
    url = engine.url.render_as_string(hide_password=False)
    ended = subprocess.run(
        [sys.executable, "-c", WRITE, url, str(versions)],
        capture_output=True,
        text=True,
        check=False,
        cwd=REAL.parents[3],
    )
    assert ended.returncode == 0, ended.stderr
    number = f"{int(HEAD) + 1:04d}"
    written = versions / f"{number}_add_a_nickname.py"
    assert str(written) in ended.stdout
    assert "nickname" in written.read_text()
    assert "drop" not in written.read_text().partition("def upgrade")[2]

    monkeypatch.setattr(module, "VERSIONS", (versions,))
    newest_revision.cache_clear()
    try:
        assert migrate(engine) == (HEAD, number)
    finally:
        newest_revision.cache_clear()
    assert "nickname" in columns_of_users(engine)
    with engine.connect() as connection:
        assert connection.execute(text("SELECT * FROM asleep.nights")).all() == []
