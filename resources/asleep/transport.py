"""Asking until there is an answer or a reason why not.

Lives here: retries around the gate around one exchange; stopping for all once the account is refused; telling the
listeners.  Not here: endpoints, the meaning of an answer (that is `answers`), rate and breaker (the gate's).

Each attempt takes a turn of its own. Throttling is no failure: the gate slows everybody down, and we go on asking
until the time is up. A broken service is asked a few times, an answer that is not the API's a few times less.
"""

import logging
import random
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol

from tenacity import RetryCallState, Retrying

from resources.asleep.classification import Verdict, failed, judge, seconds_asked_for
from resources.asleep.errors import Malformed, Rejected, Unavailable
from resources.asleep.exchange import Reply
from resources.asleep.gate import Gate, Outcome, Turn
from resources.asleep.request_events import Attempt, Listener
from resources.pseudonyms import pseudonym

logger = logging.getLogger(__name__)

MOST_DOUBLINGS = 10


@dataclass(frozen=True, slots=True)
class Patience:
    """How long one question is worth asking."""

    total_seconds: float = 300.0
    """Waiting for turns included; throttling and an open circuit are waited out within it."""
    broken_attempts: int = 6
    garbled_attempts: int = 3
    first_pause_seconds: float = 1.0
    longest_pause_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The `result` of an answer."""

    result: dict[str, Any] = field(repr=False)
    asked_at: datetime
    """When the turn for the answered attempt was granted, by the clock that all processes share."""


class Exchanging(Protocol):
    """One attempt, without opinion; in earnest that is `resources.asleep.exchange.Exchange`."""

    def get(
        self, path: str, params: Mapping[str, str], headers: Mapping[str, str], sent: Callable[[], None] | None = None
    ) -> Reply:
        """Send one GET and wait for the whole answer, or raise `Unavailable` or `Malformed`."""
        ...


@dataclass(slots=True)
class _Question:
    endpoint: str
    path: str = field(repr=False)
    params: Mapping[str, str]
    headers: Mapping[str, str] = field(repr=False)
    user: str
    give_up_at: float
    attempts: int = 0
    broken: int = 0
    garbled: int = 0
    retry_after_seconds: float | None = None
    """As the last answer asked for."""
    first: tuple[Verdict, Turn] | None = None
    """What came of the first attempt, until it has been judged."""


class Transport:
    """Asks the Asleep API, in turn with all other processes, and repeats what is worth repeating.

    Safe to share between threads. Once the account was refused, every later question is refused unasked.
    """

    def __init__(  # noqa: PLR0913 the parts of which it is made
        self,
        gate: Gate,
        exchange: Exchanging,
        listeners: Sequence[Listener] = (),
        *,
        patience: Patience = Patience(),
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """Get ready; nothing is asked yet.

        Args:
            gate: whose turn it is.
            exchange: one HTTP exchange.
            listeners: each is told of every attempt.
            patience: when to stop asking.
            clock: monotonic seconds, those in which the gate's `give_up_at` is meant.
            sleep: pauses between attempts; by default one that ends early when the account is refused.
            chance: uniform in [0, 1), spreads the pauses.
        """
        self._gate = gate
        self._exchange = exchange
        self._listeners = tuple(listeners)
        self._patience = patience
        self._clock = clock
        self._chance = chance
        self._rejection: Rejected | None = None
        self._rejected = threading.Event()
        self._retrying = Retrying(
            retry=_may_help,
            stop=self._is_enough,
            wait=self._pause_seconds,
            sleep=sleep or self._rejected.wait,  # type: ignore[arg-type]  # what it returns is not used
            retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
        )

    def get(
        self, endpoint: str, path: str, params: Mapping[str, str], headers: Mapping[str, str], user_id: str
    ) -> Answer:
        """Ask until there is an answer.

        Args:
            endpoint: as in `Attempt.endpoint`.
            path: with its identifiers quoted.
            params: of the query.
            headers: beside the key.
            user_id: whom the question is about; listeners are told a pseudonym only.

        Raises:
            AsleepError: each kind means what its docstring in `resources.asleep.errors` says.
        """
        give_up_at = self._clock() + self._patience.total_seconds
        question = _Question(endpoint, path, params, headers, pseudonym(user_id), give_up_at)
        verdict, turn = question.first = self._get_in_turn(question)
        if _is_worth_repeating(verdict):
            verdict, turn = self._retrying(self._first_or_next, question)
        if verdict.result is not None:
            return Answer(verdict.result, turn.granted_at)
        raise verdict.error or Malformed()

    def _first_or_next(self, question: _Question) -> tuple[Verdict, Turn]:
        """Most questions are answered at once, so the machinery of repetition is set going by a first failure only."""
        first, question.first = question.first, None
        return first or self._get_in_turn(question)

    def _get_in_turn(self, question: _Question) -> tuple[Verdict, Turn]:
        self._stop_if_rejected()
        turn = self._gate.enter(give_up_at=question.give_up_at)
        outcome = Outcome.ANSWERED
        question.retry_after_seconds = None
        try:
            self._stop_if_rejected()
            verdict = self._get_once(question, turn)
            outcome = verdict.outcome
        finally:
            self._gate.leave(turn, outcome, retry_after_seconds=question.retry_after_seconds)
        return verdict, turn

    def _get_once(self, question: _Question, turn: Turn) -> Verdict:
        reply = None
        started_at = self._clock()
        try:
            reply = self._exchange.get(question.path, question.params, question.headers, partial(self._gate.sent, turn))
        except (Unavailable, Malformed) as error:
            verdict = failed(error)
        duration_seconds = self._clock() - started_at
        if reply is not None:
            verdict = judge(question.endpoint, reply.status, reply.body)
            question.retry_after_seconds = seconds_asked_for(reply.retry_after, reply.date)
        question.attempts += 1
        question.broken += verdict.outcome is Outcome.BROKEN
        question.garbled += verdict.is_garbled
        self._remember_rejection(verdict)
        self._tell(
            Attempt(
                endpoint=question.endpoint,
                user=question.user,
                number=question.attempts,
                status=reply.status if reply else getattr(verdict.error, "status", None),
                outcome=verdict.label,
                waited_seconds=turn.waited_seconds,
                duration_seconds=duration_seconds,
                received_bytes=len(reply.body) if reply else 0,
            )
        )
        return verdict

    def _remember_rejection(self, verdict: Verdict) -> None:
        if isinstance(verdict.error, Rejected) and self._rejection is None:
            self._rejection = verdict.error
            self._rejected.set()

    def _stop_if_rejected(self) -> None:
        if self._rejection is not None:
            raise type(self._rejection)(str(self._rejection), status=self._rejection.status, raw=self._rejection.raw)

    def _tell(self, attempt: Attempt) -> None:
        for listener in self._listeners:
            try:
                listener(attempt)
            except Exception as error:  # noqa: BLE001 somebody else's code; the sync is worth more than a metric
                logger.warning("a listener failed and missed one attempt: %s", type(error).__name__)

    def _is_enough(self, state: RetryCallState) -> bool:
        question: _Question = state.args[0]
        return (
            question.broken >= self._patience.broken_attempts
            or question.garbled >= self._patience.garbled_attempts
            or self._clock() + state.upcoming_sleep >= question.give_up_at
        )

    def _pause_seconds(self, state: RetryCallState) -> float:
        question: _Question = state.args[0]
        doubled = self._patience.first_pause_seconds * 2.0 ** min(question.attempts - 1, MOST_DOUBLINGS)
        pause = min(doubled, self._patience.longest_pause_seconds)
        spread = pause * (0.5 + 0.5 * self._chance())
        return max(spread, question.retry_after_seconds or 0.0)


def _may_help(state: RetryCallState) -> bool:
    return state.outcome is not None and not state.outcome.failed and _is_worth_repeating(state.outcome.result()[0])


def _is_worth_repeating(verdict: Verdict) -> bool:
    """Whether another attempt may bring more than the last one did."""
    return verdict.outcome is not Outcome.ANSWERED or verdict.is_garbled
