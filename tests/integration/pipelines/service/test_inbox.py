"""The inbox keeps every event until it is handled, once, whoever handles it."""

import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, Engine, text

from resources.database.service.inbox import MAX_ATTEMPTS, FailedEvent, Inbox, IncomingEvent
from resources.database.sync.sync_state import Failure, SyncState


def event(body: str = "{}", **headers: str) -> IncomingEvent:
    return IncomingEvent(body.encode(), {name.replace("_", "-"): value for name, value in headers.items()})


def hurry(connection: Connection) -> None:
    """Let every wait be over."""
    connection.execute(text("UPDATE asleep.webhook_events SET next_attempt_at = now() - interval '1 s'"))


def test_a_body_is_stored_once_however_often_it_arrives(connection: Connection):
    """Asleep may repeat an event; handling it twice would cost requests."""
    assert Inbox(connection).put([event("a"), event("b"), event("a")]) == [True, True, False]
    assert Inbox(connection).put([event("b"), event("c")]) == [False, True]
    assert sorted(taken.body for taken in Inbox(connection).take(10)) == [b"a", b"b", b"c"]


def test_two_users_named_by_a_header_only_are_two_events(connection: Connection):
    """The same body, "a session of yours ended", for two people: one of them would be forgotten."""
    one, other = ({"x-user-id": f"G-{name}"} for name in ("one", "two"))
    same = IncomingEvent(b'{"event": "SESSION_COMPLETE"}', one), IncomingEvent(b'{"event": "SESSION_COMPLETE"}', other)
    longer = IncomingEvent(b'{"session": "G-one-two"}', one), IncomingEvent(b'{"session": "G-one-two"}', other)
    assert Inbox(connection).put(longer) == [True, True], "a part of another id names nobody"
    named = IncomingEvent(b'{"user_id": "G-one"}', one), IncomingEvent(b'{"user_id": "G-one"}', {})

    assert Inbox(connection).put(same) == [True, True]
    assert Inbox(connection).put(same) == [False, False]
    assert Inbox(connection).put(named) == [True, False]


def test_any_bytes_and_headers_come_back_as_they_went_in(connection: Connection):
    """The body is evidence: it is kept byte for byte, JSON or not."""
    body = bytes(range(256)) + b"\\x00'\"%s%(x)s{}"
    Inbox(connection).put([IncomingEvent(body, {"x-user-id": "G-'\"\\ %s é"})])
    taken = Inbox(connection).take(1)[0]
    assert (taken.body, taken.headers) == (body, {"x-user-id": "G-'\"\\ %s é"})
    assert taken.attempts == 1
    assert datetime.now(UTC) - taken.received_at < timedelta(minutes=1)


def test_an_event_is_taken_by_one_process_only(engine: Engine):
    """Two daemons at once must not handle one event twice."""
    with engine.begin() as connection:
        Inbox(connection).put([event(f"shared {number}") for number in range(200)])
    taken: list[int] = []

    def take() -> None:
        while True:
            with engine.begin() as connection:
                events = Inbox(connection).take(7)
            if not events:
                return
            taken.extend(found.event_id for found in events)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with engine.begin() as connection:
        Inbox(connection).drop(taken)
    assert len(taken) == len(set(taken)) == 200


def test_an_event_comes_back_when_its_taker_died(connection: Connection):
    """At least once: a killed process must not lose what it had taken."""
    Inbox(connection).put([event()])
    assert len(Inbox(connection).take(1, lease_seconds=600)) == 1
    assert Inbox(connection).take(1) == []
    hurry(connection)
    assert Inbox(connection).take(1)[0].attempts == 2


def test_the_wait_grows_with_every_failure(connection: Connection):
    """A service in trouble is asked ever more rarely."""
    Inbox(connection).put([event()])
    waits = []
    for _ in range(MAX_ATTEMPTS - 1):
        hurry(connection)
        (taken,) = Inbox(connection).take(1)
        assert Inbox(connection).mark_failed([FailedEvent(taken.event_id, "no answer", "G-1")]) == frozenset()
        waits.append(
            connection.scalar(text("SELECT extract(epoch FROM next_attempt_at - now()) FROM asleep.webhook_events"))
        )
    assert [round(float(wait), -1) for wait in waits] == [30, 120, 480, 1920]


def test_the_fifth_failure_parks_an_event_where_people_look(connection: Connection):
    """A poison event must neither block the others nor vanish."""
    Inbox(connection).put([event("poison")])
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-1', 'import')"))
    for _ in range(MAX_ATTEMPTS):
        hurry(connection)
        (taken,) = Inbox(connection).take(1)
        parked = Inbox(connection).mark_failed(
            [FailedEvent(taken.event_id, "cannot be read", "G-1", "20260307140211_q7x4m")]
        )
    assert parked == {taken.event_id}
    hurry(connection)
    assert Inbox(connection).take(1) == []
    assert Inbox(connection).count().parked == 1
    assert Inbox(connection).parked(1)[0].error == "cannot be read"
    row = connection.execute(text("SELECT user_id, session_id, kind, attempts FROM asleep.sync_failures")).one()
    assert row == ("G-1", "20260307140211_q7x4m", "webhook_event", 5)
    assert Inbox(connection).requeue_parked() == 1
    assert Inbox(connection).take(1)[0].attempts == 1


