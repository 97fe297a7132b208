"""When a request is repeated, when not, and what listeners receive."""

import itertools
import json
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resources.asleep import errors
from resources.asleep.http.http_client import HttpResponse
from resources.asleep.request_events import Attempt, Listener
from resources.asleep.transport import MAX_INTERIM_IN_A_ROW, ApiRequest, ApiResult, RetryPolicy, Transport
from resources.pseudonyms import pseudonym
from resources.rate_limit.limiter import Outcome, Permit, PermitUnavailable

USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"
FIRST_TURN = datetime(2026, 3, 8, tzinfo=UTC)

Step = HttpResponse | Exception
PATIENCE = RetryPolicy()


def reply(status: int, answer: Any = None, **headers: str) -> HttpResponse:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    return HttpResponse(status, body, **headers)


OK = reply(200, {"detail": "OK", "result": {"a": 1}})
THROTTLED = reply(403, {"detail": "Rate limit exceeded"})
BROKEN = reply(500, {"detail": "oops"})
GARBLED = reply(200, b"<html>")
KEY_REJECTED = reply(401, {"detail": "Unauthorized"})


class Clock:
    """Time that passes only during a sleep."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        """Now."""
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.slept.append(seconds)
        self.now += seconds


class Script:
    """A client whose responses are written down; the last one is repeated."""

    def __init__(self, *steps: Step) -> None:
        self.steps = list(steps)
        self.requests: list[tuple[str, dict[str, str], dict[str, str]]] = []

    def get(
        self,
        path: str,
        params: Mapping[str, str],
        headers: Mapping[str, str],
        *,
        before_sending: Callable[[], None] = lambda: None,
        sent: Callable[[], None] = lambda: None,
        **_: object,
    ) -> HttpResponse:
        """The next step of the script."""
        before_sending()
        sent()
        self.requests.append((path, dict(params), dict(headers)))
        step = self.steps.pop(0) if len(self.steps) > 1 else self.steps[0]
        if isinstance(step, Exception):
            raise step
        return step


class Book:
    """A rate limiter that grants every permit and records it."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.granted: list[float] = []
        self.reported: list[tuple[Outcome, float | None]] = []
        self.refusal: Exception | None = None

    def acquire(self, *, give_up_at: float) -> Permit:
        """Grant at once."""
        if self.refusal:
            raise self.refusal
        self.granted.append(give_up_at)
        return Permit(FIRST_TURN + timedelta(seconds=len(self.granted)), waited_seconds=0.25)

    def sent(self, permit: Permit) -> None:
        assert permit

    def report(self, permit: Permit, outcome: Outcome, *, retry_after_seconds: float | None = None) -> None:
        """Record the outcome."""
        assert permit.waited_seconds == 0.25
        self.reported.append((outcome, retry_after_seconds))


class Stage:
    """A transport with everything around it in the test's hands."""

    def __init__(
        self,
        *steps: Step,
        listeners: tuple[Listener, ...] = (),
        retry_policy: RetryPolicy = PATIENCE,
        chance: Callable[[], float] = lambda: 1.0,
    ) -> None:
        self.clock = Clock()
        self.limiter = Book(self.clock)
        self.client = Script(*steps)
        self.attempts: list[Attempt] = []
        self.transport = Transport(
            self.limiter,
            self.client,
            (*listeners, self.attempts.append),
            retry_policy=retry_policy,
            clock=self.clock,
            sleep=self.clock.sleep,
            chance=chance,
        )

    def get(self, endpoint: str = "read_session") -> ApiResult:
        """Ask one question."""
        return self.transport.get(ApiRequest(endpoint, "/path", USER, {"a": "b"}, {"x-user-id": USER}))

    @property
    def outcomes(self) -> list[Outcome]:
        """What the limiter received."""
        return [outcome for outcome, _ in self.limiter.reported]


def test_an_answer_comes_with_the_time_of_its_permit():
    """Answers are put in order by it; the time of an earlier, failed attempt would be wrong."""
    stage = Stage(BROKEN, OK)
    answer = stage.get()
    assert answer == ApiResult({"a": 1}, FIRST_TURN + timedelta(seconds=2))
    assert stage.client.requests == [("/path", {"a": "b"}, {"x-user-id": USER})] * 2


def test_every_listener_receives_every_attempt_without_the_user():
    heard: list[Attempt] = []
    stage = Stage(errors.Unavailable("reset"), THROTTLED, GARBLED, OK, listeners=(heard.append,))
    stage.get()

    assert [(a.number, a.status, a.outcome) for a in stage.attempts] == [
        (1, None, "unavailable"),
        (2, 403, "throttled"),
        (3, 200, "malformed"),
        (4, 200, "ok"),
    ]
    assert heard == stage.attempts
    assert {a.endpoint for a in heard} == {"read_session"}
    assert {a.user for a in heard} == {pseudonym(USER)}
    assert heard[-1].received_bytes == len(OK.body)
    assert heard[-1].waited_seconds == 0.25
    assert USER not in repr(heard)


