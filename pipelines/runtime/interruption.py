"""End a long command on Ctrl-C or TERM: one line, what must be recorded, and no wait for requests under way.

What was written is committed, and what was not is fetched again, as after a crash. Waiting for the threads would take
as long as the slowest request or pause, which can be minutes.
"""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

SECONDS_TO_RECORD = 5.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def ends_on_signal(record: Callable[[], None], line: str) -> Iterator[None]:
    """End the process when SIGINT or SIGTERM arrives while the block runs, with exit code 128 + the signal's number.

    A thread reads the signals from the interpreter's wake-up socket, so it does not matter that Dagster sets handlers
    of its own meanwhile, which wait for all threads.

    Args:
        record: called before the end; it may take `SECONDS_TO_RECORD`.
        line: printed to the standard error stream.
    """
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    has_come = threading.Event()

    def wait() -> None:
        with receiver:
            number = next(iter(receiver.recv(1)), None)
        if number not in _SIGNALS:
            return  # the block is over
        has_come.set()
        click.echo(f"asleep-sync: {line}", err=True)
        recording = threading.Thread(target=record, daemon=True)
        recording.start()
        recording.join(SECONDS_TO_RECORD)
        sys.stdout.flush()
        os._exit(128 + number)

    threading.Thread(target=wait, name="signals", daemon=True).start()
    handlers = {number: signal.signal(number, lambda *_: None) for number in _SIGNALS}
    wakeup = signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        if has_come.is_set():
            threading.Event().wait()  # for the end, without another word
        signal.set_wakeup_fd(wakeup)
        for number, handler in handlers.items():
            signal.signal(number, handler)
        sender.close()
