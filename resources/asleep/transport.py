"""Requests to the Asleep API, repeated until there is a result or a reason to stop.

Each attempt takes a permit of its own from the rate limiter. Throttling is not a failure: the limiter slows all
processes down, and attempts go on until the time is up. A broken service is tried 6 times, a response that is not the
API's 3 times. Whatever an attempt raises becomes the error of its request; only a refused account, and what the limiter
raises, concern other requests.
"""

import logging
import math
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from itertools import chain, repeat
from typing import Any

from tenacity import RetryCallState, Retrying, retry_if_result

from resources.asleep.classification import Classification, failed, is_of_the_api, judge, retry_after_seconds
from resources.asleep.errors import InterimResponse, Malformed, NoContact, OnlyInterimResponses, Rejected, Unavailable
from resources.asleep.http.http_client import HttpClient, HttpResponse
from resources.asleep.request_events import Attempt, Listener
from resources.pseudonyms import pseudonym
from resources.rate_limit.limiter import Outcome, Permit, PermitUnavailable, PostgresRateLimiter

logger = logging.getLogger(__name__)

MAX_DOUBLINGS = 10
MAX_INTERIM_IN_A_ROW = 20
"""Interim responses without a complete response in between, after which no request is sent any more."""
FIRST_CONTACT_SECONDS = 3.0
"""From the first request on: the first failure after it ends a first contact."""
FIRST_CONTACT_REQUEST_SECONDS = 8.0
"""Time-out of a request during a first contact."""


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often and how long one request is repeated."""

    total_seconds: float = 300.0
    """Waiting for permits included; throttling and an open circuit are waited out within it."""
    broken_attempts: int = 6
    garbled_attempts: int = 3
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class ApiResult:
    """The `result` of a response."""

    result: dict[str, Any] = field(repr=False)
    asked_at: datetime
    """When the permit of the successful attempt was granted, by the clock that all processes share."""
    date: str | None = None
    """The API's clock: header `Date` of the response."""


@dataclass(frozen=True, slots=True)
class ApiRequest:
    """One GET request about one user."""

    endpoint: str
    """As in `Attempt.endpoint`."""
    path: str = field(repr=False)
    """With its identifiers quoted."""
    user_id: str = field(repr=False)
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Beside the key."""


@dataclass(slots=True)
class _Progress:
    """How far a request has come."""

    request: ApiRequest
    user: str
    give_up_at: float
    attempts: int = 0
    broken: int = 0
    garbled: int = 0
    permit: Permit | None = None
    """Of the last attempt, as all below; None when it needed none."""
    began_at: float = 0.0
    """When the permit was granted, or else the attempt began; by the transport's clock."""
    shared_error: Exception | None = None
    """Raised by the limiter, or because the account was refused: it concerns more than this request."""
    retry_after_seconds: float | None = None
    """As the response demands."""
    date: str | None = None
    """Header `Date` of the response."""

    def begin_attempt(self, now: float) -> None:
        self.permit = self.retry_after_seconds = None
        self.began_at = now