def test_a_listener_that_fails_does_not_cost_the_answer():
    """A metrics agent that is away must not stop the sync."""

    def fail(_: Attempt) -> None:
        raise RuntimeError

    stage = Stage(OK, listeners=(fail,))
    assert stage.get().result == {"a": 1}
    assert len(stage.attempts) == 1


def test_each_attempt_takes_a_turn_of_its_own_and_reports_back():
    """The limit holds for repetitions too, and the circuit must see every failure."""
    stage = Stage(BROKEN, errors.Unavailable("reset"), THROTTLED, GARBLED, OK)
    stage.get()
    assert stage.outcomes == [
        Outcome.BROKEN,
        Outcome.BROKEN,
        Outcome.THROTTLED,
        Outcome.ANSWERED,
        Outcome.ANSWERED,
    ]
    assert stage.limiter.granted == [1300.0] * 5


def test_an_error_of_any_kind_is_the_error_of_its_request_and_gives_the_turn_back():
    """It would stop the whole run otherwise; a permit never reported could block the half-open circuit for all."""
    stage = Stage(RuntimeError("holds a path"), RuntimeError(), RuntimeError(), OK)
    with pytest.raises(errors.Malformed) as caught:
        stage.get()
    assert str(caught.value) == "the response could not be read (RuntimeError)"
    assert stage.outcomes == [Outcome.ANSWERED] * 3
    assert stage.get().result == {"a": 1}


def test_a_lost_database_is_not_taken_for_a_bad_response():
    """The run must stop: nothing that it reads could be stored."""
    lost = OSError("server closed the connection")
    stage = Stage(OK)
    stage.limiter.refusal = lost
    with pytest.raises(OSError, match="server closed") as caught:
        stage.get()
    assert caught.value is lost


@pytest.mark.parametrize("share", [1, 3])
def test_interim_responses_now_and_then_are_only_repeated(share: int):
    """A gateway that sends them before some responses costs a few requests, never the run."""
    steps = [step for _ in range(50) for step in ([errors.InterimResponse()] * share, [OK])]
    stage = Stage(*itertools.chain(*steps))
    assert [stage.get().result for _ in range(50)] == [{"a": 1}] * 50


def test_interim_responses_before_everything_stop_all_requests():
    """Every user would fail slowly, one by one, without the cause."""
    stage = Stage(errors.InterimResponse())
    for _ in range(MAX_INTERIM_IN_A_ROW):
        with pytest.raises(errors.AsleepError):
            stage.get()
    assert len(stage.client.requests) == MAX_INTERIM_IN_A_ROW
    with pytest.raises(errors.OnlyInterimResponses, match="interim responses"):
        stage.get()


def test_a_failing_service_is_retried_a_few_times_with_growing_pauses():
    stage = Stage(BROKEN)
    with pytest.raises(errors.Unavailable) as caught:
        stage.get()
    assert caught.value.status == 500
    assert stage.clock.slept == [1, 2, 4, 8, 16]
    assert len(stage.attempts) == 6


def test_pauses_are_spread():
    """A thousand threads that failed together must not come back together."""
    stage = Stage(BROKEN, chance=itertools.chain([0.0, 0.5, 1.0], itertools.repeat(0.0)).__next__)
    with pytest.raises(errors.Unavailable):
        stage.get()
    assert stage.clock.slept == [0.5, 1.5, 4, 4, 8]


def test_a_response_of_another_server_is_retried_twice():
    """A proxy's hiccup passes; a wrong base URL does not, and costs little."""
    stage = Stage(GARBLED)
    with pytest.raises(errors.Malformed) as caught:
        stage.get()
    assert len(stage.attempts) == 3
    assert caught.value.raw == b"<html>"


def test_a_garbled_answer_is_followed_by_a_good_one():
    assert Stage(GARBLED, errors.Malformed("too large"), OK).get().result == {"a": 1}


def test_throttling_is_waited_out_however_often_it_comes():
    """It is no failure: the limiter slows everybody down until it stops."""
    stage = Stage(*[THROTTLED] * 12, OK, retry_policy=RetryPolicy(longest_pause_seconds=5))
    assert stage.get().result == {"a": 1}
    assert stage.outcomes.count(Outcome.THROTTLED) == 12


def test_throttling_for_longer_than_we_are_willing_to_wait_is_unavailable():
    stage = Stage(THROTTLED)
    with pytest.raises(errors.Unavailable, match="throttled"):
        stage.get()
    assert 200 < sum(stage.clock.slept) < 300


