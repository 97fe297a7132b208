"""The inbox while the API or the database is away: no event waits longer than it must."""

import json
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from assets.webhooks.inbox_loop import handle_inbox
from assets.webhooks.process_events import EventHandler
from resources.asleep.resource import AsleepApi
from resources.asleep.transport import RetryPolicy
from resources.database.engine import make_engine
from resources.database.migrate import migrate
from resources.database.service.inbox import Inbox, IncomingEvent, TakenEvent
from resources.embedded_postgres import server as embedded
from tests.unit.resources.asleep.asleep_answers import session_result

SESSION = session_result()["session"]["id"]
MUST_ASK = {"event": "SESSION_COMPLETE", "data": {"user_id": "U", "session_id": "20260101000000_aaaaa"}}


def whole(user_id: str = "V", session_id: str = SESSION) -> dict[str, Any]:
    """An event that brings its session."""
    result = session_result()
    result["session"]["id"] = session_id
    now = time.time()
    for name, hours_ago in (("start_time", 9), ("end_time", 1)):
        moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now - hours_ago * 3600))
        result["session"][name] = moment
    return {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": user_id, **result}}


def put(engine: Engine, *bodies: Any) -> None:
    with engine.begin() as connection:
        Inbox(connection).put([IncomingEvent(json.dumps(body).encode(), {}) for body in bodies])


def stored(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.scalars(text("SELECT user_id FROM asleep.sleep_sessions")))


def storing(engine: Engine) -> Callable[[Sequence[TakenEvent]], Counter[str]]:
    """Stores what events bring, without a request."""
    client: Any = None
    return EventHandler(engine, client, "a run", 1).store


@contextmanager
def silent_api() -> Iterator[tuple[str, threading.Event, threading.Event]]:
    """An API that takes one request and never answers: its address, set when the request came, set to let it go."""
    asked, let_go = threading.Event(), threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client:
                client.recv(65536)
                asked.set()
                let_go.wait(60)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}", asked, let_go
        finally:
            let_go.set()
            thread.join()


def test_a_whole_event_is_stored_while_a_request_for_another_one_hangs(
    run: Callable[..., dg.ExecuteInProcessResult], engine: Engine
):
    """An outage of the API blocked all nights for nine minutes, also those that needed no request."""
    put(engine, MUST_ASK)
    seen: list[list[str]] = []
    with silent_api() as (url, asked, let_go):

        def event_comes_during_the_outage() -> None:
            assert asked.wait(60)
            put(engine, whole())
            deadline = time.monotonic() + 60
            while not stored(engine) and time.monotonic() < deadline:
                time.sleep(0.02)
            seen.append(stored(engine))
            let_go.set()

        other = threading.Thread(target=event_comes_during_the_outage)
        other.start()
        away = AsleepApi(
            base_url=url, key="k", requests_per_second=1000, max_connections=1, timeout_seconds=100,
            retry_policy=RetryPolicy(
                total_seconds=100, broken_attempts=1, garbled_attempts=1, first_pause_seconds=0.01
            ),
        )  # fmt: skip

        assert run("process_webhook_events", resources={"asleep_api": away}).success
        other.join()

    assert seen == [["V"]], "stored before the request ended"
    with engine.connect() as connection:
        left = connection.execute(text("SELECT must_ask FROM asleep.webhook_events WHERE processed_at IS NULL"))
        assert left.all() == [(True,)]


def test_a_database_that_never_comes_back_ends_the_run(engine: Engine, monkeypatch: pytest.MonkeyPatch):
    """A process that waits without end stays behind when a deployment is removed."""
    put(engine, {"n": "never handled"})
    monkeypatch.setattr("assets.webhooks.inbox_loop.DATABASE_WAIT_SECONDS", 0)

    def store(_taken: Sequence[TakenEvent]) -> Counter[str]:
        raise OperationalError("", None, Exception())

    with pytest.raises(OperationalError):
        handle_inbox(engine, store, None, idle_seconds=0)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Engine]:
    """The database of a server that the test may stop."""
    try:
        engine = make_engine(embedded.start(tmp_path).url, application_name="tests")
        migrate(engine, other_schemas=("dagster",))
        yield engine
        engine.dispose()
    finally:
        embedded.destroy(tmp_path)


def test_events_in_hand_are_stored_as_soon_as_the_database_is_back(server: Engine, tmp_path: Path):
    """The run failed, waited for ten minutes to be started again, and its events waited for their lease."""
    put(server, whole())
    failed: list[type[Exception]] = []
    is_away = threading.Event()

    def start_again() -> None:
        assert is_away.wait(60)
        embedded.start(tmp_path)

    starting = threading.Thread(target=start_again)
    starting.start()

    def store(taken: Sequence[TakenEvent]) -> Counter[str]:
        if not failed:
            embedded.stop(tmp_path)
        try:
            return storing(server)(taken)
        except Exception as error:
            failed.append(type(error))
            is_away.set()
            raise

    counts = handle_inbox(server, store, None, idle_seconds=0)
    starting.join()

    assert failed == [OperationalError]
    assert counts["sessions_inserted"] == 1
    with server.connect() as connection:
        found = connection.execute(text("SELECT attempts, processed_at IS NOT NULL, error FROM asleep.webhook_events"))
        assert found.all() == [(1, True, None)], "an interrupted attempt does not count"


@contextmanager
def user_refused(engine: Engine, sqlstate: str) -> Iterator[None]:
    """An empty inbox, and a database that refuses sessions of the user `refused` with an error of this code."""
    with engine.begin() as connection:
        connection.execute(
            text(f"""
            DELETE FROM asleep.webhook_events;
            CREATE FUNCTION asleep.refuse() RETURNS trigger LANGUAGE plpgsql AS
                $$ BEGIN RAISE EXCEPTION 'refused' USING ERRCODE = '{sqlstate}'; END $$;
            CREATE TRIGGER refuse BEFORE INSERT ON asleep.sleep_sessions
                FOR EACH ROW WHEN (new.user_id = 'refused') EXECUTE FUNCTION asleep.refuse();
            """)
        )
    yield
    with engine.begin() as connection:
        connection.execute(text("DROP FUNCTION asleep.refuse CASCADE"))


def left_in_the_inbox(engine: Engine) -> list[tuple[int, str | None]]:
    with engine.connect() as connection:
        found = connection.execute(text("SELECT attempts, error FROM asleep.webhook_events WHERE processed_at IS NULL"))
        return [tuple(row) for row in found]


@pytest.mark.timeout(60)
def test_an_event_that_the_database_refuses_holds_up_no_other(engine: Engine):
    """The driver calls a time-out or a value too large operational, as it does an outage: the run waited for ever."""
    with user_refused(engine, "54000"):
        put(engine, whole("refused", "20260101000000_refus"), whole("W", "20260101000000_wwwww"))

        counts = handle_inbox(engine, storing(engine), None, idle_seconds=0)

    assert (counts["events_failed"], counts["sessions_inserted"]) == (1, 1)
    assert left_in_the_inbox(engine) == [(1, "could not be handled: OperationalError")]


@pytest.mark.timeout(60)
def test_a_full_disk_ends_the_run_and_costs_no_attempt(engine: Engine):
    """A run that waits for disk space shows no failure, so no alert is sent."""
    with user_refused(engine, "53100"):
        put(engine, whole("refused", "20260101000000_refus"))

        with pytest.raises(OperationalError, match="refused"):
            handle_inbox(engine, storing(engine), None, idle_seconds=0)

    assert left_in_the_inbox(engine) == [(0, None)]
