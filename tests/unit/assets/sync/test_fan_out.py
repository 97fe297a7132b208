"""Threads: every question is answered once, never more are under way than agreed, and leaving early leaves nothing."""

import contextvars
import threading
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.sync.fan_out import fan_out

WHO = contextvars.ContextVar("who", default="nobody")


@given(tasks=st.lists(st.integers()), workers=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_every_task_comes_back_once_with_its_answer(tasks, workers):
    answers = list(fan_out(iter(tasks), lambda task: task * 2, workers=workers))
    assert sorted(answers) == sorted((task, task * 2) for task in tasks)


def test_what_one_answer_adds_is_asked_too():
    """A list brings sessions to read: the iterator may be empty for a while and then have more."""
    todo = deque([3])

    class Growing:
        def __iter__(self):
            return self

        def __next__(self):
            if not todo:
                raise StopIteration
            return todo.popleft()

    seen = []
    for task, _ in fan_out(Growing(), lambda task: task, workers=2):
        seen.append(task)
        todo.extend([task - 1] * (2 if task else 0))
    assert sorted(seen) == [0] * 8 + [1] * 4 + [2] * 2 + [3]


def test_an_exception_is_an_answer_like_any_other():
    def ask(task):
        if task == 2:
            raise KeyError(task)
        return task

    answers = dict(fan_out(iter([1, 2, 3]), ask, workers=2))
    assert answers[1] == 1
    assert answers[3] == 3
    assert isinstance(answers[2], KeyError)


@pytest.mark.parametrize("workers", [1, 4])
def test_no_more_tasks_are_taken_than_workers_can_use(workers):
    """A hundred thousand users must not stand in memory at once."""
    taken = []

    def tasks():
        for number in range(100):
            taken.append(number)
            yield number

    for done, _ in enumerate(fan_out(tasks(), lambda task: task, workers=workers), start=1):
        assert len(taken) - done < 2 * workers + 1


def test_never_more_threads_ask_at_once_than_agreed():
    lock, now, most = threading.Lock(), [0], [0]

    def ask(_task):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        with lock:
            now[0] -= 1

    list(fan_out(iter(range(200)), ask, workers=3))
    assert most[0] <= 3


def test_leaving_early_ends_the_threads_and_asks_no_more():
    """A refused account: what is under way may end, nothing else is asked."""
    asked = []
    before = threading.active_count()
    answers = fan_out(iter(range(1000)), asked.append, workers=4)
    next(answers)
    answers.close()
    assert threading.active_count() == before
    assert len(asked) <= 8


def test_context_variables_reach_the_threads():
    """Log lines of a thread carry what the run bound."""
    WHO.set("the run")
    assert dict(fan_out(iter([1]), lambda _: WHO.get(), workers=1)) == {1: "the run"}
