"""A process that ends in the middle of a write, without a process of its own."""

import itertools
from collections.abc import Callable
from typing import Any


class Killed(BaseException):
    """The process ends in the middle of a write."""


def dying(counts: Callable[[], dict[str, Any]], write: int) -> Callable[[], dict[str, Any]]:
    """Counts of requests that end the process in the transaction of the write with this number, from 1."""
    calls = itertools.count(1)

    def count() -> dict[str, Any]:
        if next(calls) >= write:
            raise Killed
        return counts()

    return count
