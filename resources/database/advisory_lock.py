"""A lock that processes on any machine share through the database, and that is free when its process dies."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

POLL_SECONDS = 1.0

_TRY = text("SELECT pg_try_advisory_lock(hashtextextended(:name, 0))")
_TRY_SHORTLY = text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))")
_RELEASE = text("SELECT pg_advisory_unlock(hashtextextended(:name, 0))")


@contextmanager
def advisory_lock(
    engine: Engine, name: str, *, on_wait: Callable[[], None] = lambda: None, wait: Callable[[float], None] = time.sleep
) -> Iterator[None]:
    """Hold the lock `name` while the block runs; wait while another process holds it.

    The lock belongs to a connection of its own on which no transaction is open, so it holds nothing up, and it is
    free again the moment its process or connection dies. Should the connection break, the block goes on: what runs
    under the lock must be safe without it and merely wasteful.

    Args:
        engine: the database; not behind a pooler that shares connections between transactions.
        name: what is done one at a time.
        on_wait: called once, when the lock is held elsewhere.
        wait: sleeps between two looks.
    """
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        if not try_lock(connection, name):
            on_wait()
            while not try_lock(connection, name):
                wait(POLL_SECONDS)
        try:
            yield
        finally:
            try:
                connection.execute(_RELEASE, {"name": name})
            except DBAPIError:
                connection.invalidate()


def try_lock(connection: Connection, name: str) -> bool:
    """Take the lock until the connection ends, if it is free; True also when the connection holds it already.

    Args:
        connection: kept open by the caller, without a transaction.
        name: of the lock.
    """
    return bool(connection.scalar(_TRY, {"name": name}))


def is_held(engine: Engine, name: str) -> bool:
    """Return whether the lock is held now.

    Args:
        engine: the database.
        name: of the lock.
    """
    with engine.begin() as connection:
        return not connection.scalar(_TRY_SHORTLY, {"name": name})
