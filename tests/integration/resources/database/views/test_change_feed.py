"""A reader of the change feed skips nothing and receives erasures; former versions of sessions can be read."""

import random
import select
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from resources.database.sync.sync_state import SyncState
from resources.database.users.erase import Erasures
from resources.database.users.registry import Registry
from tests.warehouse_sessions import LATER, session, slept, store

NIGHT = datetime(2026, 10, 1, 14, tzinfo=UTC)


class Copy:
    """A reader's copy of the sessions, kept as docs/how-to/change-feed.md describes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        with engine.connect() as connection:
            self.position = connection.scalar(text("SELECT asleep.changes_position()"))
        self.rows: dict[str, Any] = {}

    def follow(self, most: int = 1000) -> list[str]:
        """Read one page of changes; returns their kinds."""
        with self._engine.connect() as connection:
            found = connection.execute(
                text("SELECT * FROM asleep.changes_since(:position, :most)"), {"position": self.position, "most": most}
            ).all()
            ids = [change.session_id for change in found]
            now = {row.session_id: tuple(row) for row in connection.execute(_CONTENT, {"session_ids": ids})}
        for change in found:
            self.position = change.new_position
            self.rows.pop(change.session_id, None)
        self.rows.update(now)
        return [change.kind for change in found]


_COLUMNS = "session_id, user_id, sleep_index, deleted_at IS NULL, night_date, night_role, episode_id, episode_sessions"
_CONTENT = text(f"SELECT {_COLUMNS} FROM asleep.sleep_sessions WHERE session_id = ANY (:session_ids)")


def source(connection: Connection) -> dict[str, Any]:
    found = connection.execute(text(f"SELECT {_COLUMNS} FROM asleep.sleep_sessions"))
    return {row.session_id: tuple(row) for row in found}


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> Iterator[None]:
    """Delete sessions and changes after each test."""
    yield
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.sleep_sessions"))
        connection.execute(text("TRUNCATE asleep.users, asleep.changes, asleep.session_versions"))


def analysed_again(night: Any, sleep_index: int) -> Any:
    later = night.asked_at + timedelta(seconds=sleep_index)
    digest = bytes([sleep_index % 256]) * 16
    return replace(night, stat=slept(sleep_index=sleep_index), asked_at=later, payload_hash=digest)


def test_a_change_that_commits_later_is_not_skipped(engine: Engine):
    """A bookmark on `updated_at` lost the row of the slower transaction for good."""
    copy = Copy(engine)
    with engine.connect() as slow:
        store(slow, [session("slow", NIGHT, slept())])
        with engine.begin() as fast:
            store(fast, [session("fast", NIGHT, slept())])
        assert copy.follow() == []
        slow.commit()

    assert copy.follow() == ["inserted", "inserted"]
    with engine.connect() as connection:
        assert copy.rows == source(connection)


def test_updates_and_deletions_arrive_once(engine: Engine):
    """Storing an equal row is no change."""
    night = session("user", NIGHT, slept(sleep_index=70))
    with engine.begin() as connection:
        store(connection, [night])
    copy = Copy(engine)
    for again in (night, analysed_again(night, 71)):
        with engine.begin() as connection:
            store(connection, [again])
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sleep_sessions SET deleted_at = now()"))

    assert copy.follow(most=1) == ["updated"]
    assert copy.follow() == ["deleted"]
    assert copy.follow() == []


def test_an_erasure_arrives_and_leaves_no_trace_of_the_person(engine: Engine):
    """Otherwise a copy elsewhere keeps the sessions, and former versions keep the data."""
    night = session("leaving", NIGHT, slept(sleep_index=70))
    with engine.begin() as connection:
        store(connection, [night, session("staying", NIGHT, slept())])
    with engine.begin() as connection:
        store(connection, [analysed_again(night, 71)])
    copy = Copy(engine)
    copy.rows = {night.session_id: "a copy"}
    with engine.begin() as connection:
        Erasures(connection).erase("leaving", "requested")

    assert copy.follow() == ["erased"]
    assert copy.rows == {}
    with engine.connect() as connection:
        for table in ("changes", "session_versions"):
            named = connection.scalar(text(f"SELECT count(*) FROM asleep.{table} AS t WHERE t::text LIKE '%leaving%'"))
            assert named == 0, table


def test_a_position_that_is_too_old_is_refused_with_the_remedy(engine: Engine):
    """A reader at that position would skip the removed changes."""
    old = Copy(engine)
    with engine.begin() as connection:
        store(connection, [session("one", NIGHT, slept())])
    with engine.begin() as connection:
        assert SyncState(connection).prune_changes(datetime.now(UTC) + timedelta(minutes=1)) == 1
    new = Copy(engine)
    with engine.begin() as connection:
        store(connection, [session("two", NIGHT, slept())])

    with pytest.raises(DBAPIError, match="copy the tables again"):
        old.follow()
    assert new.follow() == ["inserted"]
    with engine.begin() as connection:
        assert SyncState(connection).prune_changes(datetime.now(UTC) + timedelta(minutes=1)) == 2


def test_a_position_of_another_server_is_refused(engine: Engine):
    """After a dump is restored, transactions are numbered from the start, and a reader would wait for years."""
    reader = Copy(engine)
    reader.position = "999999999999-1"
    with pytest.raises(DBAPIError, match=r"restored from a dump(.|\n)*copy the tables again"):
        reader.follow()

    with engine.begin() as connection:
        values = "(999999999999, 'updated', '2020-01-01')"
        old = f"INSERT INTO asleep.changes (transaction_id, kind, changed_at) VALUES {values}"
        connection.execute(text(old))
        assert SyncState(connection).prune_changes(datetime(2021, 1, 1, tzinfo=UTC)) == 1
    reader = Copy(engine)
    with engine.begin() as connection:
        store(connection, [session("one", NIGHT, slept())])
    assert reader.follow() == ["inserted"]


def test_listeners_are_notified_when_a_change_commits(engine: Engine):
    """A reader can wait instead of polling."""
    listener = engine.raw_connection()
    try:
        listener.driver_connection.set_isolation_level(0)
        with listener.cursor() as cursor:
            cursor.execute("LISTEN asleep_changes")
        with engine.begin() as connection:
            store(connection, [session("one", NIGHT, slept()), session("two", NIGHT, slept())])
        assert select.select([listener.driver_connection], [], [], 10) != ([], [], [])
        listener.driver_connection.poll()
        assert [notice.channel for notice in listener.driver_connection.notifies] == ["asleep_changes"]
    finally:
        listener.invalidate()


def test_sessions_can_be_read_as_they_were(engine: Engine):
    """A re-analysis used to overwrite a night without a trace."""
    night = session("user", NIGHT, slept(sleep_index=70))
    moments = []
    for version in (night, analysed_again(night, 71), analysed_again(night, 72)):
        with engine.begin() as connection:
            store(connection, [version])
        with engine.begin() as connection:
            moments.append(connection.scalar(text("SELECT clock_timestamp()")))
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sleep_sessions SET deleted_at = now()"))

    def as_of(moment: datetime) -> list[Any]:
        query = text("SELECT sleep_index, wake_time, deleted_at FROM asleep.sessions_as_of(:moment)")
        with engine.connect() as connection:
            return list(connection.execute(query, {"moment": moment}))

    assert [[row.sleep_index for row in as_of(moment)] for moment in moments] == [[70], [71], [72]]
    assert all(row.deleted_at is None for moment in moments for row in as_of(moment))
    assert as_of(moments[0] - timedelta(hours=1)) == []
    assert [row.deleted_at is None for row in as_of(datetime.now(UTC) + timedelta(minutes=1))] == [False]
    with engine.connect() as connection:
        reasons = connection.scalars(text("SELECT reason FROM asleep.session_versions ORDER BY version_id")).all()
    assert reasons == ["reanalysed", "reanalysed", "deleted"]


def test_a_transaction_records_one_change_of_a_session(engine: Engine):
    """The night of two sessions is assigned after they were inserted; a reader reads the final rows all the same."""
    copy = Copy(engine)
    evening, later = (session("user", NIGHT + timedelta(hours=hours), slept()) for hours in (0, 8.5))
    with engine.begin() as connection:
        store(connection, [evening, later])
        store(connection, [analysed_again(evening, 71)])
    assert copy.follow() == ["inserted", "inserted"]
    with engine.connect() as connection:
        assert copy.rows == source(connection)
        assert {row[-1] for row in copy.rows.values()} == {2}, "one episode of two sessions"

    with engine.begin() as connection:
        store(connection, [analysed_again(evening, 72)])
        store(connection, [analysed_again(evening, 73)])
        connection.execute(text("UPDATE asleep.sleep_sessions SET deleted_at = now() WHERE sleep_index = 73"))
    assert copy.follow() == ["updated", "deleted"]


def _write(engine: Engine, writer: int, transactions: int, failures: list[BaseException]) -> None:
    """Change ten sessions of a user in each transaction, as a sync does; a fifth of the transactions roll back."""
    chance = random.Random(writer)  # noqa: S311 a reproducible sequence
    nights = [session(f"user {writer}", NIGHT + timedelta(days=day), slept(sleep_index=50)) for day in range(20)]
    try:
        for number in range(transactions):
            some = [analysed_again(night, 51 + number % 200) for night in chance.sample(nights, 10)]
            rows = [replace(night, asked_at=LATER + timedelta(seconds=number)) for night in some]
            with engine.connect() as connection:
                if not Registry(connection).hold([f"user {writer}"]):
                    return
                store(connection, rows)
                if chance.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()
    except BaseException as error:  # noqa: BLE001 reported by the test's own thread
        failures.append(error)


@pytest.mark.parametrize(
    ("writers", "transactions", "changes"),
    [(3, 60, 1_000), pytest.param(8, 1_800, 100_000, marks=[pytest.mark.long, pytest.mark.timeout(1200)])],
)
def test_a_copy_equals_its_source_under_concurrent_writers(
    engine: Engine, writers: int, transactions: int, changes: int, capsys: pytest.CaptureFixture[str]
):
    """Writers overlap and roll back, a user is erased in the middle, and the reader never reads a position twice."""
    users = [f"user {writer}" for writer in range(writers)]
    with engine.begin() as connection:
        Registry(connection).register(users, "import")
    copy, kinds, failures = Copy(engine), Counter[str](), list[BaseException]()
    threads = [threading.Thread(target=_write, args=(engine, n, transactions, failures)) for n in range(writers)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        kinds.update(copy.follow(most=200))
        if "erased" not in kinds and kinds.total() > changes // 2:
            with engine.begin() as connection:
                Erasures(connection).erase("user 0", "requested")
            while "erased" not in kinds:
                kinds.update(copy.follow(most=200))
    while page := copy.follow(most=200):
        kinds.update(page)

    with capsys.disabled():
        print(f"\n{writers} writers, {kinds.total():,} changes in {time.monotonic() - began:,.0f} s: {dict(kinds)}")  # noqa: T201
    assert failures == []
    assert kinds["erased"] == 20
    assert kinds.total() >= changes
    with engine.connect() as connection:
        assert copy.rows == source(connection)
    assert len(copy.rows) == 20 * (writers - 1)
