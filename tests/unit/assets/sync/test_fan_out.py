"""Threads: every question is answered once, never more are under way than agreed, and leaving early leaves nothing."""

import contextvars
import threading
from collections import deque
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assets.sync.fan_out import TASKS_AHEAD, fan_out, fan_out_with_ticks

WHO = contextvars.ContextVar("who", default="nobody")


@given(tasks=st.lists(st.integers()), workers=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_every_task_comes_back_once_with_its_answer(tasks, workers):
    answers = list(fan_out(iter(tasks), lambda task: task * 2, workers=workers))
    assert sorted(answers) == sorted((task, task * 2) for task in tasks)


def test_tasks_that_an_answer_adds_are_done_too():
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
        for number in range(1000):
            taken.append(number)
            yield number

    for done, _ in enumerate(fan_out(tasks(), lambda task: task, workers=workers), start=1):
        assert len(taken) - done < TASKS_AHEAD * workers + 1


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


def test_leaving_early_ends_the_threads_and_starts_no_task():
    """A refused account: what is under way may end, nothing else is asked."""
    asked = []
    before = threading.active_count()
    answers = fan_out(iter(range(1000)), asked.append, workers=4)
    next(answers)
    answers.close()
    assert threading.active_count() == before
    assert len(asked) <= TASKS_AHEAD * 4


def test_context_variables_reach_the_threads():
    """Log lines of a thread carry what the run bound."""
    WHO.set("the run")
    assert dict(fan_out(iter([1]), lambda _: WHO.get(), workers=1)) == {1: "the run"}


def test_the_most_urgent_of_the_tasks_handed_out_is_done_next():
    """Users begun are finished before others begin, however many requests wait."""
    all_handed_out = threading.Event()

    def tasks():
        yield from [5, 1, 4, 2, 3]
        all_handed_out.set()

    def do(task):
        assert all_handed_out.wait(30)
        return task

    answers = fan_out_with_ticks(tasks(), do, workers=1, priority=lambda task: task, tick_seconds=None)
    done = [answer[0] for answer in answers]
    assert done[1:] == sorted(done[1:]), "the worker took the first one before the others were handed out"


def test_what_no_worker_can_catch_is_an_answer_too():
    """A thread that ends without an answer would leave the caller waiting for ever."""

    def leave(_):
        raise SystemExit

    [(task, answer)] = fan_out(iter([1]), leave, workers=1)
    assert (task, type(answer)) == (1, SystemExit)


def test_threads_that_die_before_they_begin_are_replaced(monkeypatch):
    """CPython 3.11 lets a thread die when another one installs a trace function: a pool would wait for it for ever."""
    dying = count()

    class Dying(threading.Thread):
        def run(self):
            if next(dying) % 3:
                super().run()

    monkeypatch.setattr(threading, "Thread", Dying)
    lock, together, met = threading.Lock(), [0], threading.Event()

    def meet(task):
        with lock:
            together[0] += 1
            if together[0] == 4:
                met.set()
        assert met.wait(30), "fewer threads work than were asked for"
        return task

    assert sorted(fan_out(iter(range(4)), meet, workers=4)) == [(n, n) for n in range(4)]
    assert next(dying) > 4


def test_silence_is_reported_while_a_task_hangs():
    """What was received before must be written, although one request does not end."""
    hangs = threading.Event()
    ticks = 0
    for done in fan_out_with_ticks(iter([1]), lambda _: hangs.wait(30), workers=1, tick_seconds=0.01):
        if done is None:
            ticks += 1
            hangs.set()
        else:
            assert done == (1, True)
    assert ticks
