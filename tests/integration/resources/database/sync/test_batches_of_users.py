"""The users of a batch: every user in exactly one, found by an index however many there are."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, event

from resources.database.sync.sync_state import SyncState
from resources.database.users.registry import Registry

WINDOW = (datetime(2026, 11, 20, tzinfo=UTC), datetime(2026, 11, 23, tzinfo=UTC))


def batch_of(engine: Engine, number: int, of: int, **options: bool) -> set[str]:
    with engine.connect() as connection:
        found = SyncState(connection).users_to_sync(
            batch=number, batches=of, window=WINDOW, cache_ttl_seconds=0, detail="full", **options
        )
    return {user.user_id for user in found}


def test_each_user_is_in_exactly_one_batch_of_a_fair_size(engine: Engine):
    """A user in two batches would be listed twice; a batch of most users would not be bounded in memory."""
    user_ids = {f"G-{number}" for number in range(700)}
    with engine.begin() as connection:
        Registry(connection).add([(user_id, None) for user_id in user_ids])

    batches = [batch_of(engine, number, 7) for number in range(7)]

    assert set.union(*batches) == user_ids
    assert sum(map(len, batches)) == len(user_ids)
    assert all(60 < len(batch) < 140 for batch in batches)


@pytest.mark.parametrize("failed_only", [False, True])
def test_a_batch_reads_its_own_users_only(engine: Engine, failed_only: bool):
    """At a million users, a scan of all of them for each of 2,000 batches took four minutes of the database."""
    statements: list[str] = []
    with engine.begin() as connection:
        connection.exec_driver_sql(
            "INSERT INTO asleep.users (user_id, source) SELECT 'G-many-' || n, 'import' "
            "FROM generate_series(1, 50000) AS n ON CONFLICT DO NOTHING"
        )
        connection.exec_driver_sql("ANALYZE asleep.users, asleep.sync_failures")

    def note(*call: object) -> None:
        statements.append(call[0].connection.cursor().mogrify(call[2], call[3]).decode())  # type: ignore[attr-defined]

    event.listen(engine, "before_cursor_execute", note)
    try:
        found = batch_of(engine, 3, 2000, failed_only=failed_only)
    finally:
        event.remove(engine, "before_cursor_execute", note)

    [statement] = [s for s in statements if "hashtextextended" in s]
    with engine.connect() as connection:
        plan = "\n".join(connection.exec_driver_sql("EXPLAIN " + statement.replace("%", "%%")).scalars())
    assert "Seq Scan on users" not in plan
    assert len(found) < (1 if failed_only else 60)
