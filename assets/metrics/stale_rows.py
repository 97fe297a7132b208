"""The end of both statements that recompute what is stale: take rows off their queue, and store what was computed.

Beside concurrent writers: a writer raises `version` in the transaction that changes the sessions, so where the version
is the one that was computed, the sessions are, too. `settled` reads the newest version of each row and locks it; a row
that moved on, or that a writer holds, keeps what is stored and stays queued. Only a row taken off the queue gets its
figures written, so an older snapshot never overwrites what a newer one wrote.
"""

from collections.abc import Callable
from typing import Any

from sqlalchemy import CTE, FromClause, Table, delete, func, select, true, tuple_
from sqlalchemy.dialects.postgresql import insert


def take_and_store(
    computed: FromClause, queue: Table, target: Table, has_sessions: Callable[[Any], Any]
) -> tuple[CTE, CTE, CTE]:
    """Return the user-months or periods taken off the queue, those of them written, and those removed.

    Args:
        computed: rows with the key of `queue`, the `version` for which they were computed, and figures for `target`.
        queue: the stale rows.
        target: its rows are written when a figure differs, and removed when no session is left.
        has_sessions: the condition, on the columns of `computed`, for a row to be stored.
    """
    key = [column.name for column in queue.primary_key]
    of_queue, queued = [*key, "version"], queue.alias("queued")
    newest = select(queued.c.version.label("newest")).where(*(queued.c[name] == computed.c[name] for name in of_queue))
    newest_locked = newest.with_for_update(skip_locked=True).lateral("newest")
    settled = select(computed).select_from(computed.join(newest_locked, true())).cte("settled")
    is_settled = (queue.c[name] == settled.c[name] for name in of_queue)
    taken = delete(queue).where(*is_settled).returning(*settled.c).cte("taken")

    figures = [each.name for each in taken.c if each.name not in of_queue]
    keys = [taken.c[name] for name in key]
    new_rows = select(*keys, *(taken.c[name] for name in figures)).where(has_sessions(taken.c)).order_by(*keys)
    statement = insert(target).from_select([*key, *figures], new_rows)
    stored, new = [target.c[name] for name in figures], [statement.excluded[name] for name in figures]
    written = statement.on_conflict_do_update(
        index_elements=key,
        set_={**dict(zip(figures, new, strict=True)), "computed_at": func.now()},
        where=tuple_(*stored).is_distinct_from(tuple_(*new)),
    )
    # Few: they are collected first whatever the planner expects.
    emptied = select(*keys).where(~has_sessions(taken.c)).cte("emptied").prefix_with("MATERIALIZED")
    removed = delete(target).where(*(target.c[name] == emptied.c[name] for name in key))
    return taken, written.returning(target.c.user_id).cte("written"), removed.returning(target.c.user_id).cte("removed")


def count_of(rows: FromClause) -> Any:
    """The number of rows, as a part of a SELECT."""
    return select(func.count()).select_from(rows).scalar_subquery()
