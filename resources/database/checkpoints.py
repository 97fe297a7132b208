"""Where a long operation was interrupted, by its name; kept in `asleep.sync_batches`."""

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import sync_batches


def read_checkpoint(connection: Connection, operation: str) -> str:
    """Return the last session id that the operation has dealt with; empty when it ended, or never began.

    Args:
        connection: to read with.
        operation: name of the operation.
    """
    query = select(sync_batches.c.counts["after"].as_string()).where(sync_batches.c.run_id == operation)
    return connection.scalar(query) or ""


def write_checkpoint(connection: Connection, operation: str, after: str) -> None:
    """Remember the last session id.

    Args:
        connection: in the transaction that writes the results.
        operation: name of the operation.
        after: session id, in the order of which the operation proceeds.
    """
    values = {"counts": {"after": after}, "started_at": func.now()}
    connection.execute(
        insert(sync_batches)
        .values(run_id=operation, batch=0, window_start=func.now(), window_end=func.now(), **values)
        .on_conflict_do_update(index_elements=["run_id", "batch"], set_=values)
    )


def clear_checkpoint(connection: Connection, operation: str) -> None:
    """Remove the checkpoint of an operation that has ended.

    Args:
        connection: in a transaction.
        operation: name of the operation.
    """
    connection.execute(delete(sync_batches).where(sync_batches.c.run_id == operation))
