"""Who gets which slot, in simulated time: processes whose threads wake up late, against one shared row."""

import heapq
import itertools
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.database.rate_limit_line import Line, Waiter
from resources.database.rate_limit_row import Answer, Asked
from resources.database.server_clock import ServerClock

MARGIN_SECONDS = 0.017
LEAD_SECONDS = 0.005
CATCH_UP_SECONDS = 0.05
AHEAD_SECONDS = 1_000_000.0
"""The server's clock is this far ahead of the simulated processes' one."""


def answer(*, now: float, slots: int = 0, first: float | None = None, **others: object) -> Answer:
    """What the row says at a moment of our clock, nothing being wrong."""
    usual = Answer(
        slots=slots,
        first_number=0,
        now=now + AHEAD_SECONDS,
        first_slot=(now if first is None else first) + AHEAD_SECONDS,
        spacing_seconds=0.1,
        requests_per_second=10,
        held_back={},
        epoch=0,
        circuit="closed",
        is_probe=False,
        failures_in_row=0,
        paused_until=None,
        opened_at=None,
        probe_at=None,
        broken_at=None,
    )
    return replace(usual, **others)


def synchronised() -> ServerClock:
    """A clock that knows the difference exactly."""
    clock = ServerClock()
    clock.observe(asked_at=0.0, server_seconds=AHEAD_SECONDS, answered_at=0.0)
    return clock


def line_of(*give_up_at: float) -> tuple[Line, list[Waiter]]:
    """A line with these waiters."""
    line = Line(synchronised(), requests_per_second=10, margin_seconds=MARGIN_SECONDS)
    waiters = [Waiter(moment) for moment in give_up_at]
    for waiter in waiters:
        line.join(waiter)
    return line, waiters


@dataclass
class Row:
    """The shared row, as its statement would answer."""

    limit: int
    next_slot: float = 0.0
    slots_given: int = 0
    held_back: dict[int, float] = field(default_factory=dict)

    def reserve(self, asked: Asked, *, now: float) -> Answer:
        """Give away the next slots; remember what late requests keep free."""
        self.next_slot += asked.push_seconds
        held_back = self.held_back | dict(asked.held_back)
        self.held_back = {number: until for number, until in held_back.items() if until > now + AHEAD_SECONDS}
        spacing_seconds = (1 + MARGIN_SECONDS) / self.limit
        first = self.next_slot if self.next_slot >= now - min(CATCH_UP_SECONDS, 4 * spacing_seconds) else now
        first_number = self.slots_given
        if asked.wanted:
            self.next_slot = first + asked.wanted * spacing_seconds
            self.slots_given += asked.wanted
        return answer(
            now=now,
            slots=asked.wanted,
            first_number=first_number,
            first=first,
            spacing_seconds=spacing_seconds,
            requests_per_second=self.limit,
            held_back=dict(self.held_back),
        )


