"""The line of one process's threads that want a turn: who gets which slot, and when a slot is lost.

Lives here: decisions, with the time as an argument.  Not here: threads, sleeping, SQL.
"""

import math
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from resources.database.rate_limit_row import Answer, Asked
from resources.database.server_clock import ServerClock

LATE_SECONDS = 0.004
"""A request this late still counts as on time; the margin of the spacing pays for it."""
_LONGEST_LATE_SECONDS = 0.5
"""A second after a late request all must know that it was late; so nobody is later than this."""
_LONGEST_LATE_SLOTS = 8
"""At a high rate it costs less to lose a slot than to have a thread wait for one that is held back."""
_FRESH_SECONDS = 0.1
"""News older than this are asked for again before a slot is used: throttling or an open circuit void it."""
_STALE_SECONDS = 0.3
"""A slot is not used on news older than this; its thread looks again every millisecond until they come."""
_AHEAD_SECONDS = 0.025
"""So much earlier than need be is news asked for, and what is due so soon is asked for on the same way."""
_BLOCK_SECONDS = 0.05
"""Slots reserved at once; one at least."""
_POLL_SECONDS = 0.25
"""How often to look whether another process's probe came back."""
_LONGEST_SILENCE_SECONDS = 1.0
"""How often to look whether a pause or an open circuit was lifted before its time."""


@dataclass(frozen=True, slots=True)
class Slot:
    """One moment given to us."""

    number: int
    """Which one of all slots ever given away. Those a whole limit apart share the place in their seconds."""
    moment: float
    """By the server's clock."""
    spacing_seconds: float
    epoch: int
    is_probe: bool


@dataclass(slots=True, eq=False)
class Waiter:
    """One thread that wants a turn."""

    give_up_at: float
    slot: Slot | None = None
    news: threading.Event = field(default_factory=threading.Event)
    """Set when a waiter without a slot should look again."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why nobody gets a slot, and until when (our monotonic clock)."""

    reason: str
    ask_again_at: float
    hopeless_before: float
    """Whoever gives up before this moment may give up now."""
    cause: Exception | None = None


