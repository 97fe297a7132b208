"""Every session that becomes final is told once it is committed: signed, at least once, without stages."""

import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
from serving import Receiver, Service, await_truth, served
from sqlalchemy import Connection, Engine, insert, text, update

from pipelines.service.app import create_app
from resources.database.schema.tables import sleep_sessions
from resources.database.service.outbox import MAX_ATTEMPTS, Outbox
from resources.database.users.erase import Erasures
from resources.notifications.sender import Notifier, deliver_due
from resources.notifications.signature import verify

SECRET = "notify-secret"  # noqa: S105 a made-up one
NOW = datetime.now(UTC).replace(microsecond=0)


def session(session_id: str, state: str = "COMPLETE", start: datetime = NOW, **changes: object) -> dict[str, object]:
    return {
        "session_id": session_id,
        "user_id": "G-1",
        "state": state,
        "session_start_time": start,
        "local_date": start.date(),
        "local_month": start.date().replace(day=1),
        "session_start_local": start.replace(tzinfo=None),
        "night_date": start.date(),
        "sleep_index": 58,
        "sleep_stages": [0, 1, 2],
        "payload_hash": b"hash" if state == "COMPLETE" else None,
        "fetched_at": start,
        **changes,
    }


def store(connection: Connection, *rows: dict[str, object]) -> None:
    for row in rows:
        connection.execute(insert(sleep_sessions), row)


def change(connection: Connection, session_id: str, **values: object) -> None:
    connection.execute(update(sleep_sessions).where(sleep_sessions.c.session_id == session_id).values(values))


def noted(connection: Connection) -> list[str]:
    return list(connection.scalars(text("SELECT session_id FROM asleep.notifications ORDER BY notification_id")))


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _clean(engine: Engine) -> Iterator[None]:
    yield
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE asleep.notifications, asleep.notification_switch, asleep.sleep_sessions"))


@pytest.fixture
def deliver(engine: Engine, receiver: Receiver) -> Iterator[Callable[[], tuple[int, int]]]:
    notifier = Notifier(receiver.url, SECRET)
    yield lambda: deliver_due(engine, notifier, should_stop=lambda: False)
    notifier.close()


def test_only_what_becomes_final_is_noted_and_only_once(connection: Connection):
    """Running nights, list rows and re-writes are no news."""
    Outbox(connection).turn_on()
    store(connection, session("inserted final"), session("running", "OPEN"), session("listed", payload_hash=None))
    assert noted(connection) == ["inserted final"]
    change(connection, "running", state="CLOSED")
    change(connection, "inserted final", sleep_index=60)
    assert noted(connection) == ["inserted final"]
    change(connection, "running", state="COMPLETE", payload_hash=b"hash")
    change(connection, "listed", completed_time=NOW)
    change(connection, "listed", payload_hash=b"hash")
    assert noted(connection) == ["inserted final", "running", "listed"]


def test_history_is_not_news(connection: Connection):
    """The first sync of five years must not send a million notifications."""
    Outbox(connection).turn_on()
    store(
        connection, session("old", start=NOW - timedelta(days=3)), session("last night", start=NOW - timedelta(hours=9))
    )
    assert noted(connection) == ["last night"]


def test_nothing_is_noted_while_the_switch_is_off(connection: Connection):
    """An outbox that nobody empties would grow for ever."""
    store(connection, session("before"))
    Outbox(connection).turn_on()
    Outbox(connection).turn_on()
    store(connection, session("on"))
    Outbox(connection).turn_off()
    store(connection, session("after"))
    assert noted(connection) == ["on"]


def test_a_note_is_part_of_the_transaction_that_made_the_session_final(engine: Engine):
    """A rolled-back session was never final; one that commits late is told late, not lost."""
    with engine.begin() as connection:
        Outbox(connection).turn_on()
    slow, quick = engine.connect(), engine.connect()
    store(slow, session("slow"))
    store(quick, session("quick"))
    quick.commit()
    assert [told.session_id for told in Outbox(quick).take(10)] == ["quick"]
    quick.commit()
    slow.commit()
    assert [told.session_id for told in Outbox(quick).take(10)] == ["slow"]
    quick.commit()
    store(slow, session("given up"))
    slow.rollback()
    assert Outbox(quick).take(10) == []
    quick.commit()
    slow.close()
    quick.close()


