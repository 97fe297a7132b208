"""Which user-months are computed again, and that no interleaving of writers leaves stale averages unqueued."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from assets.metrics.monthly_summary import Summarised, count_differing, summarise
from tests.warehouse_sessions import session, slept, store

MARCH, APRIL = date(2026, 3, 1), date(2026, 4, 1)
GATE = 4711


def night(user_id: str, month: int, day: int, asleep: int = 26400):
    """A night of that user, in Seoul's evening."""
    return session(user_id, datetime(2026, month, day, 14, tzinfo=UTC), slept(time_in_sleep=asleep))


@pytest.fixture(autouse=True)
def _empty(engine: Engine) -> Iterator[None]:
    """These tests commit, so each leaves the tables empty."""
    yield
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.sleep_sessions"))
        connection.execute(text("DELETE FROM asleep.session_payloads"))
        connection.execute(text("DELETE FROM asleep.monthly_averages"))
        connection.execute(text("DELETE FROM asleep.stale_months"))


def write(engine: Engine, *nights) -> None:
    """Store nights and commit."""
    with engine.begin() as connection:
        store(connection, nights)


def summarised(engine: Engine, month: date | None = None) -> Summarised:
    """Compute the averages and commit."""
    with engine.begin() as connection:
        return summarise(connection, month)


def sessions_counted(engine: Engine) -> dict[tuple[str, date], int]:
    """How many sessions the averages of each user-month are made from."""
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT user_id, month, sessions FROM asleep.monthly_averages"))
        return {(row.user_id, row.month): row.sessions for row in rows}


def waiting(engine: Engine) -> int:
    """User-months in the queue."""
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM asleep.stale_months")) or 0


def test_only_touched_user_months_are_computed(engine: Engine):
    """One day's sync must not cost the averages of all years."""
    write(engine, night("one", 3, 5), night("one", 4, 5), night("two", 3, 5))
    assert summarised(engine) == Summarised(3, 2, written=3, unchanged=0, removed=0, still_waiting=0)
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.monthly_averages SET sessions = 99"))

    write(engine, night("one", 4, 6))

    assert summarised(engine) == Summarised(1, 1, written=1, unchanged=0, removed=0, still_waiting=0)
    assert sessions_counted(engine) == {("one", MARCH): 99, ("one", APRIL): 2, ("two", MARCH): 99}


def test_one_month_can_be_computed_alone(engine: Engine):
    """A monthly partition works on its own month and leaves the others queued."""
    write(engine, night("one", 3, 5), night("one", 4, 5))

    assert summarised(engine, MARCH) == Summarised(1, 1, written=1, unchanged=0, removed=0, still_waiting=0)
    assert sessions_counted(engine) == {("one", MARCH): 1}
    assert waiting(engine) == 1


def test_equal_averages_are_not_rewritten(engine: Engine):
    """Whoever follows `computed_at`, or the size of the write-ahead log, sees changes only."""
    write(engine, night("one", 3, 5), night("one", 3, 6))
    summarised(engine)
    where = text("SELECT ctid::text, xmin::text, computed_at FROM asleep.monthly_averages")
    with engine.begin() as connection:
        before = connection.execute(where).one()
        connection.execute(text("INSERT INTO asleep.stale_months VALUES ('one', '2026-03-01')"))

    assert summarised(engine) == Summarised(1, 1, written=0, unchanged=1, removed=0, still_waiting=0)
    with engine.connect() as connection:
        assert connection.execute(where).one() == before


def test_a_month_emptied_by_deletions_vanishes(engine: Engine):
    """Averages of sessions that no longer exist anywhere would be a lie."""
    write(engine, night("one", 3, 5), night("one", 4, 5))
    summarised(engine)
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sleep_sessions SET deleted_at = now() WHERE night_month = '2026-03-01'"))
        connection.execute(text("INSERT INTO asleep.stale_months VALUES ('one', '2026-03-01')"))

    assert summarised(engine) == Summarised(1, 1, written=0, unchanged=0, removed=1, still_waiting=0)
    assert sessions_counted(engine) == {("one", APRIL): 1}


def test_nothing_touched_nothing_done(engine: Engine):
    """A run after a quiet day answers zeros."""
    assert summarised(engine) == Summarised(0, 0, 0, 0, 0, 0)


def test_a_user_month_that_a_writer_holds_is_left_for_the_next_run(engine: Engine):
    """We neither wait for a writer nor take its month off the queue before its sessions are visible."""
    write(engine, night("one", 3, 5), night("two", 3, 5))
    with engine.begin() as writer:
        store(writer, [night("one", 3, 6)])
        assert summarised(engine) == Summarised(1, 1, written=1, unchanged=0, removed=0, still_waiting=1)
        assert sessions_counted(engine) == {("two", MARCH): 1}

    assert summarised(engine) == Summarised(1, 1, written=1, unchanged=0, removed=0, still_waiting=0)
    assert sessions_counted(engine) == {("one", MARCH): 2, ("two", MARCH): 1}


