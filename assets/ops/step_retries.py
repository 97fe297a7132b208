"""Retries a step whose failure may pass with time; `failures.py` decides which failures those are.

Dagster's own retry policy of an op is not used: it takes the cancelling of a run for a failure, tries the step again,
and the cancelled run ends as a success.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from resources.asleep.errors import AsleepError

MAX_RETRIES = 2
FIRST_PAUSE_SECONDS = 5


@contextmanager
def retry_step(context: dg.OpExecutionContext) -> Iterator[None]:
    """Let the step be tried again after 5 s, then after 10 s, when its failure allows it."""
    try:
        yield
    except (dg.Failure, AsleepError) as error:
        may_be_mended = not isinstance(error, dg.Failure) or error.allow_retries
        if not may_be_mended or context.retry_number >= MAX_RETRIES:
            raise
        pause = FIRST_PAUSE_SECONDS * 2**context.retry_number
        raise dg.RetryRequested(max_retries=MAX_RETRIES, seconds_to_wait=pause) from error
