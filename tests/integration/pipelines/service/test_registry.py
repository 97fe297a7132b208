"""The registry decides who is synced."""

from sqlalchemy import Connection, text

from resources.database.sync.stored_sessions import KnownSession, StoredSessions
from resources.database.sync.sync_state import SyncState
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym


def test_an_import_counts_what_it_did_and_a_second_one_does_nothing(connection: Connection):
    """People import the same file again to be sure."""
    users = [("G-1", "Asia/Seoul"), ("G-2", None), ("G-1", None)]
    assert Registry(connection).add(users) == (2, 0, 0, 0)
    assert Registry(connection).add(users) == (0, 0, 2, 0)
    assert Registry(connection).add([("G-1", "Europe/Berlin"), ("G-2", "UTC"), ("G-3", None)]) == (1, 2, 0, 0)
    rows = connection.execute(text("SELECT user_id, timezone, source FROM asleep.users ORDER BY 1")).all()
    assert rows == [("G-1", "Europe/Berlin", "import"), ("G-2", "UTC", "import"), ("G-3", None, "import")]


def test_a_large_import_is_not_a_statement_per_user(connection: Connection):
    """A hundred thousand users must not take minutes."""
    users = [(f"G-{number}", None) for number in range(20_001)]
    assert Registry(connection).add(users) == (20_001, 0, 0, 0)


def test_webhooks_register_only_unknown_users(connection: Connection):
    """An event says that a user exists; it does not change what is known of others."""
    Registry(connection).add([("G-1", "Asia/Seoul")])
    assert Registry(connection).register(["G-1", "G-2", "G-2"], "webhook") == {"G-2"}
    assert Registry(connection).register(["G-1", "G-2"], "webhook") == frozenset()
    assert connection.scalar(text("SELECT timezone FROM asleep.users WHERE user_id = 'G-1'")) == "Asia/Seoul"


def test_an_erased_user_is_not_brought_back_by_an_event(connection: Connection):
    """A late event, or a list that nobody cleaned, must not undo an erasure; a person's express word may."""
    connection.execute(
        text("INSERT INTO asleep.erasures (user_pseudonym, reason, rows_removed) VALUES (:name, 'requested', '{}')"),
        {"name": pseudonym("G-1")},
    )
    assert Registry(connection).register(["G-1", "G-2"], "webhook") == {"G-2"}
    assert Registry(connection).add([("G-1", None), ("G-3", None)]) == (1, 0, 0, 1)
    assert Registry(connection).erased_among(["G-1", "G-2", "G-3"]) == {"G-1"}
    assert Registry(connection).add([("G-1", None)], again=True) == (1, 0, 0, 0)
    assert Registry(connection).erased_among(["G-1"]) == frozenset()
    assert Registry(connection).add([("G-1", "Asia/Seoul")]) == (0, 1, 0, 0)


def test_an_event_expires_the_cached_list_of_its_user_alone(connection: Connection):
    """Otherwise a sync within the cache time would not look."""
    connection.execute(
        text(
            "INSERT INTO asleep.sync_ledger (user_id, window_start, window_end, listed_at, detail) "
            "SELECT id, now(), now(), now(), 'full' FROM unnest(ARRAY['G-1', 'G-2']) AS id"
        )
    )
    SyncState(connection).expire_lists(["G-1"])
    expired = text("SELECT user_id FROM asleep.sync_ledger WHERE listed_at < now() - interval '1 year'")
    assert connection.scalars(expired).all() == ["G-1"]


def test_what_is_stored_of_a_session_is_known(connection: Connection):
    """The decision about an event rests on this."""
    connection.execute(
        text(
            "INSERT INTO asleep.sleep_sessions (session_id, user_id, state, session_start_time, local_date, "
            "local_month, session_start_local, night_date, fetched_at, payload_hash, deleted_at) "
            "SELECT id, person, 'COMPLETE', day, day, '2026-03-01', day, day, now(), hash, gone FROM (VALUES "
            "('a', 'G-1', date '2026-03-07', bytea '\\x00', CAST(NULL AS timestamptz)), "
            "('b', 'G-2', '2026-03-07', NULL, now())) AS known (id, person, day, hash, gone)"
        )
    )
    assert StoredSessions(connection).known(["a", "b", "c"]) == {
        "a": KnownSession("G-1", is_final=True, is_deleted=False),
        "b": KnownSession("G-2", is_final=False, is_deleted=True),
    }
