"""Typed columns are rebuilt from the stored raw results, without a request."""

from typing import Any

import pytest
from sqlalchemy import text

from assets.reshape import reshape as module
from assets.reshape.reshape import Reshaped, reshape
from assets.sync.sync_batch import Mode
from resources.database.users.erase import Erasures
from resources.pseudonyms import pseudonym


def damaged(world: Any) -> None:
    """Fill the columns as a faulty parser would have."""
    with world.engine.begin() as connection:
        connection.execute(
            text(
                "UPDATE asleep.sleep_sessions SET sleep_cycle = NULL, sleep_index = 1, sleep_stages = '{0}', "
                "wake_time_local = NULL"
            )
        )


def test_columns_equal_the_responses_of_the_api_again(world: Any):
    """A fix of the parser used to cost one request for each session."""
    world.add_user(nights=12)
    world.sync()
    damaged(world)
    assert world.wrong() != []
    world.api.reset()

    total = reshape(world.engine, progress=lambda _: None)

    assert total == Reshaped(read=12, changed=12, unchanged=0, unreadable=0)
    assert world.wrong() == []
    assert world.api.requests() == {}
    assert reshape(world.engine, progress=lambda _: None).changed == 0


def test_an_interrupted_rebuild_continues_where_it_stopped(world: Any, monkeypatch: pytest.MonkeyPatch):
    """A million sessions take minutes, which a restart of the machine must not cost again."""
    monkeypatch.setattr(module, "PAGE_ROWS", 5)
    world.add_user(nights=12)
    world.sync()
    damaged(world)

    def interrupt(_: Reshaped) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reshape(world.engine, progress=interrupt)

    assert reshape(world.engine, progress=lambda _: None).read == 7
    assert world.wrong() == []
    assert reshape(world.engine, progress=lambda _: None).read == 12


def test_deleted_sessions_stay_deleted_and_unreadable_results_are_counted(world: Any):
    """A rebuild must not restore deleted sessions, nor empty a row that it cannot parse."""
    world.add_user(nights=4)
    world.sync()
    first, second = [row.session_id for row in world.rows("SELECT session_id FROM asleep.sleep_sessions")][:2]
    with world.engine.begin() as connection:
        values = {"first": first, "second": second}
        connection.execute(
            text("UPDATE asleep.sleep_sessions SET deleted_at = now() WHERE session_id = :first"), values
        )
        connection.execute(text("UPDATE asleep.session_payloads SET result = '[]' WHERE session_id = :second"), values)
    before = world.rows("SELECT * FROM asleep.sleep_sessions ORDER BY session_id")

    total = reshape(world.engine, progress=lambda _: None)

    assert (total.read, total.changed, total.unreadable) == (3, 0, 1)
    assert world.rows("SELECT * FROM asleep.sleep_sessions ORDER BY session_id") == before


def test_an_interrupted_rebuild_holds_no_session_of_an_erased_user(world: Any, monkeypatch: pytest.MonkeyPatch):
    """Its stored position is a session's id."""
    monkeypatch.setattr(module, "PAGE_ROWS", 2)
    user = world.add_user(nights=4)
    world.sync()

    def interrupt(_: Reshaped) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        reshape(world.engine, progress=interrupt)
    with world.engine.begin() as connection:
        Erasures(connection).erase(user, "requested")

    assert world.rows("SELECT FROM asleep.sync_batches WHERE counts ? 'after'") == []


def test_refetching_reads_every_session_of_the_days_again(world: Any):
    """No other command reads a damaged row of a final session again."""
    user = world.add_user(nights=5)
    world.sync()
    damaged(world)
    world.sync()
    assert world.wrong() != []
    world.api.reset()

    counts = world.sync(refetch=True)

    assert (counts["sessions_updated"], world.wrong()) == (5, [])
    assert world.api.requests()["read_session"] == 5
    assert user


def test_a_single_session_can_be_read_again(world: Any):
    """By pseudonym, because run config is stored and shown."""
    world.add_user(nights=5)
    world.sync()
    session = world.rows("SELECT session_id FROM asleep.sleep_sessions ORDER BY 1")[2].session_id
    damaged(world)
    world.api.reset()

    counts = world.sync(mode=Mode.FILL, session_pseudonyms=(pseudonym(session),))

    assert counts["sessions_updated"] == 1
    assert world.api.requests() == {"read_session": 1}
    assert [
        row.session_id for row in world.rows("SELECT session_id FROM asleep.sleep_sessions WHERE sleep_index > 1")
    ] == [session]
