"""Erasure of a user: nothing of the user remains, data of others are unchanged, and the erasure is recorded."""

import hashlib
import hmac
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest
from sqlalchemy import Connection, Engine, text

from assets.metrics.monthly_summary import summarise
from resources.database.schema import bookkeeping, metrics_table, tables
from resources.database.service.inbox import Inbox, IncomingEvent
from resources.database.users.erase import DueForErasure, Erasure, Erasures
from resources.database.users.pseudonym_key import load_pseudonym_key
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym
from tests.warehouse_sessions import session, slept, store

ALL_TABLES = (tables, metrics_table, bookkeeping)
NIGHT = datetime(2026, 3, 6, 14, tzinfo=UTC)
ALICE, ALICIA = 'G-1-"Alice"', 'G-1-"Alice"2'


METRICS = """
INSERT INTO asleep.sleep_metrics
SELECT (jsonb_populate_record(NULL::asleep.sleep_metrics, jsonb_object_agg(attname, CASE
    WHEN attname = 'user_id' THEN to_jsonb(CAST(:user AS text))
    WHEN attname = 'period' THEN '"week"'
    WHEN atttypid = 'bool'::regtype THEN 'true'
    WHEN attname = 'computed_at' OR atttypid = 'date'::regtype THEN '"2026-03-02"'
    ELSE '0'
END))).*
FROM pg_attribute
WHERE attrelid = 'asleep.sleep_metrics'::regclass AND attnum > 0 AND attnotnull
"""


def everything_of(connection: Connection, user_id: str) -> None:
    """Store rows of a user in every table that can hold some."""
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES (:user, 'import')"), {"user": user_id})
    first = session(user_id, NIGHT, slept(), sleep_stages=[0, 1, 2])
    store(connection, [first])
    store(connection, [replace(first, payload_hash=b"analysed again")])
    store(connection, [session(user_id, NIGHT + timedelta(days=31), slept())])
    summarise(connection, date(2026, 3, 1))
    for statement in (
        "INSERT INTO asleep.sync_ledger VALUES (:user, now(), now(), now(), 'full')",
        "INSERT INTO asleep.sync_failures (user_id, kind, message) VALUES (:user, 'malformed', 'x')",
        "INSERT INTO asleep.notifications (session_id, user_id) VALUES (:session, :user)",
        "INSERT INTO asleep.event_only_sessions (session_id) VALUES (:session)",
        "INSERT INTO asleep.unconfirmed_lists VALUES (:user, now(), now(), 'run', 1, 1, :session)",
        METRICS,
    ):
        connection.execute(text(statement), {"user": user_id, "session": first.session_id})
    body = json.dumps({"event": "SESSION_COMPLETE", "data": {"user_id": user_id}}).encode()
    by_header = IncomingEvent(b"not even JSON of " + user_id.encode(), {"x-user-id": user_id})
    by_session = IncomingEvent(json.dumps({"data": {"session": {"id": first.session_id}}}).encode(), {})
    Inbox(connection).put([IncomingEvent(body, {}), by_header, by_session])
    connection.execute(
        text(
            "INSERT INTO asleep.sync_failures (user_id, session_id, kind, message) "
            "VALUES ('', :id, 'webhook_event', 'x')"
        ),
        {"id": first.session_id},
    )


def rows_by_table(connection: Connection) -> dict[str, int]:
    """Return the number of rows of each table."""
    names = [table.name for table in tables.metadata.sorted_tables]
    return {name: connection.scalar(text(f"SELECT count(*) FROM asleep.{name}")) or 0 for name in names}


def test_all_rows_of_a_user_are_deleted_and_none_of_others(connection: Connection):
    """A user whose id starts with the erased id must not be affected."""
    everything_of(connection, ALICIA)
    before = rows_by_table(connection)
    everything_of(connection, ALICE)
    with_both = rows_by_table(connection)

    removed = Erasures(connection).erase(ALICE, "requested")

    after = rows_by_table(connection)
    assert after.pop("erasures") == before.pop("erasures") + 1
    tombstones = after.pop("changes") - before.pop("changes")
    assert tombstones == with_both["sleep_sessions"] - before["sleep_sessions"]
    assert after == before
    assert removed.pop("changes") == tombstones
    assert removed == {name: with_both[name] - rows for name, rows in before.items() if with_both[name] != rows}
    audit = connection.execute(text("SELECT user_pseudonym, reason, rows_removed FROM asleep.erasures")).one()
    assert audit.reason == "requested"
    assert {**audit.rows_removed, "changes": 0} == {**removed, "changes": 0}
    assert "Alice" not in audit.user_pseudonym