@dataclass
class Fleet:
    """Processes with threads that ask again as soon as they have asked."""

    limit: int
    processes: int
    threads: int
    lateness: list[float]
    sent: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.row = Row(self.limit)
        self.lines = [
            Line(synchronised(), requests_per_second=self.limit, margin_seconds=MARGIN_SECONDS)
            for _ in range(self.processes)
        ]
        self.late = itertools.cycle(self.lateness)
        self.wakes: list[tuple[float, int, Line, Waiter]] = []
        self.asleep: set[int] = set()
        self.order = itertools.count()

    def run(self, until: float) -> list[float]:
        """When the requests were sent, in order."""
        for line in self.lines * self.threads:
            line.join(Waiter(give_up_at=until + 1000))
        now = 0.0
        while now < until:
            due = [line.next_exchange(lead_seconds=LEAD_SECONDS) for line in self.lines]
            exchanges = [(max(now, at), line) for at, line in zip(due, self.lines, strict=True) if at is not None]
            exchange_at, line = min(exchanges, key=lambda exchange: exchange[0], default=(float("inf"), self.lines[0]))
            if self.wakes and self.wakes[0][0] <= exchange_at:
                now, _, line, waiter = heapq.heappop(self.wakes)
                self._wake(line, waiter, now)
            else:
                now = exchange_at
                self._exchange(line, now)
        return sorted(self.sent)

    def _exchange(self, line: Line, now: float) -> None:
        asked = line.to_ask(now, lead_seconds=LEAD_SECONDS)
        line.take(self.row.reserve(asked, now=now), asked=asked, now=now)
        for waiter in line._waiters:  # noqa: SLF001 the threads of the simulation
            if waiter.slot is not None and id(waiter) not in self.asleep:
                self._sleep(line, waiter, waiter.slot.moment - AHEAD_SECONDS)

    def _sleep(self, line: Line, waiter: Waiter, until: float) -> None:
        self.asleep.add(id(waiter))
        heapq.heappush(self.wakes, (until + next(self.late), next(self.order), line, waiter))

    def _wake(self, line: Line, waiter: Waiter, now: float) -> None:
        self.asleep.discard(id(waiter))
        seconds = line.seconds_to_wait(waiter, now=now)
        if seconds is not None and seconds > 0:
            self._sleep(line, waiter, now + seconds)
        elif seconds is not None:
            self.sent.append(now)
            line.leave(waiter)
            line.join(Waiter(give_up_at=waiter.give_up_at))


LATENESS = st.one_of(st.floats(0, 0.003), st.floats(0, 0.05), st.floats(0, 0.7))


@settings(max_examples=150, deadline=None)
@given(
    limit=st.sampled_from([1, 2, 5, 10, 37, 120]),
    processes=st.integers(1, 4),
    threads=st.integers(1, 6),
    lateness=st.lists(LATENESS, min_size=1, max_size=40),
)
def test_no_second_holds_more_requests_than_the_limit_however_late_threads_wake(limit, processes, threads, lateness):
    """A request sent late has the window that starts with it end later: those after it must move or be dropped."""
    sent = Fleet(limit, processes, threads, lateness).run(until=max(4.0, 6 / limit))

    too_close = [after - before for before, after in zip(sent, sent[limit:], strict=False) if after - before < 1]
    assert too_close == []


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_with_punctual_threads_the_whole_rate_but_the_margin_is_used(processes):
    """Reserving too late, too little or for nobody would waste the permitted rate."""
    sent = Fleet(100, processes, 8, [0.0002]).run(until=10.0)

    assert len(sent) / 10.0 > 100 / (1 + MARGIN_SECONDS) * 0.995


def test_processes_get_equal_shares():
    """Whoever talks to the row more often must not get more of it."""
    fleet = Fleet(10, 4, 8, [0.0, 0.02, 0.001, 0.09])
    shares = {id(line): 0 for line in fleet.lines}
    wake = fleet._wake  # noqa: SLF001

    def counted(line: Line, waiter: Waiter, now: float) -> None:
        before = len(fleet.sent)
        wake(line, waiter, now)
        shares[id(line)] += len(fleet.sent) - before

    fleet._wake = counted  # type: ignore[method-assign]  # noqa: SLF001
    fleet.run(until=40.0)

    assert max(shares.values()) - min(shares.values()) <= 8


def test_a_new_epoch_voids_the_slots_held_but_not_a_probe():
    """After throttling or an opened circuit nobody may use what was given away before."""
    line, (first, second) = line_of(100.0, 100.0)
    line.take(answer(now=1.0, slots=1, first=2.0), asked=Asked(wanted=2), now=1.0)
    line.take(answer(now=1.0, slots=1, first=2.1, is_probe=True), asked=Asked(wanted=1), now=1.0)

    line.take(answer(now=1.5, epoch=1), asked=Asked(wanted=0), now=1.5)

    assert line.seconds_to_wait(first, now=2.0) is None
    assert line.seconds_to_wait(second, now=2.1) == pytest.approx(0, abs=1e-6)