def test_an_event_that_kills_its_process_is_recognised(connection: Connection):
    """A crash reports no failure; the lease that ran out five times tells."""
    Inbox(connection).put([event()])
    for _ in range(MAX_ATTEMPTS):
        hurry(connection)
        assert not Inbox(connection).take(1)[0].is_exhausted
    hurry(connection)
    (taken,) = Inbox(connection).take(1)
    assert taken.is_exhausted
    assert Inbox(connection).mark_failed([FailedEvent(taken.event_id, "never reported")]) == {taken.event_id}


def test_a_hopeless_event_is_parked_at_once_and_two_strangers_share_a_line(connection: Connection):
    """Events that name nobody cannot be handled by trying again."""
    Inbox(connection).put([event("1"), event("2")])
    taken = [found.event_id for found in Inbox(connection).take(2)]
    parked = Inbox(connection).mark_failed([FailedEvent(number, "names nobody", is_hopeless=True) for number in taken])
    assert parked == set(taken)
    assert connection.scalar(text("SELECT count(*) FROM asleep.sync_failures WHERE user_id = ''")) == 1


def missing(connection: Connection) -> list[tuple[str, str]]:
    rows = connection.execute(text("SELECT user_id, kind FROM asleep.missing_data ORDER BY user_id"))
    return [(row.user_id, row.kind) for row in rows]


def two_strangers(connection: Connection) -> list[int]:
    Inbox(connection).put([event("1"), event("2")])
    taken = [found.event_id for found in Inbox(connection).take(2)]
    Inbox(connection).mark_failed([FailedEvent(number, "names nobody", is_hopeless=True) for number in taken])
    return taken


def test_the_line_of_several_strangers_stays_until_none_is_left(connection: Connection):
    """It names the last of them, and dropping that one once made `status` say that no data are missing."""
    first, last = two_strangers(connection)

    assert Inbox(connection).drop_parked([last]) == 1
    assert missing(connection) == [("", "webhook_event")]
    assert Inbox(connection).requeue_parked([first]) == 1
    assert missing(connection) == []


def test_events_removed_for_their_age_count_no_longer(connection: Connection):
    """Their line in the missing data could be removed by no command, and `status` would say 1 for ever."""
    two_strangers(connection)

    assert Inbox(connection).prune(datetime.now(UTC) + timedelta(days=1)) == 2
    assert missing(connection) == []


def test_dropping_an_event_leaves_what_a_sync_could_not_read(connection: Connection):
    """The event's line replaced the failure of the same session, and went with the event."""
    connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-1', 'import')"))
    session = "20260307140211_q7x4m"
    SyncState(connection).record_failures([Failure("G-1", session, None, None, "unavailable", "HTTP 500", None)])
    Inbox(connection).put([event("1")])
    [taken] = Inbox(connection).take(1)
    Inbox(connection).mark_failed([FailedEvent(taken.event_id, "no", "G-1", session, is_hopeless=True)])

    Inbox(connection).drop_parked()

    assert missing(connection) == [("G-1", "unavailable")]


def test_a_postponed_event_has_not_used_up_an_attempt(connection: Connection):
    """An hour's outage of the API is not the event's fault."""
    Inbox(connection).put([event()])
    for _ in range(3 * MAX_ATTEMPTS):
        hurry(connection)
        (taken,) = Inbox(connection).take(1)
        Inbox(connection).give_back([taken.event_id], seconds=30)
    assert Inbox(connection).take(1) == []
    hurry(connection)
    assert Inbox(connection).take(1)[0].attempts == 1


def test_waiting_and_parked_events_are_counted(connection: Connection):
    """The operator's first question."""
    Inbox(connection).put([event("1"), event("2"), event("3")])
    first, second = Inbox(connection).take(2)
    Inbox(connection).mark_done([first.event_id])
    counts = Inbox(connection).count()
    assert (counts.waiting, counts.parked) == (2, 0)
    assert counts.oldest_seconds < 60
    assert second.event_id > first.event_id


def test_pruning_leaves_what_waits(connection: Connection):
    """Bodies are health data: kept as long as needed, not longer."""
    Inbox(connection).put([event("done"), event("parked"), event("waiting")])
    done, parked = Inbox(connection).take(2)
    Inbox(connection).mark_done([done.event_id])
    Inbox(connection).mark_failed([FailedEvent(parked.event_id, "no", is_hopeless=True)])
    assert Inbox(connection).prune(datetime.now(UTC) - timedelta(days=1)) == 0
    assert Inbox(connection).prune(datetime.now(UTC) + timedelta(days=1)) == 2
    assert connection.scalar(text("SELECT count(*) FROM asleep.webhook_events")) == 1