def test_a_notification_is_signed_and_names_ids_and_figures(
    engine: Engine, receiver: Receiver, deliver: Callable[[], tuple[int, int]]
):
    """The receiver can check who sent it, when, and needs no second request; stages stay here."""
    with engine.begin() as connection:
        Outbox(connection).turn_on()
        store(connection, session("one"))
    assert deliver() == (1, 0)
    assert deliver() == (0, 0)
    ((headers, body),) = receiver.heard
    assert verify(SECRET, body, headers["x-signature"].encode())
    told = orjson.loads(body)
    assert (told["event"], told["session_id"], told["user_id"]) == ("SESSION_FINAL", "one", "G-1")
    assert told["figures"]["sleep_index"] == 58
    assert abs(datetime.fromisoformat(told["sent_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert headers["x-notification-id"] == str(told["notification_id"])
    assert b"stages" not in body
    assert b"payload_hash" not in body


@pytest.mark.parametrize("status", [302, 404, 500])
def test_a_refused_notification_is_sent_again_and_parked_in_the_end(
    engine: Engine, receiver: Receiver, deliver: Callable[[], tuple[int, int]], status: int
):
    """At least once, but not for ever; redirects are not followed with our signature."""
    receiver.status = status
    with engine.begin() as connection:
        Outbox(connection).turn_on()
        store(connection, session("one"))
    for attempt in range(MAX_ATTEMPTS):
        assert deliver() == (0, 1), f"attempt {attempt}"
        assert deliver() == (0, 0), "not before its time"
        with engine.begin() as connection:
            connection.execute(text("UPDATE asleep.notifications SET next_attempt_at = now()"))
    assert deliver() == (0, 0)
    assert len(receiver.heard) == MAX_ATTEMPTS
    with engine.begin() as connection:
        counts = Outbox(connection).count()
        assert (counts.waiting, counts.parked) == (0, 1)
        assert connection.scalar(text("SELECT error FROM asleep.notifications")) == f"status {status}"
        assert Outbox(connection).requeue_parked() == 1
    receiver.status = 204
    assert deliver() == (1, 0)


def test_a_receiver_that_is_down_is_not_hammered(
    engine: Engine, receiver: Receiver, deliver: Callable[[], tuple[int, int]]
):
    """After three failures the rest waits, and no attempt of theirs is used up."""
    receiver.status = 503
    with engine.begin() as connection:
        Outbox(connection).turn_on()
        store(connection, *(session(f"s{number}") for number in range(10)))
    assert deliver() == (0, 3)
    with engine.begin() as connection:
        attempts = connection.scalars(text("SELECT attempts FROM asleep.notifications ORDER BY notification_id")).all()
        assert attempts == [1, 1, 1] + [0] * 7
        connection.execute(text("UPDATE asleep.notifications SET next_attempt_at = now()"))
    receiver.status = 200
    assert deliver() == (10, 0)


def test_a_session_that_was_deleted_is_not_notified(engine: Engine, deliver: Callable[[], tuple[int, int]]):
    """Erased or deleted before its notification left."""
    with engine.begin() as connection:
        Outbox(connection).turn_on()
        store(connection, session("deleted"), session("erased"))
        change(connection, "deleted", deleted_at=NOW)
        connection.execute(text("DELETE FROM asleep.sleep_sessions WHERE session_id = 'erased'"))
    assert deliver() == (0, 0)
    with engine.connect() as connection:
        assert noted(connection) == []


def test_a_user_erased_during_a_delivery_is_no_longer_notified(
    engine: Engine, receiver: Receiver, deliver: Callable[[], tuple[int, int]]
):
    """A batch is in memory for minutes while a slow receiver takes one after the other."""
    with engine.begin() as connection:
        Outbox(connection).turn_on()
        store(connection, session("first"), session("second", user_id="G-2"))

    def erase_the_other() -> None:
        with engine.begin() as connection:
            Erasures(connection).erase("G-2", "requested")

    receiver.on_post = erase_the_other
    deliver()

    assert [orjson.loads(body)["session_id"] for _, body in receiver.heard] == ["first"]


def test_care_of_the_outbox(connection: Connection):
    """Delivered rows go after a while, waiting ones stay."""
    Outbox(connection).turn_on()
    store(connection, session("one"), session("two", user_id="G-2"))
    connection.execute(text("UPDATE asleep.notifications SET delivered_at = now() WHERE user_id = 'G-1'"))
    assert Outbox(connection).prune(NOW - timedelta(days=1)) == 0
    assert Outbox(connection).prune(NOW + timedelta(days=1)) == 1
    assert noted(connection) == ["two"]


def test_several_services_notify_of_each_session_once(
    serve_app: Callable[..., Service], database_url: str, engine: Engine, receiver: Receiver
):
    """Started with an address, every worker shares the work; without one, the switch goes off."""
    options = served(
        database_url, enable_webhooks=False, notify_url=receiver.url, notify_secret=SECRET, notify_every_seconds=0.05
    )
    services = [serve_app(options) for _ in range(2)]

    def dependency() -> dict[str, object]:
        return services[0].get("/health").json()["dependencies"]["notifications"]

    await_truth(lambda: dependency()["state"] == "up")
    with engine.begin() as connection:
        store(connection, *(session(f"s{number}") for number in range(40)))
    await_truth(lambda: dependency()["waiting"] == 0 and len(receiver.heard) >= 40)
    told = sorted(orjson.loads(body)["session_id"] for _, body in receiver.heard)
    assert told == sorted(f"s{number}" for number in range(40))
    serve_app(served(database_url, enable_webhooks=False))
    await_truth(lambda: dependency()["state"] == "degraded")


def test_an_address_without_a_secret_is_a_mistake(database_url: str):
    """Unsigned notifications could be anybody's."""
    with pytest.raises(ValueError, match="NOTIFY_SECRET"):
        create_app(*served(database_url, api_keys=("key",), notify_url="https://example.org"))