def test_a_slot_is_not_used_on_old_news():
    """While the database is away nobody would tell us that all slots were voided."""
    line, (waiter,) = line_of(100.0)
    line.take(answer(now=1.0, slots=1, first=3.0), asked=Asked(wanted=1), now=1.0)
    asks_at = line.next_exchange(lead_seconds=LEAD_SECONDS)

    assert asks_at is not None
    assert 2.9 < asks_at < 3.0 - LEAD_SECONDS
    assert line.seconds_to_wait(waiter, now=3.0) == pytest.approx(0.001)
    assert line.seconds_to_wait(waiter, now=3.6) is None


def test_news_that_come_a_little_late_cost_no_slot():
    """At 10/s a lost slot is a tenth of a second for the whole fleet."""
    line, (waiter,) = line_of(100.0)
    line.take(answer(now=1.0, slots=1, first=3.0), asked=Asked(wanted=1), now=1.0)
    assert line.seconds_to_wait(waiter, now=3.001) == pytest.approx(0.001)
    line.take(answer(now=3.002), asked=Asked(wanted=0), now=3.002)

    seconds = line.seconds_to_wait(waiter, now=3.002)
    assert seconds is not None
    assert seconds <= 0


def test_whoever_gives_up_before_the_slot_does_not_take_it():
    """The next in line can use it."""
    line, (hasty, patient) = line_of(1.5, 9.0)
    line.take(answer(now=1.0, slots=1, first=2.0), asked=Asked(wanted=2), now=1.0)

    assert hasty.slot is None
    assert patient.slot is not None


def test_slots_are_given_in_the_order_of_coming_also_to_who_lost_one():
    """A thread that was late once must not starve."""
    line, waiters = line_of(99.0, 99.0, 99.0)
    line.take(answer(now=1.0, slots=2, first=1.1), asked=Asked(wanted=2), now=1.0)
    assert line.seconds_to_wait(waiters[0], now=1.7) is None

    line.take(answer(now=1.7, slots=1, first=1.8), asked=Asked(wanted=2), now=1.7)

    assert waiters[0].slot is not None
    assert waiters[2].slot is None


def test_a_late_request_holds_back_the_slot_that_shares_its_place_in_the_second():
    """The window that begins with the late request ends late; everybody else's slots need not wait for it."""
    line, (waiter,) = line_of(100.0)
    line.take(answer(now=1.0, slots=1, first_number=7, first=1.1), asked=Asked(wanted=1), now=1.0)
    assert line.seconds_to_wait(waiter, now=1.16) == pytest.approx(-0.06)
    assert line.was_late

    asked = line.to_ask(1.16, lead_seconds=LEAD_SECONDS)
    assert list(asked.held_back) == [17]
    assert 1.16 + 1 < asked.held_back[17] - AHEAD_SECONDS < 1.16 + 1 + MARGIN_SECONDS
    line.take(answer(now=1.161), asked=asked, now=1.161)
    assert not line.was_late


def test_a_request_that_took_long_to_get_on_its_way_holds_back_as_well():
    """A new connection costs round trips; a busy machine takes the processor away just before the sending."""
    line, (waiter,) = line_of(100.0)
    line.take(answer(now=1.0, slots=1, first=1.1), asked=Asked(wanted=1), now=1.0)
    slot = waiter.slot
    assert slot is not None
    line.seconds_to_wait(waiter, now=1.1)
    line.was_sent(slot, went_at=1.1, now=1.102)
    assert not line.was_late

    line.was_sent(slot, went_at=1.1, now=1.3)
    assert line.to_ask(1.3, lead_seconds=LEAD_SECONDS).held_back[10] - AHEAD_SECONDS > 1.3 + 1


def test_who_is_far_too_late_loses_the_slot():
    """All have to know of a late request before the second after it is over."""
    line, (waiter,) = line_of(100.0)
    line.take(answer(now=1.0, slots=1, first=1.1), asked=Asked(wanted=1), now=1.0)

    assert line.seconds_to_wait(waiter, now=1.8) is None