class Line:
    """Waiters in the order of their coming. Its owner holds a lock around every call."""

    def __init__(self, clock: ServerClock, *, requests_per_second: float, margin_seconds: float) -> None:
        self._clock = clock
        self._cycle_seconds = 1 + margin_seconds
        self._waiters: list[Waiter] = []
        self._known_at = float("-inf")
        self._spacing_seconds = 1 / requests_per_second
        self._limit = math.ceil(requests_per_second)
        self._held_back: Mapping[int, float] = {}
        self._late: dict[int, float] = {}
        self._push_seconds = 0.0
        self.refusal: Refusal | None = None

    def join(self, waiter: Waiter) -> None:
        """Stand in line."""
        self._waiters.append(waiter)

    def leave(self, waiter: Waiter) -> None:
        """Go, with a turn or without."""
        self._waiters.remove(waiter)

    def __len__(self) -> int:
        return len(self._waiters)

    @property
    def waiting(self) -> int:
        """How many stand here without a slot."""
        return sum(1 for waiter in self._waiters if waiter.slot is None)

    @property
    def was_late(self) -> bool:
        """A request of ours was late, and the row has to know it soon."""
        return bool(self._late)

    def to_ask(self, now: float, *, lead_seconds: float) -> Asked:
        """What to tell and ask the row now."""
        return Asked(self._wanted(now, lead_seconds), dict(self._late), self._push_seconds)

    def _wanted(self, now: float, lead_seconds: float) -> int:
        """No slot before the last one held is due, or others would come short."""
        reserve_at = self._reserve_at(lead_seconds + _AHEAD_SECONDS)
        if reserve_at is None or reserve_at > now:
            return 0
        return min(self.waiting, max(1, int(_BLOCK_SECONDS / self._spacing_seconds)))

    def patience_seconds(self, now: float) -> float:
        """No slot later than this is of use to anybody."""
        return max((waiter.give_up_at - now for waiter in self._waiters), default=0.0)

    def next_exchange(self, *, lead_seconds: float) -> float | None:
        """When to talk to the row: at once (the past), at a moment, or not at all."""
        if self._late:
            return float("-inf")
        moments = [self._reserve_at(lead_seconds), self._refresh_at(lead_seconds)]
        return min((moment for moment in moments if moment is not None), default=None)

    def _reserve_at(self, lead_seconds: float) -> float | None:
        moments = [self._clock.monotonic(waiter.slot.moment) for waiter in self._waiters if waiter.slot is not None]
        if len(moments) == len(self._waiters):
            return None
        last = max(moments) - lead_seconds if moments else float("-inf")
        return max(last, self.refusal.ask_again_at if self.refusal else float("-inf"))

    def _refresh_at(self, lead_seconds: float) -> float | None:
        begins = (self._begins_at(waiter.slot) for waiter in self._waiters if waiter.slot is not None)
        first = min(begins, default=None)
        if first is None or first - self._known_at <= _FRESH_SECONDS:
            return None
        return first - lead_seconds - _AHEAD_SECONDS

    def _begins_at(self, slot: Slot) -> float:
        """When the slot may be used: at its moment, or later when it is held back."""
        moment = slot.moment if slot.is_probe else max(slot.moment, self._held_back.get(slot.number, 0.0))
        return self._clock.monotonic(moment)

    def take(self, answer: Answer, *, asked: Asked, now: float) -> None:
        """Work in what the row said: void or delay slots, hand out new ones, or note why there are none."""
        self._known_at = now
        self._spacing_seconds = answer.spacing_seconds
        self._limit = math.ceil(answer.requests_per_second)
        self._held_back = answer.held_back
        self._late = {number: until for number, until in self._late.items() if number not in asked.held_back}
        self._push_seconds -= asked.push_seconds
        self.void_before(answer.epoch)
        refused = not answer.slots and (asked.wanted or answer.circuit != "closed")
        self.refusal = _refusal(answer, self._clock, now) if refused else None
        slots = deque(_slots(answer))
        for waiter in self._waiters:
            if slots and waiter.slot is None and self._begins_at(slots[0]) <= waiter.give_up_at:
                waiter.slot = slots.popleft()
                waiter.news.set()
            elif self.refusal is not None and waiter.slot is None:
                waiter.news.set()

    def void_before(self, epoch: int) -> None:
        """The fleet voided the slots given away before `epoch`."""
        for waiter in self._waiters:
            if waiter.slot is not None and waiter.slot.epoch < epoch and not waiter.slot.is_probe:
                waiter.slot = None

    def refuse(self, refusal: Refusal) -> None:
        """Nobody gets a slot for now, for a reason of our own."""
        self.refusal = refusal
        for waiter in self._waiters:
            waiter.news.set()

    def seconds_to_wait(self, waiter: Waiter, *, now: float) -> float | None:
        """How long until the waiter's slot; 0 or less: go now, this thread is out of the line's hands.

        None: the waiter has no slot (any more). Who is late goes all the same, and the slot a whole limit further on
        is held back until a second later: then no two requests of the same place are within one second, and there are
        only as many places as the limit allows. Threads that are late all the time slow the fleet down as well, by
        as much as they are late on average.
        """
        slot = waiter.slot
        if slot is None:
            return None
        early_seconds = self._begins_at(slot) - now
        if early_seconds > 0 or slot.is_probe:
            return early_seconds
        excess_seconds = now - self._clock.monotonic(slot.moment) - LATE_SECONDS
        if excess_seconds > min(_LONGEST_LATE_SECONDS, _LONGEST_LATE_SLOTS * slot.spacing_seconds):
            waiter.slot = None
            return None
        if now - self._known_at > _STALE_SECONDS:
            return 0.001
        self._note_late(slot, excess_seconds, -early_seconds - LATE_SECONDS)
        return early_seconds

    def was_sent(self, slot: Slot, *, went_at: float, now: float) -> None:
        """The request of a thread that went is on its way only now: it had to connect, or to wait for a processor."""
        excess_seconds = now - self._clock.monotonic(slot.moment) - LATE_SECONDS
        if not slot.is_probe:
            self._note_late(slot, excess_seconds, min(excess_seconds, now - went_at))

    def _note_late(self, slot: Slot, excess_seconds: float, own_seconds: float) -> None:
        if excess_seconds > 0:
            self._late[slot.number + self._limit] = slot.moment + self._cycle_seconds + excess_seconds
            self._push_seconds += max(0.0, own_seconds) / self._limit


def _slots(answer: Answer) -> Iterator[Slot]:
    for place in range(answer.slots):
        yield Slot(
            number=answer.first_number + place,
            moment=answer.first_slot + place * answer.spacing_seconds,
            spacing_seconds=answer.spacing_seconds,
            epoch=answer.epoch,
            is_probe=answer.is_probe,
        )


def _refusal(answer: Answer, clock: ServerClock, now: float) -> Refusal:
    look_at = now + _LONGEST_SILENCE_SECONDS
    if answer.circuit != "closed" and answer.opened_at is not None and answer.probe_at is not None:
        probe_at = clock.monotonic(answer.probe_at)
        reason = (
            f"the circuit to the Asleep API is open since {_utc(answer.opened_at)}: {answer.failures_in_row} failures "
            f"in a row, the last at {_utc(answer.broken_at or answer.opened_at)}; "
        )
        if answer.circuit == "open":
            return Refusal(f"{reason}the next probe goes at {_utc(answer.probe_at)}", min(probe_at, look_at), probe_at)
        return Refusal(f"{reason}a probe is under way", min(probe_at, now + _POLL_SECONDS), now)
    if answer.paused_until is not None and answer.paused_until > answer.now:
        until = clock.monotonic(answer.paused_until)
        return Refusal(
            f"the Asleep API throttles us: paused until {_utc(answer.paused_until)}", min(until, look_at), until
        )
    first = clock.monotonic(answer.first_slot)
    rate = 1 / answer.spacing_seconds
    return Refusal(
        f"the rate limit, {rate:.3g}/s now, has no turn before {_utc(answer.first_slot)}", min(first, look_at), first
    )


def _utc(server_seconds: float) -> str:
    return datetime.fromtimestamp(server_seconds, UTC).isoformat(timespec="seconds")
