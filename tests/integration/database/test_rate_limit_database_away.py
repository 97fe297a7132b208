"""What the gate does while the database that holds the limit is away."""

import threading
import time

import pytest
from rate_limit_fleet import Fleet, turn_of
from sqlalchemy import text
from sqlalchemy.exc import OperationalError, ProgrammingError

from resources.asleep.errors import Unavailable
from resources.asleep.gate import Outcome
from resources.database.engine import make_engine
from resources.database.rate_limit import PostgresGate


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
        PostgresGate(engine, api_key="key", requests_per_second=10) as gate,
        pytest.raises(Unavailable, match="database that holds the rate limit cannot be reached") as refusal,
    ):
        turn_of(gate, patience_seconds=0.5)

    assert isinstance(refusal.value.__cause__, OperationalError)


def test_a_lost_connection_is_replaced_after_a_silent_second(fleet: Fleet):
    """After a crash the row may have forgotten the last grants; they still count at the API."""
    gate = fleet.gate()
    before = turn_of(gate)
    cut_connections(fleet)

    assert (turn_of(gate).granted_at - before.granted_at).total_seconds() >= 1


def test_an_outcome_that_could_not_be_reported_is_reported_later(fleet: Fleet):
    """The fleet must learn of throttling even if the database was away at that moment."""
    gate = fleet.gate()
    turn = turn_of(gate)
    cut_connections(fleet)
    gate.leave(turn, Outcome.THROTTLED)
    turn_of(gate)

    assert fleet.state().rate_in_force == 50


def test_a_database_that_says_nothing_is_named_as_the_reason(fleet: Fleet):
    """A network that swallows packets raises no error for a long while; threads give up on time all the same."""
    gate = fleet.gate()
    turn_of(gate)
    with fleet.engine.begin() as connection:
        connection.execute(text("LOCK TABLE asleep.rate_limits IN ACCESS EXCLUSIVE MODE"))
        with pytest.raises(Unavailable, match="the database that holds the rate limit does not answer"):
            turn_of(gate, patience_seconds=2)

    assert turn_of(gate)


def test_a_plan_lost_by_a_connection_pooler_is_done_without(fleet: Fleet):
    """Transaction poolers hand each statement to another connection, where nothing was prepared."""
    gate = fleet.gate()
    turn_of(gate)
    gate._row._connection.exec_driver_sql("DEALLOCATE ALL")  # noqa: SLF001 what the pooler does

    assert turn_of(gate)


def test_a_missing_table_is_an_error_and_no_outage(fleet: Fleet):
    """Migrations were not run: waiting does not help, and the message must say it."""
    gate = fleet.gate()
    with fleet.engine.begin() as connection:
        connection.execute(text("ALTER TABLE asleep.rate_limits RENAME TO hidden"))
    try:
        with pytest.raises(ProgrammingError, match="rate_limits"):
            turn_of(gate)
    finally:
        with fleet.engine.begin() as connection:
            connection.execute(text("ALTER TABLE asleep.hidden RENAME TO rate_limits"))


def test_no_transaction_stays_open_while_threads_wait(fleet: Fleet):
    """An open transaction for minutes holds back vacuum and locks."""
    gate = fleet.gate(rate=0.5)
    turn_of(gate)
    waiting = threading.Thread(target=turn_of, args=(gate,))
    waiting.start()
    deadline = time.monotonic() + 1.0
    states = set()
    while time.monotonic() < deadline:
        with fleet.engine.connect() as connection:
            states |= set(
                connection.execute(
                    text(
                        "SELECT state FROM pg_stat_activity WHERE datname = current_database() "
                        "AND pid <> pg_backend_pid() AND query LIKE '%rate_limit_reserve%' "
                        "AND clock_timestamp() - state_change > interval '100 ms'"
                    )
                ).scalars()
            )
    waiting.join()

    assert states <= {"idle"}
