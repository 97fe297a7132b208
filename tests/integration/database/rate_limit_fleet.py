"""Gates on a real Postgres, in this process and in others, and a way to let time pass for them.

Not here: expectations.
"""

import json
import subprocess
import sys
import time
import uuid
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

from sqlalchemy import Engine, text

from resources.asleep.gate import Outcome, Turn
from resources.database.rate_limit import PostgresGate
from resources.database.rate_limit_row import Tuning, key_id_of
from resources.database.rate_limit_state import RateLimitState, read_state

ROOT = Path(__file__).resolve().parents[3]
PATIENCE_SECONDS = 60.0


class Fleet:
    """All that one API key's processes share, and a way to let time pass for it."""

    def __init__(self, engine: Engine, stack: ExitStack) -> None:
        self.engine = engine
        self.api_key = uuid.uuid4().hex
        self._stack = stack

    def gate(self, rate: float = 100, **tuning: Any) -> PostgresGate:
        """One more process's gate."""
        gate = PostgresGate(self.engine, api_key=self.api_key, requests_per_second=rate, tuning=Tuning(**tuning))
        return self._stack.enter_context(gate)

    def process(self, *, rate: float = 100, threads: int = 8, seconds: float = 2.0, **order: Any) -> "Member":
        """A real process of the fleet, ready but not yet asking."""
        url = self.engine.url.render_as_string(hide_password=False)
        order |= {"url": url, "api_key": self.api_key, "rate": rate, "threads": threads, "seconds": seconds}
        return self._stack.enter_context(Member(order))

    def state(self) -> RateLimitState:
        """What `asleep-sync status` would show."""
        with self.engine.connect() as connection:
            return next(state for state in read_state(connection) if state.key_id == key_id_of(self.api_key))

    def let_pass(self, seconds: float) -> None:
        """Age everything in the row: for the fleet it is as if this much time had passed."""
        moments = (
            "announced_at, next_slot_at, recovering_since, throttled_at, paused_until, closed_at, opened_at, probe_at, "
            "probe_slot_at, recent_at, broken_at"
        ).split(", ")
        aged = ", ".join(f"{name} = {name} - make_interval(secs => :seconds)" for name in moments)
        with self.engine.begin() as connection:
            statement = text(f"UPDATE asleep.rate_limits SET {aged} WHERE key_id = :key_id")
            connection.execute(statement, {"seconds": seconds, "key_id": key_id_of(self.api_key)})

    def break_circuit(self, gate: PostgresGate) -> None:
        """Five failures in a row."""
        for _ in range(5):
            gate.leave(turn_of(gate), Outcome.BROKEN)
        assert self.state().circuit == "open"


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
        """Start asking."""
        assert self._process.stdin is not None
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def line(self) -> dict[str, Any]:
        """The next thing it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the process ended"
        return json.loads(line)

    def rest(self) -> list[dict[str, Any]]:
        """All it says until it ends."""
        assert self._process.stdout is not None
        return [json.loads(line) for line in self._process.stdout]

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()


def turn_of(gate: PostgresGate, patience_seconds: float = PATIENCE_SECONDS) -> Turn:
    """Enter with plenty of patience."""
    return gate.enter(give_up_at=time.monotonic() + patience_seconds)
