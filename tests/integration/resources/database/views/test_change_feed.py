"""Copies elsewhere follow the change feed: nothing is skipped, erasures arrive, former versions can be read."""

import random
import select
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from resources.database.sync.change_feed import prune_changes
from resources.database.users.erase import erase
from tests.warehouse_sessions import LATER, session, slept, store

NIGHT = datetime(2026, 10, 1, 14, tzinfo=UTC)


class Copy:
    """A reader's copy of the sessions, as the cookbook describes it."""

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
            for change in found:
                self.position = change.new_position
                self.rows.pop(change.session_id, None)
                row = connection.execute(_CONTENT, {"session_id": change.session_id}).one_or_none()
                if row is not None:
                    self.rows[change.session_id] = tuple(row)
        return [change.kind for change in found]


_CONTENT = text(
    "SELECT session_id, user_id, sleep_index, deleted_at IS NULL FROM asleep.sleep_sessions "
    "WHERE session_id = :session_id"
)


def source(connection: Connection) -> dict[str, Any]:
    found = connection.execute(
        text("SELECT session_id, user_id, sleep_index, deleted_at IS NULL FROM asleep.sleep_sessions")
    )
    return {row.session_id: tuple(row) for row in found}


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> Iterator[None]:
    """No session and no change is left for the next test."""
    yield
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.sleep_sessions"))
        connection.execute(text("TRUNCATE asleep.changes, asleep.session_versions"))


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
    """What is equal to the stored row is no change."""
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
    """A copy elsewhere never learnt of it, and former versions would keep the data."""
    night = session("leaving", NIGHT, slept(sleep_index=70))
    with engine.begin() as connection:
        store(connection, [night, session("staying", NIGHT, slept())])
    with engine.begin() as connection:
        store(connection, [analysed_again(night, 71)])
    copy = Copy(engine)
    copy.rows = {night.session_id: "a copy"}
    with engine.begin() as connection:
        erase(connection, "leaving", "requested")

    assert copy.follow() == ["erased"]
    assert copy.rows == {}
    with engine.connect() as connection:
        for table in ("changes", "session_versions"):
            named = connection.scalar(text(f"SELECT count(*) FROM asleep.{table} AS t WHERE t::text LIKE '%leaving%'"))
            assert named == 0, table


def test_a_position_that_is_too_old_is_refused_with_the_remedy(engine: Engine):
    """Going on from there would skip what was removed."""
    old = Copy(engine)
    with engine.begin() as connection:
        store(connection, [session("one", NIGHT, slept())])
    with engine.begin() as connection:
        assert prune_changes(connection, before=datetime.now(UTC) + timedelta(minutes=1)) == 1
    new = Copy(engine)
    with engine.begin() as connection:
        store(connection, [session("two", NIGHT, slept())])

    with pytest.raises(DBAPIError, match="copy the tables again"):
        old.follow()
    assert new.follow() == ["inserted"]
    with engine.begin() as connection:
        assert prune_changes(connection, before=datetime.now(UTC) + timedelta(minutes=1)) == 2


def test_listeners_are_notified_when_a_change_commits(engine: Engine):
    """A reader need not poll."""
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
    """A re-analysed night was overwritten without a trace."""
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


def _write(engine: Engine, writer: int, changes: int, failures: list[BaseException]) -> None:
    chance = random.Random(writer)  # noqa: S311 a reproducible sequence
    nights = [session(f"user {writer}", NIGHT + timedelta(days=day), slept(sleep_index=50)) for day in range(20)]
    try:
        for number in range(changes // 10):
            some = [analysed_again(chance.choice(nights), 51 + number % 200) for _ in range(10)]
            rows = [replace(night, asked_at=LATER + timedelta(seconds=number)) for night in some]
            with engine.connect() as connection:
                store(connection, rows)
                if chance.random() < 0.2:
                    connection.rollback()
                else:
                    connection.commit()
    except BaseException as error:  # noqa: BLE001 reported by the test's own thread
        failures.append(error)


@pytest.mark.parametrize(
    ("writers", "changes"), [(3, 600), pytest.param(8, 12_500, marks=[pytest.mark.long, pytest.mark.timeout(1200)])]
)
def test_a_copy_equals_its_source_under_concurrent_writers(engine: Engine, writers: int, changes: int):
    """Writers that overlap and roll back, an erasure in the middle, a reader that never looks back."""
    copy = Copy(engine)
    failures: list[BaseException] = []
    threads = [threading.Thread(target=_write, args=(engine, n, changes, failures)) for n in range(writers)]
    for thread in threads:
        thread.start()
    erased = False
    while any(thread.is_alive() for thread in threads):
        copy.follow(most=200)
        if not erased and not threads[0].is_alive():
            with engine.begin() as connection:
                erase(connection, "user 0", "requested")
            erased = True
    for thread in threads:
        thread.join()
    with engine.begin() as connection:
        erase(connection, "user 0", "requested")
    while copy.follow(most=200):
        pass

    assert failures == []
    with engine.connect() as connection:
        assert copy.rows == source(connection)
    assert len(copy.rows) == 20 * (writers - 1)