@contextmanager
def paused_after_its_snapshot(engine: Engine) -> Iterator[Callable[[], Future[Summarised]]]:
    """Start a summary that holds its snapshot and waits, while it reads sessions, until the block ends.

    A row policy makes the reading wait at an advisory lock; only the connection that asks for it is held up.
    """
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE POLICY gate ON asleep.sleep_sessions USING (CASE current_setting('tests.gate', true) "
                f"WHEN 'shut' THEN pg_advisory_xact_lock_shared({GATE})::text IS NOT NULL ELSE true END)"
            )
        )
        connection.execute(text("ALTER TABLE asleep.sleep_sessions ENABLE ROW LEVEL SECURITY"))
        connection.execute(text("ALTER TABLE asleep.sleep_sessions FORCE ROW LEVEL SECURITY"))

    def run() -> Summarised:
        with engine.begin() as connection:
            connection.execute(text("SET LOCAL tests.gate = 'shut'"))
            return summarise(connection)

    with ThreadPoolExecutor(1) as threads, engine.connect() as keeper:

        def start() -> Future[Summarised]:
            future = threads.submit(run)
            until(lambda: held_up(keeper))
            return future

        try:
            keeper.execute(text(f"SELECT pg_advisory_lock({GATE})"))
            keeper.commit()
            yield start
        finally:
            keeper.execute(text("SELECT pg_advisory_unlock_all()"))
            keeper.commit()
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE asleep.sleep_sessions NO FORCE ROW LEVEL SECURITY"))
        connection.execute(text("ALTER TABLE asleep.sleep_sessions DISABLE ROW LEVEL SECURITY"))
        connection.execute(text("DROP POLICY gate ON asleep.sleep_sessions"))


def held_up(connection: Connection) -> bool:
    """Somebody waits at the gate."""
    found = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND objid = :gate AND NOT granted")
    waits = bool(connection.scalar(found, {"gate": GATE}))
    connection.commit()
    return waits


def until(true: Callable[[], bool]) -> None:
    """Wait for something that must come."""
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_sessions_committed_behind_the_snapshot_keep_their_month_queued(engine: Engine):
    """The classic lost wake-up: summarise reads, a writer commits, summarise clears the queue."""
    write(engine, night("one", 3, 5))
    with paused_after_its_snapshot(engine) as start:
        slow = start()
        write(engine, night("one", 3, 6))

    assert slow.result() == Summarised(0, 0, written=0, unchanged=0, removed=0, still_waiting=1)
    assert summarised(engine) == Summarised(1, 1, written=1, unchanged=0, removed=0, still_waiting=0)
    assert sessions_counted(engine) == {("one", MARCH): 2}


def test_an_older_summary_never_overwrites_a_newer_one(engine: Engine):
    """Two runs at once: the one that read first may come last, and would leave stale averages for ever."""
    write(engine, night("one", 3, 5))
    with paused_after_its_snapshot(engine) as start:
        slow = start()
        write(engine, night("one", 3, 6))
        newer = summarised(engine)

    assert newer == Summarised(1, 1, written=1, unchanged=0, removed=0, still_waiting=0)
    assert slow.result() == Summarised(0, 0, written=0, unchanged=0, removed=0, still_waiting=1)
    assert sessions_counted(engine) == {("one", MARCH): 2}


def test_a_month_queued_anew_is_not_mistaken_for_the_old_entry(engine: Engine):
    """A fresh entry begins at version 1 again: an old snapshot of version 1 must not take it."""
    write(engine, night("one", 3, 5))
    with paused_after_its_snapshot(engine) as start:
        slow = start()
        summarised(engine)
        write(engine, night("one", 3, 6))

    assert slow.result().user_months == 0
    assert waiting(engine) == 1
    summarised(engine)
    assert sessions_counted(engine) == {("one", MARCH): 2}


def test_averages_that_do_not_follow_from_their_sessions_are_found_and_left_as_they_are(engine: Engine):
    """The check computes some anew and compares; it must neither mend in silence nor leave anything queued."""

    def differing() -> int | None:
        with engine.begin() as connection:
            return count_differing(connection, 100)

    write(engine, night("one", 3, 5))
    write(engine, night("two", 3, 5))
    assert differing() is None, "what waits is known to lag behind"
    summarised(engine)
    assert differing() == 0
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.monthly_averages SET avg_time_in_sleep = 1 WHERE user_id = 'one'"))
    assert differing() == 1
    assert differing() == 1
    assert waiting(engine) == 0


def test_writers_and_summaries_at_once_end_with_right_averages(engine: Engine):
    """Whatever the interleaving: when all is quiet and the queue is empty, every session is counted."""
    first = datetime(2026, 3, 1, 14, tzinfo=UTC)

    def writer(number: int) -> None:
        for day in range(25):
            user_id = f"user {(number + day) % 3}"
            moment = first + timedelta(days=day, seconds=number)
            write(engine, session(user_id, moment, slept(), session_id=f"{number}-{day}"))

    with ThreadPoolExecutor(4) as threads:
        writers = [threads.submit(writer, number) for number in range(2)]
        readers = [threads.submit(lambda: [summarised(engine) for _ in range(40)]) for _ in range(2)]
        for future in (*writers, *readers):
            future.result()
    summarised(engine)

    assert waiting(engine) == 0
    assert sum(sessions_counted(engine).values()) == 50
