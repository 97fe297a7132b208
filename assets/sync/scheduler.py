"""Drives the syncs of many users over one pool of threads: gives out their requests and resumes them.

Does not belong here: decisions about one user (`user_sync`, `statistics_sync`), writing (`sync_batch`).
"""

from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import NamedTuple

from assets.sync.api_requests import Request, Response, Steps
from assets.sync.fan_out import fan_out_with_ticks
from assets.sync.user_steps import UserOutcome
from resources.asleep.errors import Malformed

TICK_SECONDS = 1.0  # a silence of this length gives the caller a chance to write, though a request hangs


class Sync(NamedTuple):
    """The sync of one user, under way or waiting."""

    outcome: UserOutcome
    steps: Steps[None]


class Progress(NamedTuple):
    """What has just happened to a user's sync."""

    outcome: UserOutcome
    response: Response
    is_done: bool


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
    running = _Running(syncs)
    pool = fan_out_with_ticks(running, send, workers=workers, priority=running.priority, tick_seconds=TICK_SECONDS)
    with closing(pool):
        for answer in pool:
            if answer is None:
                yield None
            elif isinstance(answer[1], BaseException):
                raise answer[1]
            else:
                yield running.resume(answer[1])


@dataclass(slots=True)
class _Running:
    """The syncs under way, as an iterator over their requests."""

    waiting: Iterator[Sync]
    begun: int = 0
    ready: deque[Request] = field(default_factory=deque)
    owners: dict[Request, tuple[int, Sync]] = field(default_factory=dict)
    """Of each open request: which sync made it, and how many had begun before."""

    def __iter__(self) -> Iterator[Request]:
        return self

    def __next__(self) -> Request:
        while not self.ready:
            sync = next(self.waiting)
            requests = next(sync.steps, None)
            if not requests:  # the end of an iterator would end the run, and leave out the users that wait
                raise RuntimeError("a sync that makes no request")
            self._own(requests, (self.begun, sync))
            self.begun += 1
        return self.ready.popleft()

    def priority(self, request: Request) -> int:
        """Users begun first come first: an interrupted run leaves few of them half done."""
        return self.owners[request][0]

    def resume(self, response: Response) -> Progress | None:
        """Hand a response to the sync that waits for it; None when that sync has failed before."""
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
            self._abandon(sync)
            return Progress(sync.outcome, response, is_done=True)
        return Progress(sync.outcome, response, is_done=False)

    def _abandon(self, sync: Sync) -> None:
        self.owners = {request: owner for request, owner in self.owners.items() if owner[1] is not sync}
        self.ready = deque(request for request in self.ready if request in self.owners)

    def _own(self, requests: Sequence[Request], owner: tuple[int, Sync]) -> None:
        self.ready.extend(requests)
        self.owners.update(dict.fromkeys(requests, owner))
