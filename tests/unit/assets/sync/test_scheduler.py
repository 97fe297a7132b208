"""Every request is answered once, a user's trouble stays with that user, and leaving early leaves nothing behind."""

import contextvars
import threading
from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from assets.sync import scheduler
from assets.sync.api_requests import Endpoint, Request, Response, send, together
from assets.sync.scheduler import REQUESTS_AHEAD, Sync, drive
from assets.sync.user_steps import Findings, UserOutcome, UserSteps
from assets.sync.window import Window
from resources.asleep.errors import KeyRejected, Malformed
from resources.asleep.records import SleepSession, UserProfile
from resources.database.sync.sync_state import UserToSync

WINDOW = Window.of_days(date(2026, 3, 10), date(2026, 3, 16))
NOW = datetime(2026, 3, 17, tzinfo=UTC)
WHO = contextvars.ContextVar("who", default="nobody")


def outcome_of(user_id):
    return UserOutcome(UserToSync(user_id, False, (), (), None, None), WINDOW)


def requests(user_id, count):
    return [Request(user_id, Endpoint.READ_USER) for _ in range(count)]


def answer(request):
    return Response(request, NOW, UserProfile(request.user_id, to_be_deleted=False))


def good(user_id):
    yield requests(user_id, 2)
    yield []


def bad(user_id):
    yield requests(user_id, 3)
    raise ZeroDivisionError(user_id)


def driven(syncs, do=answer):
    return [progress for progress in drive(iter(syncs), do, workers=2) if progress is not None]


def test_steps_that_raise_are_their_users_failure_and_the_others_go_on():
    """The run of all users once ended with one user's strange payload, without any failure on record."""
    outcomes = [outcome_of(f"user-{number}") for number in range(5)]
    syncs = [Sync(o, (bad if o.user.user_id == "user-2" else good)(o.user.user_id)) for o in outcomes]
    happened = driven(syncs)

    assert [p.outcome.user.user_id for p in happened if p.is_done].count("user-2") == 1
    assert {p.outcome.user.user_id for p in happened if p.is_done} == {f"user-{number}" for number in range(5)}
    assert [len(o.failures) for o in outcomes] == [0, 0, 1, 0, 0]
    (failure,) = outcomes[2].failures
    assert (failure.kind, failure.message) == ("malformed", "the responses could not be used (ZeroDivisionError)")
    assert failure.window_start == WINDOW.start


@pytest.mark.parametrize("first", [(), ([],)], ids=["ends at once", "no requests"])
def test_a_sync_without_a_request_stops_the_run(first):
    """Its end would look like the end of the list of users: those after it would be left out of a green run."""
    empty = Sync(outcome_of("user-0"), (requests for requests in first))
    with pytest.raises(RuntimeError, match="makes no request"):
        driven([empty, Sync(outcome_of("user-1"), good("user-1"))])


def asking(user_id, *counts):
    """Makes so many requests at once, after each response the next number of them."""
    numbers = [*counts, *[0] * sum(counts)]
    for number in numbers[: sum(counts)]:
        yield requests(user_id, number)


