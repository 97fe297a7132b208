"""The read API's limits: a sliding counter per client and scope in Postgres, shared by all workers and machines.

The window before counts by the share of it that still lies within one period of now. Refused requests use nothing up.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection

from resources.load_sql import load_sql


@dataclass(frozen=True, slots=True)
class Limit:
    """Requests permitted in a number of seconds."""

    scope: str
    requests: int
    seconds: int


@dataclass(frozen=True, slots=True)
class Counter:
    """Requests let through in the current window and in the one before."""

    window_start: datetime
    used: int
    used_before: int


@dataclass(frozen=True, slots=True)
class LimitDecision:
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
    rows = connection.execute(
        load_sql(__package__, "lock_limits"), {"client": client, "scopes": sorted(by_scope)}
    ).all()
    now = max(row.now for row in rows)
    counters = {
        row.scope: slide(Counter(row.window_start, row.used, row.used_before), by_scope[row.scope], now) for row in rows
    }
    is_allowed = all(_wait_seconds(counters[scope], limit, now) == 0 for scope, limit in by_scope.items())
    if is_allowed:
        counters = {scope: Counter(c.window_start, c.used + 1, c.used_before) for scope, c in counters.items()}
        _keep(connection, client, counters)
    verdicts = [_verdict(counters[scope], limit, now, is_allowed) for scope, limit in by_scope.items()]
    return min(verdicts, key=lambda verdict: (-verdict.wait_seconds, verdict.remaining))


def slide(counter: Counter, limit: Limit, now: datetime) -> Counter:
    """The counter with its windows moved on to the one that holds `now`.

    Args:
        counter: as stored.
        limit: whose window's length counts.
        now: by the database's clock.
    """
    windows = max(0, int((now - counter.window_start).total_seconds() // limit.seconds))
    start = counter.window_start + timedelta(seconds=windows * limit.seconds)
    if windows == 0:
        return counter
    if windows == 1:
        return Counter(start, 0, counter.used)
    return Counter(now, 0, 0)


def _keep(connection: Connection, client: str, counters: dict[str, Counter]) -> None:
    values = {
        "client": client,
        "scopes": list(counters),
        "starts": [counter.window_start for counter in counters.values()],
        "used": [counter.used for counter in counters.values()],
        "used_before": [counter.used_before for counter in counters.values()],
    }
    connection.execute(load_sql(__package__, "keep_limits"), values)


def _elapsed_seconds(counter: Counter, now: datetime) -> float:
    return max(0.0, (now - counter.window_start).total_seconds())


def _counted(counter: Counter, limit: Limit, now: datetime) -> float:
    return counter.used + counter.used_before * max(0.0, 1 - _elapsed_seconds(counter, now) / limit.seconds)


def _wait_seconds(counter: Counter, limit: Limit, now: datetime) -> float:
    """How long until one more fits under the limit."""
    if _counted(counter, limit, now) + 1 <= limit.requests:
        return 0.0
    elapsed = _elapsed_seconds(counter, now)
    if counter.used < limit.requests:
        return _fades_after(counter.used_before, limit.requests - 1 - counter.used, limit.seconds) - elapsed
    return limit.seconds - elapsed + _fades_after(counter.used, limit.requests - 1, limit.seconds)


def _fades_after(count: int, share: int, seconds: int) -> float:
    """When only `share` of a former window's `count` is still counted."""
    return seconds * (1 - share / count)


def _verdict(counter: Counter, limit: Limit, now: datetime, is_allowed: bool) -> LimitDecision:
    next_seconds = max(0.0, _wait_seconds(counter, limit, now))
    return LimitDecision(
        is_allowed=is_allowed,
        limit=limit,
        remaining=max(0, math.floor(limit.requests - _counted(counter, limit, now))),
        reset_seconds=next_seconds or limit.seconds - _elapsed_seconds(counter, now),
        wait_seconds=0.0 if is_allowed else next_seconds,
    )
