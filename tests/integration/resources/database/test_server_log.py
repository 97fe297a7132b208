"""The server's log is read by people who may not read health data, and is kept longer than the data."""

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from resources.database.service.inbox import Inbox, IncomingEvent
from resources.embedded_postgres import server as embedded

VALUE = "G-20260301091502-ThisIsNotForLogs1234"
FAILING = {
    "time-out of a statement": "SELECT pg_sleep(5), :value",
    "row that exists already": "INSERT INTO asleep.users (user_id, source) "
    "VALUES (:value, 'import'), (:value, 'import')",
    "row that a constraint refuses": "INSERT INTO asleep.users (user_id, source) VALUES (:value, NULL)",
    "value of another type": "SELECT CAST(:value AS integer)",
    "error within a function": "DO $$ BEGIN RAISE EXCEPTION 'about %', '" + VALUE + "'; END $$",
}


def log_of(server: embedded.EmbeddedPostgres) -> str:
    log = server.data_directory.parent / "server.log"
    if not log.is_file():
        pytest.skip("the server's log is not ours to read")
    return log.read_text("utf-8", "replace")


@pytest.mark.parametrize("kind", FAILING)
def test_no_value_reaches_the_servers_log(postgres: embedded.EmbeddedPostgres, engine: Engine, kind: str):
    """The driver sends values within the statement, and by default a failing statement is logged whole."""
    before = len(log_of(postgres))
    with engine.connect() as connection:
        connection.execute(text("SET LOCAL statement_timeout = 100"))
        with pytest.raises(DBAPIError):
            connection.execute(text(FAILING[kind]), {"value": VALUE} if ":value" in FAILING[kind] else {})
    assert VALUE not in log_of(postgres)[before:]


def test_no_event_reaches_the_servers_log(postgres: embedded.EmbeddedPostgres, engine: Engine):
    """The inbox's own statement, stopped while it waits for the same event's first copy."""
    event = IncomingEvent(f'{{"user_id": "{VALUE}"}}'.encode(), {"x-user-id": VALUE})
    with engine.begin() as first, engine.connect() as second:
        Inbox(first).put([event])
        second.execute(text("SET LOCAL statement_timeout = 100"))
        with pytest.raises(DBAPIError):
            Inbox(second).put([event])
    hexadecimal = event.body.hex()
    assert VALUE not in log_of(postgres)
    assert hexadecimal not in log_of(postgres)
