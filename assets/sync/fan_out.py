"""Many questions asked at once, answers taken by one.

Lives here: the only threads of the project.  Not here: what is asked, what is done with the answers.
"""

import contextvars
import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue
from typing import TypeVar

Task = TypeVar("Task")
Answer = TypeVar("Answer")


def fan_out(
    todo: Iterator[Task], ask: Callable[[Task], Answer], *, workers: int
) -> Iterator[tuple[Task, Answer | Exception]]:
    """Ask in `workers` threads; yield each task with its answer, or with the exception that `ask` raised.

    Tasks are taken from `todo` by the calling thread, one for each free worker and one in hand, so the caller may
    add to what `todo` will give whenever it has received an answer. The end comes when `todo` has nothing
    and no answer is awaited. Leaving early lets the questions under way end and asks no more.

    Args:
        todo: gives the next task, or raises StopIteration when there is none at the moment.
        ask: runs in the threads, each with a copy of the caller's context variables.
        workers: number of threads, at least 1.
    """
    questions: SimpleQueue[Task | None] = SimpleQueue()
    answers: SimpleQueue[tuple[Task, Answer | Exception]] = SimpleQueue()
    threads = [
        threading.Thread(
            target=contextvars.copy_context().run,
            args=(_work, questions, answers, ask),
            name=f"fan-out-{number}",
            daemon=True,
        )
        for number in range(workers)
    ]
    for thread in threads:
        thread.start()
    under_way = 0
    try:
        while True:
            while under_way < 2 * workers and (task := next(todo, None)) is not None:
                questions.put(task)
                under_way += 1
            if not under_way:
                return
            yield answers.get()
            under_way -= 1
    finally:
        while not questions.empty():
            questions.get()
        for _ in threads:
            questions.put(None)
        for thread in threads:
            thread.join()


def _work(
    questions: SimpleQueue[Task | None],
    answers: SimpleQueue[tuple[Task, Answer | Exception]],
    ask: Callable[[Task], Answer],
) -> None:
    while (task := questions.get()) is not None:
        try:
            answers.put((task, ask(task)))
        except Exception as error:  # noqa: BLE001 handed to the caller, whatever it is
            answers.put((task, error))
