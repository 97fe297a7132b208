"""One user's trouble stays with that user, whatever raises it."""

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import partial

import pytest
from sqlalchemy.exc import OperationalError

from assets.sync.api_requests import Endpoint, Request, Response, send, together
from assets.sync.scheduler import Sync, drive
from assets.sync.user_steps import Findings, UserOutcome, UserSteps
from assets.sync.window import Window
from resources.asleep.errors import KeyRejected, Malformed
from resources.asleep.records import SleepSession, UserProfile
from resources.database.sync.sync_state import UserToSync

WINDOW = Window.of_days(date(2026, 3, 10), date(2026, 3, 16))
NOW = datetime(2026, 3, 17, tzinfo=UTC)


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

    def have_read(self, session):
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
