"""The read API's limits: a sliding counter per client and scope in Postgres, shared by all workers and machines.

Refused requests use nothing up.
"""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection

from resources.load_sql import load_sql


class Limit(NamedTuple):
    """Requests permitted in a number of seconds."""

    scope: str
    requests: int
    seconds: int


class Counter(NamedTuple):
    """Requests let through in the current window and in the one before."""

    window_start: datetime
    used: int
    used_before: int


class LimitDecision(NamedTuple):
    """The result of the tightest limit."""

    is_allowed: bool
    limit: Limit
    remaining: int
    reset_seconds: float
    """Until another request is permitted when none remains; else until the current window ends."""
    wait_seconds: float
    """Until the next request is allowed; 0 when it is allowed now."""


def take_turn(connection: Connection, client: str, limits: Sequence[Limit]) -> LimitDecision:
    """Count one request against all limits if each of them allows it; one at a time for each client.

    Args:
        connection: open, in a transaction.
        client: short name of the client's key.
        limits: all of them have to allow the request.
    """
    by_scope = {limit.scope: limit for limit in limits}
    values = {"client": client, "scopes": sorted(by_scope)}
    rows = connection.execute(load_sql(__package__, "lock_limits"), values).all()
    now = max(row.now for row in rows)
    uses = [_Use(by_scope[r.scope], Counter(r.window_start, r.used, r.used_before), now).slid() for r in rows]
    is_allowed = all(use.wait_seconds == 0 for use in uses)
    if is_allowed:
        uses = [use._replace(counter=use.counter._replace(used=use.counter.used + 1)) for use in uses]
        kept = {
            "client": client,
            "scopes": [use.limit.scope for use in uses],
            "starts": [use.counter.window_start for use in uses],
            "used": [use.counter.used for use in uses],
            "used_before": [use.counter.used_before for use in uses],
        }
        connection.execute(load_sql(__package__, "keep_limits"), kept)
    decisions = (use.decision(is_allowed=is_allowed) for use in uses)
    return min(decisions, key=lambda decision: (-decision.wait_seconds, decision.remaining))


class _Use(NamedTuple):
    """How much of a limit is used up now."""

    limit: Limit
    counter: Counter
    now: datetime

    def slid(self) -> "_Use":
        """The same with its windows moved on to the one that holds `now`."""
        start, used, _ = self.counter
        windows = max(0, int((self.now - start).total_seconds() // self.limit.seconds))
        if windows == 0:
            return self
        if windows == 1:
            return self._replace(counter=Counter(start + timedelta(seconds=self.limit.seconds), 0, used))
        return self._replace(counter=Counter(self.now, 0, 0))

    @property
    def elapsed_seconds(self) -> float:
        """Of the current window."""
        return max(0.0, (self.now - self.counter.window_start).total_seconds())

    @property
    def counted(self) -> float:
        """Requests of the current window, and of the one before the share that still lies within one period of now."""
        still = max(0.0, 1 - self.elapsed_seconds / self.limit.seconds)
        return self.counter.used + self.counter.used_before * still

    @property
    def wait_seconds(self) -> float:
        """How long until one more fits under the limit."""
        limit, (_, used, used_before) = self.limit, self.counter
        if self.counted + 1 <= limit.requests:
            return 0.0
        if used < limit.requests:
            fits_after = limit.seconds * (1 - (limit.requests - 1 - used) / used_before)
        else:
            fits_after = limit.seconds * (2 - (limit.requests - 1) / used)
        return max(0.0, fits_after - self.elapsed_seconds)

    def decision(self, *, is_allowed: bool) -> LimitDecision:
        """What the client is shown."""
        return LimitDecision(
            is_allowed=is_allowed,
            limit=self.limit,
            remaining=max(0, math.floor(self.limit.requests - self.counted)),
            reset_seconds=self.wait_seconds or self.limit.seconds - self.elapsed_seconds,
            wait_seconds=0.0 if is_allowed else self.wait_seconds,
        )
