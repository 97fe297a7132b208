# ruff: noqa: SLF001 the simulation stands in for the threads
"""No second holds more requests than the limit, in simulated time: processes whose threads wake and send late.

The limiters and the SQL are the real ones; the clocks of both, and who wakes when, belong to the test.
"""

import heapq
import itertools
import random
from collections.abc import Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, event, text

from resources.rate_limit import limiter as limiter_module
from resources.rate_limit import shared_row
from resources.rate_limit.limiter import Outcome, Permit, PostgresRateLimiter

AHEAD_SECONDS = 1_000_000.0
"""The server's clock is this far ahead of the simulated processes' one."""
KEYS = itertools.count()


class Simulation:
    """Processes whose threads send one request after the other."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.now = 0.0

    def run(
        self, *, limit: int, processes: int, threads: int, until: float, delays: list[tuple[float, float, float]]
    ) -> list[float]:
        """When the requests were sent.

        Args:
            limit: requests per second.
            processes: how many.
            threads: of each process.
            until: when to stop, in seconds.
            delays: in seconds, used in turn: thread wakes late, request is sent late, response takes.
        """
        self.now = 0.0
        self.delays = itertools.cycle(delays)
        self.sent: list[float] = []
        self.events: list[tuple[float, int, Any, Any]] = []
        self.order = itertools.count()
        key = f"simulated {next(KEYS)}"
        limiters = [PostgresRateLimiter(self.engine, api_key=key, requests_per_second=limit) for _ in range(processes)]
        self.lines: dict[PostgresRateLimiter, int] = dict.fromkeys(limiters, 0)
        for limiter in limiters:
            for _ in range(threads):
                self._at(0.0, self._want, limiter)
        while self.events[0][0] < until:
            self.now, _, action, arguments = heapq.heappop(self.events)
            action(*arguments)
        for limiter in limiters:
            limiter.close()
        return sorted(self.sent)

    def _at(self, moment: float, action: Any, *arguments: Any) -> None:
        heapq.heappush(self.events, (max(moment, self.now), next(self.order), action, arguments))

    def _want(self, limiter: PostgresRateLimiter) -> None:
        if (slot := limiter._take()) is not None:
            self._sleep(limiter, slot)
            return
        self.lines[limiter] += 1
        if self.lines[limiter] == 1:
            self._at(limiter._standing.ask_at, self._ask, limiter)

    def _ask(self, limiter: PostgresRateLimiter) -> None:
        limiter._waiting.extend([None] * self.lines[limiter])
        limiter._talk(limiter._ask, may_connect=True)
        limiter._waiting.clear()
        while self.lines[limiter] and (slot := limiter._take()) is not None:
            self.lines[limiter] -= 1
            self._sleep(limiter, slot)
        if self.lines[limiter]:
            self._at(max(limiter._standing.ask_at, self.now + 0.001), self._ask, limiter)

    def _sleep(self, limiter: PostgresRateLimiter, slot: Any) -> None:
        wakes_late, sends_late, response = next(self.delays)
        self._at(max(slot.starts_at, self.now) + wakes_late, self._wake, limiter, slot, sends_late, response)

    def _wake(self, limiter: PostgresRateLimiter, slot: Any, sends_late: float, response: float) -> None:
        if self.now >= slot.take_before:
            self._want(limiter)
        else:
            self._at(self.now + sends_late, self._send, limiter, slot, response)

    def _send(self, limiter: PostgresRateLimiter, slot: Any, response: float) -> None:
        self.sent.append(self.now)
        permit = Permit(None, 0.0, slot=slot)
        limiter.sent(permit)
        limiter.report(permit, Outcome.ANSWERED)
        self._at(self.now + response, self._want, limiter)


@pytest.fixture(scope="module")
def simulation(database_url: str) -> Iterator[Simulation]:
    """A simulation whose clock is also the one that the SQL functions read."""
    engine = create_engine(database_url, connect_args={"options": "-c search_path=fake_clock,pg_catalog"})
    with engine.begin() as connection:
        connection.execute(text("CREATE SCHEMA fake_clock"))
        connection.execute(
            text(
                "CREATE FUNCTION fake_clock.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS "
                "$$ SELECT to_timestamp(current_setting('test.now')::float8) $$"
            )
        )
    simulation = Simulation(engine)

    def set_clock(_connection: Any, cursor: Any, *_: Any) -> None:
        cursor.execute("SELECT set_config('test.now', %s, false)", (repr(simulation.now + AHEAD_SECONDS),))

    clock = SimpleNamespace(monotonic=lambda: simulation.now)
    event.listen(Engine, "before_cursor_execute", set_clock)
    with pytest.MonkeyPatch.context() as patch, closing(SimpleNamespace(close=engine.dispose)):
        patch.setattr(limiter_module, "time", clock)
        patch.setattr(shared_row, "time", clock)
        yield simulation
    event.remove(Engine, "before_cursor_execute", set_clock)


LATE = st.one_of(st.floats(0, 0.007), st.floats(0, 0.05), st.floats(0, 0.7))
SENT_LATE = st.one_of(st.just(0.0), st.floats(0, 0.19))
RESPONSE = st.one_of(st.just(0.0), st.floats(0, 0.05), st.floats(0, 2.0))


def too_close(sent: list[float], limit: int) -> list[float]:
    """Spans below one second in which one request more than the limit was sent."""
    return [after - before for before, after in zip(sent, sent[limit:], strict=False) if after - before < 1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    limit=st.sampled_from([1, 2, 5, 10, 37, 120]),
    processes=st.integers(1, 4),
    threads=st.integers(1, 8),
    delays=st.lists(st.tuples(LATE, SENT_LATE, RESPONSE), min_size=1, max_size=40),
)
def test_no_second_holds_more_requests_than_the_limit_however_late_threads_are(
    simulation: Simulation, limit, processes, threads, delays
):
    """A request sent late is still in the window a second later: what follows must move or be dropped."""
    sent = simulation.run(limit=limit, processes=processes, threads=threads, until=max(4.0, 6 / limit), delays=delays)

    assert too_close(sent, limit) == []


@pytest.mark.parametrize("limit", [5, 20, 100])
def test_one_late_request_in_ten_moves_those_after_it(simulation: Simulation, limit):
    """The usual case on a busy machine: nearly all are punctual, so that nothing hides an extra request."""
    chance = random.Random(limit)  # noqa: S311
    delays = [(0.0, 0.0, 0.0)] * 360 + [(chance.uniform(0, 0.29), chance.uniform(0, 0.19), 0.0) for _ in range(40)]
    chance.shuffle(delays)
    sent = simulation.run(limit=limit, processes=3, threads=6, until=12.0, delays=delays)

    assert too_close(sent, limit) == []


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_with_punctual_threads_the_whole_rate_but_the_margin_is_used(simulation: Simulation, processes):
    """Reserving too late, too little or for no thread would waste the permitted rate."""
    sent = simulation.run(limit=100, processes=processes, threads=8, until=10.0, delays=[(0.0002, 0.0, 0.001)])

    assert len([moment for moment in sent if moment >= 3]) / 7 > 100 / 1.017 * 0.99


@pytest.mark.parametrize("pause_seconds", [0.5, 3.0])
def test_a_rate_that_binds_again_after_idle_time_is_kept(simulation: Simulation, pause_seconds):
    """Slots that may be used late need more room, and so do those after them."""
    busy = [(0.0, 0.0, 0.0)] * 150
    sent = simulation.run(
        limit=20, processes=3, threads=8, until=20.0, delays=[*busy, *[(0.0, 0.0, pause_seconds)] * 24]
    )

    assert too_close(sent, 20) == []
    assert len(sent) > 150
