"""End a long command on Ctrl-C or TERM: one line, what must be recorded, and no wait for requests under way.

What was written is committed, and what was not is fetched again, as after a crash. Waiting for the threads would take
as long as the slowest request or pause, which can be minutes.
"""

import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TypeVar

import click

SECONDS_TO_RECORD = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
Result = TypeVar("Result")


def run_until_signal(work: Callable[[], Result], record: Callable[[], None], line: str) -> Result:
    """Run `work` in a thread; on SIGINT or SIGTERM end the process with exit code 128 + the signal's number.

    Outside of the main thread Dagster sets no signal handlers of its own, which would wait for all threads.

    Args:
        work: what to do.
        record: called before the end; it may take `SECONDS_TO_RECORD`.
        line: printed to the standard error stream.
    """

    def end(number: int, _frame: FrameType | None) -> None:
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        click.echo(f"asleep-sync: {line}", err=True)
        recording = threading.Thread(target=record, daemon=True)
        recording.start()
        recording.join(SECONDS_TO_RECORD)
        sys.stdout.flush()
        os._exit(128 + number)

    handlers = {number: signal.signal(number, end) for number in _SIGNALS}
    try:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(work).result()
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
