"""Recompute monthly averages, and count what became of them.

Does not belong here: arithmetic (`averages_statement.py`), transactions, which months are due.
"""

from datetime import date
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select, text

from assets.metrics.averages_statement import averages_statement
from resources.database.schema.tables import monthly_averages
from resources.load_sql import load_sql

_WITHOUT_COMPILATION = text("SET LOCAL jit = off")
"""Compiling the many sums costs more than it saves: 1.3 s instead of 0.1 s for 20,000 sessions."""


class Summarised(NamedTuple):
    """What became of the user-months whose sessions had changed."""

    user_months: int
    """Computed anew and taken off the queue."""
    months: int
    """Calendar months among them."""
    written: int
    """New, or different from what was stored."""
    unchanged: int
    """Equal to what was stored, hence not rewritten."""
    removed: int
    """No session is left, so the averages vanished."""
    still_waiting: int
    """Left queued because a writer was changing them in that very moment: run again."""


def stale_months(connection: Connection) -> list[date]:
    """First days of the months in which averages wait."""
    return list(connection.scalars(load_sql(__package__, "stale_months")))


def months_to_recompute(connection: Connection) -> list[date]:
    """First days of the months with stale averages or metrics, running periods of an earlier day among them."""
    metrics = connection.scalars(load_sql(__package__, "stale_metric_months"))
    return sorted({*stale_months(connection), *metrics})


def summarise(connection: Connection, month: date | None = None) -> Summarised:
    """Compute the averages of every stale user-month, running months of an earlier day among them.

    Args:
        connection: open; commit soon after, since writers of the same user-months wait for the commit.
        month: first day of the only month to work on; None for all.
    """
    connection.execute(_WITHOUT_COMPILATION)
    connection.execute(load_sql(__package__, "mark_running_months"))
    return Summarised(*connection.execute(averages_statement(), {"month": month}).one())


def summarise_month(connection: Connection, month: date) -> dict[str, Any]:
    """Compute a month's averages; return what became of them as the asset's metadata.

    Args:
        connection: open, in a transaction.
        month: first day of the month.
    """
    counts = summarise(connection, month)._asdict()
    rows = select(func.count()).where(monthly_averages.c.month == month)
    return {"dagster/partition_row_count": connection.scalar(rows) or 0, **counts}


def count_differing(connection: Connection, most: int) -> int | None:
    """How many of some stored user-months differ from what their sessions give now; nothing is written.

    Args:
        connection: open, in a transaction.
        most: how many are computed anew, chosen at random.

    Returns:
        None while any user-month waits: then it is known that averages lag behind.
    """
    with connection.begin_nested() as trial:
        if stale_months(connection):
            return None
        connection.execute(load_sql(__package__, "mark_months_stale"), {"most": most})
        anew = summarise(connection)
        trial.rollback()
    return anew.written + anew.removed
