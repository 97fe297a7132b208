"""Many requests at once, in threads of their own; one thread takes the responses."""

import contextvars
import math
import threading
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from functools import partial
from itertools import count
from queue import Empty, PriorityQueue, SimpleQueue
from typing import TypeVar

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_AHEAD = 10  # tasks handed out for each worker, so that workers do not idle while the caller writes what has come
START_SECONDS = 0.01  # between two looks whether a thread began, or died before
MAX_STARTS = 20

_Tasks = PriorityQueue[tuple[float, int, Task | None]]
_Answers = SimpleQueue[tuple[Task, Result | BaseException]]


def fan_out(
    todo: Iterator[Task], do: Callable[[Task], Result], *, workers: int
) -> Generator[tuple[Task, Result | BaseException]]:
    """Do tasks in threads; yield each with its answer. `fan_out_with_ticks` explains the order and the end.

    Args:
        todo: gives the next task, or raises StopIteration when there is none at the moment.
        do: runs in the threads, each with a copy of the caller's context variables.
        workers: number of threads, at least 1.
    """
    return (done for done in fan_out_with_ticks(todo, do, workers=workers, tick_seconds=None) if done is not None)


def fan_out_with_ticks(
    todo: Iterator[Task],
    do: Callable[[Task], Result],
    *,
    workers: int,
    priority: Callable[[Task], float] = lambda _: 0,
    tick_seconds: float | None,
) -> Generator[tuple[Task, Result | BaseException] | None]:
    """Do tasks in `workers` threads; yield each with its answer, or with the exception that `do` raised.

    The calling thread takes tasks from `todo`, a few for each worker, so it may add to what `todo` will give whenever
    it has received an answer. The end comes when `todo` has nothing and no answer is awaited. Leaving early lets
    the tasks under way end and starts no other.

    Args:
        todo: gives the next task, or raises StopIteration when there is none at the moment.
        do: runs in the threads, each with a copy of the caller's context variables.
        workers: number of threads, at least 1.
        priority: of the tasks handed out, those with the lowest number are done first; equal ones in their order.
        tick_seconds: length of a silence after which None is yielded; None for never.
    """
    tasks: _Tasks[Task] = PriorityQueue()
    answers: _Answers[Task, Result] = SimpleQueue()
    numbers = count()

    threads: list[threading.Thread] = []
    under_way = 0
    try:
        threads += (start_thread(partial(_work, tasks, answers, do), f"fan-out-{number}") for number in range(workers))
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
        with suppress(Empty):
            while True:
                tasks.get_nowait()
        for _ in threads:
            tasks.put((math.inf, next(numbers), None))
        for thread in threads:
            thread.join()


def _work(tasks: _Tasks[Task], answers: _Answers[Task, Result], do: Callable[[Task], Result]) -> None:
    while (task := tasks.get()[-1]) is not None:
        try:
            answers.put((task, do(task)))
        except BaseException as error:  # noqa: BLE001 the caller, who would wait for ever without an answer, gets it
            answers.put((task, error))


def start_thread(work: Callable[[], None], name: str) -> threading.Thread:
    """Start a daemon thread with a copy of the caller's context variables.

    On CPython 3.11 a thread dies before its first line when another one installs a trace function at that moment, as
    under coverage and debuggers. Then another thread is started: a pool with a dead thread waits for ever.

    Args:
        work: runs in the thread.
        name: of the thread.
    """
    context, has_begun = contextvars.copy_context(), threading.Event()

    def run() -> None:
        has_begun.set()
        context.run(work)

    for _ in range(MAX_STARTS):
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        while not has_begun.wait(START_SECONDS) and thread.is_alive():
            pass
        if has_begun.is_set():
            return thread
    raise RuntimeError(f"thread {name} ended {MAX_STARTS} times before it began")
