"""Where a long operation was interrupted, by its name; kept in `asleep.sync_batches`."""

from typing import NamedTuple

from sqlalchemy import Connection, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import sync_batches as _batches


class Checkpoint(NamedTuple):
    """The last session id with which an operation has dealt, in the order of which it proceeds."""

    connection: Connection
    """In the transaction that writes the results."""
    operation: str

    def read(self) -> str:
        """Return the id; empty when the operation ended, or never began."""
        query = select(_batches.c.counts["after"].as_string()).where(_batches.c.run_id == self.operation)
        return self.connection.scalar(query) or ""

    def write(self, after: str) -> None:
        """Remember the id."""
        values = {"counts": {"after": after}, "started_at": func.now()}
        statement = insert(_batches).values(
            run_id=self.operation, batch=0, window_start=func.now(), window_end=func.now(), **values
        )
        self.connection.execute(statement.on_conflict_do_update(index_elements=["run_id", "batch"], set_=values))

    def clear(self) -> None:
        """Remove it: the operation has ended."""
        self.connection.execute(delete(_batches).where(_batches.c.run_id == self.operation))