def test_retry_after_reaches_the_limiter_and_is_waited_for():
    reset = errors.Unavailable("reset")
    stage = Stage(reply(429, {}, retry_after="17"), reply(503, {}, retry_after="3"), reset, OK)
    stage.get()
    assert stage.limiter.reported == [
        (Outcome.THROTTLED, 17),
        (Outcome.BROKEN, 3),
        (Outcome.BROKEN, None),
        (Outcome.ANSWERED, None),
    ]
    assert stage.clock.slept == [17, 3, 4]


def test_a_retry_after_beyond_our_patience_ends_at_once():
    """Somebody asks for a day: the run must say so now, not sleep through it."""
    stage = Stage(reply(429, {}, retry_after="86400"))
    with pytest.raises(errors.Unavailable):
        stage.get()
    assert stage.clock.slept == []
    assert stage.limiter.reported == [(Outcome.THROTTLED, 86400)]


def test_a_refused_permit_is_not_requested_twice():
    """The limiter has waited for as long as waiting made sense."""
    stage = Stage(OK)
    stage.limiter.refusal = PermitUnavailable("circuit open")
    with pytest.raises(errors.Unavailable, match="circuit open"):
        stage.get()
    assert stage.clock.slept == []
    assert stage.limiter.reported == []


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (reply(400, {"detail": "The format of x-user-id is invalid"}), errors.IdentifierRefused),
        (reply(422, {"detail": []}), errors.RequestRefused),
        (reply(404, {"detail": "session does not exist"}), errors.SessionGone),
        (reply(404, {"detail": "user does not exist"}), errors.UserGone),
        (reply(302, b""), errors.Malformed),
    ],
)
def test_a_failure_of_one_request_is_not_retried_and_others_go_on(step: HttpResponse, kind: type[errors.AsleepError]):
    stage = Stage(step, OK)
    with pytest.raises(kind):
        stage.get()
    assert len(stage.attempts) == 1
    assert stage.get().result == {"a": 1}


@pytest.mark.parametrize(
    ("step", "kind"),
    [
        (KEY_REJECTED, errors.KeyRejected),
        (reply(403, {"detail": "Quota exceeded"}), errors.QuotaExceeded),
        (reply(403, {"detail": "Plan is expired"}), errors.PlanExpired),
    ],
)
def test_a_rejected_account_stops_every_later_request_unsent(step: HttpResponse, kind: type[errors.AsleepError]):
    """Asking on would only annoy, and with a spent quota every request may cost."""
    stage = Stage(step, OK)
    for _ in range(3):
        with pytest.raises(kind) as caught:
            stage.get()
        assert caught.value.status == step.status
    assert len(stage.client.requests) == 1
    assert len(stage.limiter.reported) == 1


def test_a_refused_account_stops_those_who_already_wait():
    """A thread in a pause, or waiting for a permit, must not ask either."""

    class OneAtATime(Book):
        def __init__(self, clock: Clock) -> None:
            super().__init__(clock)
            self.second_waits, self.second_may_go = threading.Event(), threading.Event()

        def acquire(self, *, give_up_at: float) -> Permit:
            if threading.current_thread() is not threading.main_thread():
                self.second_waits.set()
                self.second_may_go.wait(10)
            return super().acquire(give_up_at=give_up_at)

    clock = Clock()
    limiter = OneAtATime(clock)
    client = Script(KEY_REJECTED, OK)
    transport = Transport(limiter, client, clock=clock)
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            transport.get(ApiRequest("read_user", "/", USER))
        except errors.AsleepError as error:
            caught.append(error)

    waiting = threading.Thread(target=ask)
    waiting.start()
    assert limiter.second_waits.wait(10)
    ask()
    limiter.second_may_go.set()
    waiting.join(10)

    assert [type(error) for error in caught] == [errors.KeyRejected] * 2
    assert len(client.requests) == 1
    assert len(limiter.reported) == 2


def test_a_pause_ends_early_when_the_account_is_refused():
    """Nobody should sit out half a minute only to learn that all is over."""
    asked_twice = threading.Event()

    class BrokenThenRejected(Script):
        def get(self, *args: Any, **kwargs: Any) -> HttpResponse:
            answer = super().get(*args, **kwargs)
            asked_twice.set()
            return answer

    client = BrokenThenRejected(BROKEN, KEY_REJECTED)
    transport = Transport(
        Book(Clock()), client, retry_policy=RetryPolicy(first_pause_seconds=60, longest_pause_seconds=60)
    )
    caught: list[BaseException] = []

    def ask() -> None:
        try:
            transport.get(ApiRequest("read_user", "/", USER))
        except errors.AsleepError as error:
            caught.append(error)

    pausing = threading.Thread(target=ask)
    pausing.start()
    assert asked_twice.wait(10)
    ask()
    pausing.join(20)
    assert not pausing.is_alive()
    assert [type(error) for error in caught] == [errors.KeyRejected] * 2
