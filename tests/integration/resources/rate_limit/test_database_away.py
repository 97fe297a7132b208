"""What the limiter does while the database that holds the rate limit is away."""

import threading
import time
from contextlib import closing

import pytest
from rate_limit_fleet import Fleet, permit_of
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from resources.database.engine import make_engine
from resources.rate_limit.limiter import Outcome, PermitUnavailable, PostgresRateLimiter


def cut_connections(fleet: Fleet) -> None:
    """End every other connection to the test's database."""
    with fleet.engine.begin() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )


def test_a_database_that_cannot_be_reached_is_named_as_the_reason(unused_port: int):
    """Nobody should look for the fault at the API."""
    engine = make_engine(f"postgresql://nobody@127.0.0.1:{unused_port}/none", application_name="tests")
    with (
        closing(PostgresRateLimiter(engine, api_key="key", requests_per_second=10)) as limiter,
        pytest.raises(PermitUnavailable, match="database that holds the rate limit cannot be used") as refusal,
    ):
        permit_of(limiter, timeout_seconds=0.5)

    assert isinstance(refusal.value.__cause__, OperationalError)


def test_a_lost_connection_is_replaced_after_a_silent_second(fleet: Fleet):
    """After a crash the row may have forgotten the last grants; they still count at the API."""
    limiter = fleet.limiter(rate=2)
    before = permit_of(limiter)
    cut_connections(fleet)

    assert (permit_of(limiter).granted_at - before.granted_at).total_seconds() >= 1


def test_the_silence_is_written_for_all_processes_even_without_a_grant(fleet: Fleet):
    """Another process, which never lost its connection, must not send into the second that may be used already."""
    limiter, other = fleet.limiter(rate=20), fleet.limiter(rate=20)
    permit_of(limiter)
    cut_connections(fleet)
    lost_at = time.monotonic()
    with pytest.raises(PermitUnavailable):
        permit_of(limiter, timeout_seconds=0.6)

    permit_of(other)
    assert time.monotonic() - lost_at >= 1


def test_an_outcome_that_could_not_be_reported_is_reported_later(fleet: Fleet):
    """All processes must learn of throttling even if the database was away at that moment."""
    limiter = fleet.limiter()
    permit = permit_of(limiter)
    cut_connections(fleet)
    limiter.report(permit, Outcome.THROTTLED)
    limiter.close()

    assert fleet.state()["rate_in_force"] == 50


def test_a_database_that_does_not_answer_is_named_as_the_reason(fleet: Fleet):
    """A row that another transaction holds must not hang the threads beyond their time."""
    limiter = fleet.limiter(rate=1)
    permit_of(limiter)
    with fleet.engine.begin() as connection:
        connection.execute(text("LOCK TABLE asleep.rate_limits IN ACCESS EXCLUSIVE MODE"))
        refusals = []

        def wait() -> None:
            with pytest.raises(PermitUnavailable, match="the database that holds the rate limit") as refusal:
                permit_of(limiter, timeout_seconds=2.5)
            refusals.append(refusal)

        threads = [threading.Thread(target=wait) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(refusals) == 3

    assert permit_of(limiter)


def test_a_missing_table_is_an_error_and_no_outage(fleet: Fleet):
    """Migrations were not run: waiting does not help, and the message must say it."""
    limiter = fleet.limiter()
    with fleet.engine.begin() as connection:
        connection.execute(text("ALTER TABLE asleep.rate_limits RENAME TO hidden"))
    try:
        with pytest.raises(ProgrammingError, match="rate_limits"):
            permit_of(limiter)
    finally:
        with fleet.engine.begin() as connection:
            connection.execute(text("ALTER TABLE asleep.hidden RENAME TO rate_limits"))


def test_no_transaction_stays_open_while_threads_wait(fleet: Fleet):
    """An open transaction for minutes holds back vacuum and locks."""
    limiter = fleet.limiter(rate=0.5)
    permit_of(limiter)
    waiting = threading.Thread(target=permit_of, args=(limiter,))
    waiting.start()
    states = set()
    while waiting.is_alive():
        with fleet.engine.connect() as connection:
            states |= set(
                connection.execute(
                    text(
                        "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
                        "AND pid <> pg_backend_pid() AND query LIKE '%reserve_slots%' "
                        "AND clock_timestamp() - state_change > interval '100 ms'"
                    )
                ).scalars()
            )
        waiting.join(0.02)

    assert states == {"idle"}
