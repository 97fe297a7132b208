"""Many requests at once, in the project's only threads; one thread takes the responses."""

import contextvars
import math
import threading
from collections.abc import Callable, Generator, Iterator
from itertools import count
from queue import Empty, PriorityQueue, SimpleQueue
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_AHEAD = 10
"""Tasks handed out for each worker, so that workers do not idle while the caller writes what has come."""

_Tasks = PriorityQueue[tuple[float, int, Task | None]]


def fan_out(
    todo: Iterator[Task],
    do: Callable[[Task], Result],
    *,
    workers: int,
    priority: Callable[[Task], float] = lambda _: 0,
) -> Generator[tuple[Task, Result | Exception]]:
    """Do tasks in `workers` threads; yield each with its answer, or with the exception that `do` raised.

    The calling thread takes tasks from `todo`, a few for each worker, so it may add to what `todo` will give whenever
    it has received an answer. The end comes when `todo` has nothing and no answer is awaited. Leaving early lets
    the tasks under way end and starts no other.

    Args:
        todo: gives the next task, or raises StopIteration when there is none at the moment.
        do: runs in the threads, each with a copy of the caller's context variables.
        workers: number of threads, at least 1.
        priority: of the tasks handed out, those with the lowest number are done first; equal ones in their order.
    """
    for done in fan_out_with_ticks(todo, do, workers=workers, priority=priority, tick_seconds=None):
        if done is not None:
            yield done


def fan_out_with_ticks(
    todo: Iterator[Task],
    do: Callable[[Task], Result],
    *,
    workers: int,
    priority: Callable[[Task], float] = lambda _: 0,
    tick_seconds: float | None,
) -> Generator[tuple[Task, Result | Exception] | None]:
    """As `fan_out`, and yield None whenever `tick_seconds` pass without an answer.

    Args:
        todo: see `fan_out`.
        do: see `fan_out`.
        workers: number of threads.
        priority: see `fan_out`.
        tick_seconds: length of a silence after which None is yielded; None for never.
    """
    tasks: _Tasks[Task] = PriorityQueue()
    answers: SimpleQueue[tuple[Task, Result | Exception]] = SimpleQueue()
    numbers = count()
    threads = [_start(number, tasks, answers, do) for number in range(workers)]
    under_way = 0
    try:
        while True:
            while under_way < TASKS_AHEAD * workers and (task := next(todo, None)) is not None:
                tasks.put((priority(task), next(numbers), task))
                under_way += 1
            if not under_way:
                return
            try:
                answer = answers.get(timeout=tick_seconds)
            except Empty:
                yield None
                continue
            under_way -= 1
            yield answer
    finally:
        while not tasks.empty():
            tasks.get()
        for _ in threads:
            tasks.put((math.inf, next(numbers), None))
        for thread in threads:
            thread.join()


def _start(
    number: int,
    tasks: _Tasks[Task],
    answers: SimpleQueue[tuple[Task, Result | Exception]],
    do: Callable[[Task], Result],
) -> threading.Thread:
    run = contextvars.copy_context().run
    thread = threading.Thread(target=run, args=(_work, tasks, answers, do), name=f"fan-out-{number}", daemon=True)
    thread.start()
    return thread


def _work(
    tasks: _Tasks[Task], answers: SimpleQueue[tuple[Task, Result | Exception]], do: Callable[[Task], Result]
) -> None:
    while (task := tasks.get()[-1]) is not None:
        try:
            answers.put((task, do(task)))
        except Exception as error:  # noqa: BLE001 handed to the caller, whatever it is
            answers.put((task, error))
