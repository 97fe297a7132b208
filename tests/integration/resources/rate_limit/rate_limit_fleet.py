"""Limiters on a real Postgres, in this process and in others, and a way to let time pass for them."""

import json
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, RowMapping, text

from resources.rate_limit.limiter import Outcome, Permit, PostgresRateLimiter
from resources.rate_limit.shared_row import LimiterConfig, key_id_of
from resources.rate_limit.table import read_state

ROOT = Path(__file__).resolve().parents[4]
TIMEOUT_SECONDS = 60.0


class Fleet:
    """The processes that share one API key, and a way to let time pass for them."""

    def __init__(self, engine: Engine, stack: ExitStack) -> None:
        self.engine = engine
        self.api_key = uuid.uuid4().hex
        self._stack = stack

    def limiter(self, rate: float = 100, **config: Any) -> PostgresRateLimiter:
        """The limiter of one more process."""
        limiter = PostgresRateLimiter(
            self.engine, api_key=self.api_key, requests_per_second=rate, config=LimiterConfig(**config)
        )
        return self._stack.enter_context(closing(limiter))

    def process(self, *, rate: float = 100, threads: int = 8, seconds: float = 2.0, **order: Any) -> "Member":
        """A real process of the fleet, ready and waiting."""
        url = self.engine.url.render_as_string(hide_password=False)
        order |= {"url": url, "api_key": self.api_key, "rate": rate, "threads": threads, "seconds": seconds}
        return self._stack.enter_context(Member(order))

    def state(self) -> RowMapping:
        """What `asleep-sync status` would show."""
        with self.engine.connect() as connection:
            return next(state for state in read_state(connection) if state["key_id"] == key_id_of(self.api_key))

    def let_pass(self, seconds: float) -> None:
        """Age everything in the row: for the fleet it is as if this much time had passed."""
        moments = (
            "announced_at, next_slot, loose_until, throttled_at, paused_until, circuit_since, failed_at, probe_at, "
            "probe_reserved_at, updated_at"
        ).split(", ")
        aged = ", ".join(f"{name} = greatest(0, {name} - :seconds)" for name in moments)
        with self.engine.begin() as connection:
            statement = text(f"UPDATE asleep.rate_limits SET {aged} WHERE key_id = :key_id")
            connection.execute(statement, {"seconds": seconds, "key_id": key_id_of(self.api_key)})

    def break_circuit(self, limiter: PostgresRateLimiter) -> None:
        """Five failures."""
        for _ in range(5):
            limiter.report(permit_of(limiter), Outcome.BROKEN)
        assert self.state()["circuit"] == "open"


class Member:
    """A process of the fleet."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("rate_limit_worker.py")), json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={"PYTHONPATH": str(ROOT)},
        )

    def __enter__(self) -> Self:
        assert self.line() == {"ready": True}
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.communicate()

    def go(self) -> None:
        """Let it start."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def line(self) -> dict[str, Any]:
        """Its next line."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process ended"
        return json.loads(line)

    def rest(self) -> list[dict[str, Any]]:
        """All lines until it ends."""
        assert self._process.stdout is not None
        return [json.loads(line) for line in self._process.stdout]

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()


def permit_of(limiter: PostgresRateLimiter, timeout_seconds: float = TIMEOUT_SECONDS) -> Permit:
    """Acquire a permit, with plenty of time."""
    return limiter.acquire(give_up_at=time.monotonic() + timeout_seconds)