SPELLINGS = {
    "escapes": (b'{"data": {"user_\\u0069d": "G-\\u0037\\/x"}}', {"x-user-id": "other"}),
    "blanks": (b'{"data": {"user_id" \n :\t"  G-7/x "}}', {}),
    "header only": (b'{"event": "SESSION_COMPLETE"}', {"x-user-id": " G-7/x"}),
    "UTF-16": ('{"user_id": "G-7/x"}'.encode("utf-16"), {"x-user-id": "other"}),
    "byte order mark": (b'\xef\xbb\xbf{"user_id": "G-7/x"}', {}),
    "another name": (b'{"data": {"customer": ["G-7/x"]}}', {"x-user-id": "other"}),
    "a name of a field": (b'{"G-7/x": 1}', {}),
    "session only": (b'{"data": {"user_id": null, "session": {"id": "session-7"}}}', {}),
    "session, escaped": (b'{"data": {"session": {"id": "session\\u002d7"}}}', {"x-user-id": ""}),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_an_event_is_erased_whatever_its_spelling_of_the_id(connection: Connection, spelling: str):
    """Escapes, encodings and blanks must not protect an event from erasure."""
    store(connection, [session("G-7/x", NIGHT, slept(), session_id="session-7")])
    body, headers = SPELLINGS[spelling]
    Inbox(connection).put([IncomingEvent(body, headers)])
    others = [
        IncomingEvent(b'{"data": {"user_id": "G-7/x2", "session": {"id": "session-7"}}}', {}),
        IncomingEvent(b'{"data": {"session": {"id": "session-77"}}}', {}),
        IncomingEvent(b'{"text": "about G-7/x and others"}', {"x-user-id": "G-7"}),
    ]
    Inbox(connection).put(others)

    assert Erasures(connection).erase("G-7/x", "requested")["webhook_events"] == 1
    left = connection.scalars(text("SELECT body FROM asleep.webhook_events")).all()
    assert {bytes(body) for body in left} == {event.body for event in others}


@pytest.mark.parametrize("user_id", ["G-é", "G-Ã©"])
@pytest.mark.parametrize("stored_as", ["G-é", "G-Ã©"])
def test_an_event_is_erased_however_its_header_was_encoded(connection: Connection, user_id: str, stored_as: str):
    """HTTP says Latin-1 and many senders use UTF-8: the same bytes may stand for either id."""
    Inbox(connection).put([IncomingEvent(b"{}", {"x-user-id": stored_as}), IncomingEvent(b"[]", {"x-user-id": "G-e"})])

    assert Erasures(connection).erase(user_id, "requested")["webhook_events"] == 1


def test_a_pseudonym_is_keyed_and_the_same_in_sql(connection: Connection):
    """Anyone with a list of ids could compute a hash of the id alone."""
    load_pseudonym_key(connection)
    name = connection.scalar(text("SELECT asleep.pseudonym(:id)"), {"id": "käufer"})
    assert pseudonym("käufer") == name != hashlib.sha256("käufer".encode()).hexdigest()[:16]
    stored = connection.execute(text("SELECT inner_block FROM asleep.pseudonym_key")).scalar_one()
    key = bytes(byte ^ 0x36 for byte in bytes(stored))
    assert hmac.new(key, "käufer".encode(), "sha256").hexdigest()[:16] == name


def test_erasures_made_after_a_backup_are_applied_to_it(connection: Connection):
    """A restored backup must not bring a person back; users registered again since then stay."""
    for user_id in (ALICE, "back", "other"):
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES (:id, 'import')"), {"id": user_id})
    Erasures(connection).erase("back", "requested")
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('back', 'import')"))
    backup = Erasures(connection).record()
    later = [Erasure(pseudonym(name), "requested", backup[0].erased_at + timedelta(hours=1)) for name in (ALICE, "new")]

    assert Erasures(connection).apply([*backup, *later]) == 1
    assert Erasures(connection).apply([*backup, *later]) == 0
    assert set(connection.scalars(text("SELECT user_id FROM asleep.users"))) == {"back", "other"}
    assert Registry(connection).register([ALICE, "new"], "webhook") == frozenset()


def test_every_table_that_names_a_user_or_session_is_erased_from(connection: Connection):
    """A new table must be added to the erasure."""
    everything_of(connection, ALICE)
    named = {
        table.name for table in tables.metadata.sorted_tables if {"user_id", "session_id", "body"} & set(table.c.keys())
    }

    assert Erasures(connection).erase(ALICE, "gone").keys() == named


def test_repeated_erasures_of_an_unknown_user_leave_one_record(connection: Connection):
    """Repeating `forget` changes nothing; a request for an unknown user is recorded as well."""
    assert Erasures(connection).erase("nobody", "requested") == {}
    assert Erasures(connection).erase("nobody", "requested") == {}
    assert connection.scalar(text("SELECT count(*) FROM asleep.erasures")) == 1


def test_an_unknown_reason_is_refused(connection: Connection):
    """Auditors rely on a fixed set of reasons."""
    with pytest.raises(ValueError, match="gone, requested, to_be_deleted"):
        Erasures(connection).erase(ALICE, "because")


def test_the_monthly_overview_leaves_out_an_erased_user(connection: Connection):
    """An average over all users must not include the erased nights."""
    everything_of(connection, ALICE)
    store(connection, [session("other", NIGHT, slept(time_in_sleep=10000))])
    summarise(connection)
    Erasures(connection).erase(ALICE, "requested")

    overview = connection.execute(text("SELECT month, users, avg_time_in_sleep FROM asleep.monthly_overview")).all()
    assert overview == [(date(2026, 3, 1), 1, 10000.0)]


def test_users_are_due_once_the_grace_is_over(connection: Connection):
    """A user missing for an hour may be an outage at the source; a month later it is not."""
    for user_id, column, days in (
        ("gone long", "gone_at", 31), ("gone lately", "gone_at", 1),
        ("scheduled long", "to_be_deleted_since", 31), ("scheduled lately", "to_be_deleted_since", 1),
        ("there", None, 0),
    ):  # fmt: skip
        connection.execute(
            text("INSERT INTO asleep.users (user_id, source) VALUES (:user, 'import')"), {"user": user_id}
        )
        if column == "to_be_deleted_since":
            assert Erasures(connection).note_to_be_deleted([user_id], scheduled=True) == 1
        if column:
            connection.execute(
                text(f"UPDATE asleep.users SET {column} = now() - make_interval(days => :days) WHERE user_id = :user"),
                {"days": days, "user": user_id},
            )
    due = Erasures(connection).due(timedelta(days=30))

    assert due == [DueForErasure("gone long", "gone"), DueForErasure("scheduled long", "to_be_deleted")]


def test_a_cancelled_deletion_at_the_source_is_no_longer_due(connection: Connection):
    """The app may cancel a scheduled deletion; the grace period starts again with the next one."""
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('one', 'import')"))
    Erasures(connection).note_to_be_deleted(["one"], scheduled=True)
    assert Erasures(connection).note_to_be_deleted(["one"], scheduled=True) == 0
    assert Erasures(connection).due(timedelta(0)) == [DueForErasure("one", "to_be_deleted")]

    assert Erasures(connection).note_to_be_deleted(["one"], scheduled=False) == 1
    assert Erasures(connection).due(timedelta(0)) == []


def test_rows_that_a_late_sync_stores_are_due_at_once(connection: Connection):
    """A sync that fetched before the erasure may store after it; those rows must be erased as well."""
    Erasures(connection).erase("one", "requested")
    store(connection, [session("one", NIGHT, slept())])
    assert Erasures(connection).due(timedelta(days=30)) == [DueForErasure("one", "requested")]

    summarise(connection)
    assert Erasures(connection).due(timedelta(days=30)) == [DueForErasure("one", "requested")]
    Erasures(connection).erase("one", "requested")
    assert Erasures(connection).due(timedelta(days=30)) == []


def test_an_erasure_waits_for_averages_being_written_and_removes_them(engine: Engine):
    """Averages computed just before and committed just after must not survive the sessions they came from."""
    with engine.begin() as connection:
        store(connection, [session("one", NIGHT, slept())])

    def erase_in_one_go() -> dict[str, int]:
        with engine.begin() as connection:
            return Erasures(connection).erase("one", "requested")

    with ThreadPoolExecutor(1) as threads, engine.begin() as summary:
        assert summarise(summary).written == 1
        erasing = threads.submit(erase_in_one_go)
        with pytest.raises(TimeoutError):
            erasing.result(timeout=0.3)
        summary.commit()
        assert erasing.result(timeout=30) == {
            "sleep_sessions": 1, "session_payloads": 1, "monthly_averages": 1, "changes": 1, "stale_periods": 3,
        }  # fmt: skip