@given(counts=st.lists(st.lists(st.integers(1, 3), min_size=1, max_size=4), max_size=8), workers=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_every_request_comes_back_once_to_the_sync_that_made_it(counts, workers):
    """Those that a response adds as well: a list brings sessions to read."""
    syncs = [Sync(outcome_of(str(n)), asking(str(n), *of)) for n, of in enumerate(counts)]
    happened = [progress for progress in drive(iter(syncs), answer, workers=workers) if progress is not None]
    assert all(progress.outcome.user.user_id == progress.response.request.user_id for progress in happened)
    assert len({progress.response.request for progress in happened}) == len(happened) == sum(map(sum, counts))
    assert sum(progress.is_done for progress in happened) == len(counts)


@pytest.mark.parametrize("workers", [1, 4])
def test_no_more_users_are_begun_than_workers_can_use(workers):
    """A hundred thousand users must not stand in memory at once."""
    begun = []

    def syncs():
        for number in range(1000):
            begun.append(number)
            yield Sync(outcome_of("user"), asking("user", 1))

    for done, _ in enumerate(drive(syncs(), answer, workers=workers), start=1):
        assert len(begun) - done < REQUESTS_AHEAD * workers + 1


def test_never_more_threads_send_at_once_than_agreed():
    lock, now, most = threading.Lock(), [0], [0]

    def send_counted(request):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1
        return answer(request)

    list(drive(iter([Sync(outcome_of("user"), asking("user", 200))]), send_counted, workers=3))
    assert most[0] <= 3


@pytest.mark.parametrize("fault", [None, SystemExit()])
def test_leaving_early_ends_the_threads_and_sends_no_other_request(fault):
    """A refused account: what is under way may end. The caller would wait for ever for a thread without an answer."""
    sent, before = [], threading.active_count()

    def send_noted(request):
        sent.append(request)
        if fault is not None:
            raise fault
        return answer(request)

    driving = drive(iter([Sync(outcome_of("user"), asking("user", 1000))]), send_noted, workers=1)
    if fault is None:
        next(driving)
        driving.close()
    else:
        with pytest.raises(SystemExit):
            next(driving)
    assert threading.active_count() == before
    assert len(sent) <= REQUESTS_AHEAD + 1


def test_context_variables_reach_the_threads():
    """Log lines of a thread carry what the run bound."""
    WHO.set("the run")
    seen = []
    list(drive(iter([Sync(outcome_of("u"), asking("u", 1))]), lambda r: seen.append(WHO.get()) or answer(r), workers=1))
    assert seen == ["the run"]


def test_requests_of_users_begun_first_are_sent_first():
    """Users begun are finished before others begin, however many requests wait: a killed run leaves few half done."""
    turns, sent = threading.Semaphore(1), []

    def send_in_turn(request):
        assert turns.acquire(timeout=30)
        sent.append(request.user_id)
        return answer(request)

    syncs = [Sync(outcome_of(user_id), asking(user_id, 1, 2)) for user_id in "abcd"]
    for progress in drive(iter(syncs), send_in_turn, workers=1):
        if progress is not None:
            turns.release()
    places = {user_id: [place for place, name in enumerate(sent) if name == user_id] for user_id in "abcd"}
    assert sorted(sent) == sorted("abcd" * 3)
    assert [places[u][-1] for u in "abcd"] == sorted(places[u][-1] for u in "abcd")
    assert places["a"][-1] < places["d"][0], "the last user was begun before the first one was finished"


def test_silence_is_reported_while_a_request_hangs(monkeypatch):
    """What was received before must be written, although one request does not end."""
    monkeypatch.setattr(scheduler, "TICK_SECONDS", 0.01)
    hangs, ticks = threading.Event(), 0

    def send_hanging(request):
        assert hangs.wait(30)
        return answer(request)

    for progress in drive(iter([Sync(outcome_of("user"), asking("user", 1))]), send_hanging, workers=1):
        if progress is None:
            ticks += 1
            hangs.set()
    assert ticks


class Client:
    """Raises what it is given."""

    def __init__(self, error):
        self.error = error

    def read_user(self, _):
        raise self.error


def test_an_error_of_any_kind_becomes_the_response_of_its_request():
    """Nobody can list every error that a strange response may cause."""
    request = Request("user-1", Endpoint.READ_USER)
    response = send(Client(ValueError("user-1")), request, now=lambda: NOW)
    assert isinstance(response.result, Malformed)
    assert str(response.result) == "the request failed (ValueError)"


@pytest.mark.parametrize(
    "error", [OperationalError("SELECT", {}, Exception("server closed the connection")), KeyRejected()]
)
def test_a_lost_database_and_a_refused_account_stop_the_run(error):
    """Nothing that came after could be stored, or would be answered."""
    outcome = outcome_of("user-1")
    with pytest.raises(type(error)) as caught:
        driven([Sync(outcome, good("user-1"))], partial(send, Client(error), now=lambda: NOW))
    assert caught.value is error
    assert outcome.failures == []


class Shaping(UserSteps):
    """Reads two sessions, of which one cannot be made a row."""

    def _have_read(self, session):
        if session.session_id == "bad":
            raise OverflowError("a value of the session")
        self.outcome.rows.append((session.session_id,))


def test_a_session_that_cannot_be_made_a_row_is_its_own_failure():
    """The user's other sessions are stored."""
    outcome = outcome_of("user-1")
    nothing = dict.fromkeys(("missing_data_ratio", "stat", "sleep_stages", "breath_stages", "snoring_stages"))
    session = SleepSession(
        "", "user-1", "COMPLETE", NOW, None, None, None, (), raw=b"{}", payload_hash=b"0" * 16,
        contract_violations=(), asked_at=NOW, **nothing,
    )  # fmt: skip
    steps = Shaping(outcome)
    rows, ids = [], ["bad", "good"]
    for progress in drive(
        iter([Sync(outcome, together(steps.read(session_id) for session_id in ids))]),
        lambda request: Response(request, NOW, replace(session, session_id=request.session_id)),
        workers=1,
    ):
        if progress is not None:
            rows += progress.outcome.rows
            progress.outcome.move_to(Findings())
    assert rows == [("good",)]
    (failure,) = outcome.failures
    assert (failure.session_id, failure.kind) == ("bad", "malformed")
    assert failure.message == "the session could not be made a row (OverflowError)"
    assert failure.raw_body == b"{}"
