"""Drives the syncs of many users over one pool of threads: sends their requests and resumes them.

Does not belong here: decisions about one user (`user_sync`, `statistics_sync`), writing (`sync_batch`).
"""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from itertools import count
from queue import Empty, PriorityQueue, SimpleQueue
from threading import Semaphore
from typing import NamedTuple

from assets.sync.api_requests import Request, Response, Steps
from assets.sync.user_steps import UserOutcome
from resources.asleep.errors import Malformed

TICK_SECONDS = 1.0  # a silence of this length gives the caller a chance to write, though a request hangs
REQUESTS_AHEAD = 10  # of each worker, so that workers do not idle while the caller writes what has come


class Sync(NamedTuple):
    """The sync of one user, under way or waiting."""

    outcome: UserOutcome
    steps: Steps[None]


class Progress(NamedTuple):
    """What has just happened to a user's sync."""

    outcome: UserOutcome
    response: Response
    is_done: bool


def threads_with_context(workers: int) -> ThreadPoolExecutor:
    """Threads that begin with the caller's context variables, so that their log lines carry what the run bound."""
    context = copy_context()

    def adopt() -> None:
        for variable, value in context.items():
            variable.set(value)

    return ThreadPoolExecutor(workers, "requests", initializer=adopt)


def drive(syncs: Iterator[Sync], send: Callable[[Request], Response], *, workers: int) -> Generator[Progress | None]:
    """Run the syncs to their ends; yields after each response, and None after each silent `TICK_SECONDS`.

    Args:
        syncs: taken one by one when workers would idle, so that few users are under way. Each makes a request.
        send: runs in the threads.
        workers: number of threads.

    Raises:
        Exception: what `send` raised; the requests under way end, no others begin. What a user's steps raise is
            recorded as this user's failure.
    """
    running = _Running(send, workers)
    with threads_with_context(workers) as threads:
        for _ in range(workers):
            threads.submit(running.work)
        try:
            while True:
                while len(running.owners) < REQUESTS_AHEAD * workers and (sync := next(syncs, None)) is not None:
                    running.begin(sync)
                if not running.owners:
                    return
                try:
                    response = running.responses.get(timeout=TICK_SECONDS)
                except Empty:
                    yield None
                else:
                    yield running.resume(response)
        finally:
            running.end()


class _Running:
    """The syncs under way."""

    def __init__(self, send: Callable[[Request], Response], workers: int) -> None:
        self.requests = PriorityQueue[tuple[float, int, Request | None]]()
        """Those of users begun first come first: an interrupted run leaves few of them half done."""
        self.responses = SimpleQueue[Response | BaseException]()
        self.owners: dict[Request, tuple[int, Sync]] = {}
        """Of each open request: which sync made it, and its number. A request without an owner is not sent."""
        self._ahead = Semaphore(REQUESTS_AHEAD * workers)
        """Held by each response that the caller has not taken yet."""
        self._send, self._workers = send, workers
        self._numbers = count()

    def work(self) -> None:
        """Send requests, in a thread of its own, until there is None."""
        while self._ahead.acquire() and (request := self.requests.get()[-1]) is not None:
            if request not in self.owners:
                self._ahead.release()
                continue
            try:
                self.responses.put(self._send(request))
            except BaseException as error:  # noqa: BLE001 the caller, who would wait for ever without an answer, gets it
                self.responses.put(error)

    def begin(self, sync: Sync) -> None:
        """Take the first requests of a sync."""
        requests = next(sync.steps, None)
        if not requests:
            raise RuntimeError("a sync that makes no request")
        self._own(requests, (next(self._numbers), sync))

    def resume(self, response: Response | BaseException) -> Progress | None:
        """Hand a response to the sync that waits for it; None when that sync has failed before."""
        self._ahead.release()
        if isinstance(response, BaseException):
            raise response
        owner = self.owners.pop(response.request, None)
        if owner is None:
            return None
        sync = owner[1]
        try:
            self._own(sync.steps.send(response), owner)
        except StopIteration:
            return Progress(sync.outcome, response, is_done=True)
        except Exception as error:  # noqa: BLE001 it concerns this user alone
            sync.outcome.fail(None, Malformed(f"the responses could not be used ({type(error).__name__})"))
            for request in [request for request, (_, other) in self.owners.items() if other is sync]:
                del self.owners[request]
            return Progress(sync.outcome, response, is_done=True)
        return Progress(sync.outcome, response, is_done=False)

    def end(self) -> None:
        """Send nothing more, and let the threads end."""
        self.owners.clear()
        self._ahead.release(self._workers)
        for _ in range(self._workers):
            self.requests.put((math.inf, next(self._numbers), None))

    def _own(self, requests: Sequence[Request], owner: tuple[int, Sync]) -> None:
        self.owners.update(dict.fromkeys(requests, owner))
        for request in requests:
            self.requests.put((owner[0], next(self._numbers), request))