class Transport:
    """Sends requests at the rate shared by all processes, and repeats those that may succeed later.

    Safe to share between threads. Once the account was refused, later requests are refused without being sent.
    The first contact with an address ends within seconds, with the reason, when the API responds to none of its
    requests. Once the API has responded, to this process or an earlier one, outages are waited out.
    """

    def __init__(  # noqa: PLR0913 the parts of which it is made
        self,
        limiter: PostgresRateLimiter,
        client: HttpClient,
        listeners: Sequence[Listener] = (),
        *,
        retry_policy: RetryPolicy = RetryPolicy(),
        note_contact: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Prepare; nothing is sent yet.

        Args:
            limiter: grants a permit for each attempt.
            client: sends one request.
            listeners: each receives every attempt.
            retry_policy: when to give up.
            note_contact: called when the API responds for the first time; None when it has responded before.
            clock: monotonic seconds, those in which the limiter's `give_up_at` is meant.
            sleep: pauses between attempts; by default one that ends early when the account is refused.
            chance: uniform in [0, 1), spreads the pauses.
        """
        self._limiter = limiter
        self._client = client
        self._listeners = tuple(listeners)
        self._retry_policy = retry_policy
        self._clock = clock
        self._chance = chance
        self._rejection: Rejected | None = None
        self._rejected = threading.Event()
        self._note_contact = note_contact
        self._has_contact = note_contact is None
        self._contact_until: float | None = None
        self._interim_in_a_row = 0
        self._counting = threading.Lock()
        self._retrying = Retrying(
            retry=retry_if_result(_may_succeed_later),
            stop=self._is_enough,
            wait=self._pause_seconds,
            sleep=sleep or self._rejected.wait,  # type: ignore[arg-type]  # what it returns is not used
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def get(self, request: ApiRequest) -> ApiResult:
        """Send a request until there is a result; listeners receive the user's pseudonym only.

        Raises:
            AsleepError: see `resources.asleep.errors`.
        """
        now = self._clock()
        self._contact_until = self._contact_until or now + FIRST_CONTACT_SECONDS
        progress = _Progress(request, pseudonym(request.user_id), now + self._retry_policy.total_seconds)
        judged = self._attempt(progress)
        if _may_succeed_later(judged):  # seldom; tenacity would take a tenth of a request's CPU
            attempts = chain([judged], map(self._attempt, repeat(progress)))
            judged = self._retrying(lambda _: next(attempts), progress)
        if judged.result is not None and progress.permit is not None:
            return ApiResult(judged.result, progress.permit.granted_at, progress.date)
        raise judged.error or Malformed()

    def _attempt(self, progress: _Progress) -> Classification:
        self._stop_if_rejected()
        progress.begin_attempt(self._clock())
        judged = Classification(Outcome.ANSWERED)
        try:
            judged = self._get_once(progress)
        finally:
            if progress.permit is not None:
                retry_after = progress.retry_after_seconds
                self._limiter.report(progress.permit, judged.outcome, retry_after_seconds=retry_after)
        return judged

    def _take_permit(self, progress: _Progress) -> None:
        """Called when a connection is open."""
        try:
            progress.permit = self._limiter.acquire(give_up_at=progress.give_up_at)
            progress.began_at = self._clock()
            self._stop_if_rejected()
        except Exception as error:
            progress.shared_error = error
            raise

    def _report_sent(self, progress: _Progress) -> None:
        """Called when the request has been written."""
        try:
            if progress.permit is not None:
                self._limiter.sent(progress.permit)
        except Exception as error:
            progress.shared_error = error
            raise

    def _get_once(self, progress: _Progress) -> Classification:
        request = progress.request
        response: HttpResponse | None = None
        try:
            response = self._client.get(
                request.path,
                request.params,
                request.headers,
                before_sending=partial(self._take_permit, progress),
                sent=partial(self._report_sent, progress),
                max_seconds=math.inf if self._has_contact else FIRST_CONTACT_REQUEST_SECONDS,
            )
            judged = judge(request.endpoint, response.status, response.body)
            progress.date = response.date
            progress.retry_after_seconds = retry_after_seconds(response.retry_after, response.date)
        except PermitUnavailable as error:
            raise Unavailable(str(error)) from error.__cause__
        except Exception as error:
            if error is progress.shared_error:
                raise
            judged = failed(error)
        judged = self._judge_contact(response, judged)
        progress.attempts += 1
        judged = self._count(progress, judged, is_complete=response is not None)
        if isinstance(judged.error, Rejected) and self._rejection is None:
            self._rejection = judged.error
            self._rejected.set()
        self._notify(
            Attempt(
                endpoint=request.endpoint,
                user=progress.user,
                number=progress.attempts,
                status=response.status if response else getattr(judged.error, "status", None),
                outcome=judged.label,
                waited_seconds=progress.permit.waited_seconds if progress.permit else 0.0,
                duration_seconds=self._clock() - progress.began_at,
                received_bytes=len(response.body) if response else 0,
            )
        )
        return judged

    def _judge_contact(self, response: HttpResponse | None, judged: Classification) -> Classification:
        """What was judged; a failure of the first contact, or after a while an error that stops all requests."""
        if self._has_contact:
            return judged
        if response is not None and is_of_the_api(response.body):
            with self._counting:
                is_first, self._has_contact = not self._has_contact, True
            if is_first and self._note_contact is not None:
                self._note_contact()
            return judged
        if response is not None:
            reason = f"HTTP {response.status} with something that is not the API's, such as a proxy's page"
            judged = failed(Unavailable(reason))
        if self._clock() < (self._contact_until or 0):
            return judged
        return failed(
            NoContact(
                f"The Asleep API does not answer at {self._client.base_url}: {judged.error}. It has never answered "
                "from this address. Check ASLEEP_BASE_URL and the network; in a company's network, ASLEEP_PROXY and "
                "ASLEEP_CA_BUNDLE."
            )
        )

    def _count(self, progress: _Progress, judged: Classification, *, is_complete: bool) -> Classification:
        """What was judged, or an error that stops all requests when interim responses precede all others."""
        is_interim = isinstance(judged.error, InterimResponse)
        progress.broken += judged.outcome is Outcome.BROKEN or is_interim
        progress.garbled += judged.is_garbled and not is_interim
        with self._counting:
            self._interim_in_a_row = 0 if is_complete else self._interim_in_a_row + is_interim
            is_too_many = is_interim and self._interim_in_a_row >= MAX_INTERIM_IN_A_ROW
        return Classification(judged.outcome, error=OnlyInterimResponses()) if is_too_many else judged

    def _stop_if_rejected(self) -> None:
        if self._rejection is not None:
            raise type(self._rejection)(str(self._rejection), status=self._rejection.status, raw=self._rejection.raw)

    def _notify(self, attempt: Attempt) -> None:
        for listener in self._listeners:
            try:
                listener(attempt)
            except Exception as error:  # noqa: BLE001 foreign code; the sync is worth more than a metric
                logger.warning("a listener failed and missed one attempt: %s", type(error).__name__)

    def _is_enough(self, state: RetryCallState) -> bool:
        progress: _Progress = state.args[0]
        return (
            progress.broken >= self._retry_policy.broken_attempts
            or progress.garbled >= self._retry_policy.garbled_attempts
            or self._clock() + state.upcoming_sleep >= progress.give_up_at
        )

    def _pause_seconds(self, state: RetryCallState) -> float:
        progress: _Progress = state.args[0]
        doubled = self._retry_policy.first_pause_seconds * 2.0 ** min(progress.attempts - 1, MAX_DOUBLINGS)
        pause = min(doubled, self._retry_policy.longest_pause_seconds)
        spread = pause * (0.5 + 0.5 * self._chance())
        return max(spread, progress.retry_after_seconds or 0.0)


def _may_succeed_later(judged: Classification) -> bool:
    return judged.outcome is not Outcome.ANSWERED or judged.is_garbled
