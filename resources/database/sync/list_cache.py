"""What is remembered of lists: who was listed lately, and how long the API's pages are."""

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import page_sizes
from resources.load_sql import load_sql

PAGE_ROWS = 100
"""By the contract, as long as nothing else was seen."""


def expire_lists(connection: Connection, user_ids: Iterable[str]) -> int:
    """Make the next sync list these users' sessions although they were listed lately.

    Args:
        connection: in a transaction.
        user_ids: users of whom something changed since.

    Returns:
        How many of them had a list.
    """
    wanted = sorted(set(user_ids))
    return connection.execute(load_sql(__package__, "expire_lists"), {"user_ids": wanted}).rowcount if wanted else 0


class KnownPages(NamedTuple):
    """What earlier batches and runs learnt."""

    rows: int
    """Largest page that the API is known to return; 0 when that is not known."""
    confirmed_rows: int
    """A last page of this length was confirmed in this run; 0 when none was."""


def known_pages(connection: Connection, account: str, run_id: str) -> KnownPages:
    """What is known of an account's pages.

    Args:
        connection: to read with.
        account: base URL and key.
        run_id: what was confirmed in other runs does not count.
    """
    stored = connection.execute(select(page_sizes).where(page_sizes.c.account == account)).one_or_none()
    if stored is None:
        return KnownPages(PAGE_ROWS, 0)
    is_this_run = stored.confirmed_run_id == run_id
    return KnownPages(stored.rows, stored.confirmed_rows if is_this_run else 0)


def note_pages(  # noqa: PLR0913 the columns of the row
    connection: Connection,
    account: str,
    run_id: str,
    *,
    rows: int | None = None,
    confirmed_rows: int = 0,
    clock_ahead: timedelta | None = None,
) -> None:
    """Remember what a batch learnt.

    Args:
        connection: in a transaction.
        account: base URL and key.
        run_id: the run in which it was learnt.
        rows: largest page that the API is known to return, 0 when that is not known; None keeps what is stored.
        confirmed_rows: a last page of this length was confirmed.
        clock_ahead: by how much the API's clock is ahead of the database's; None keeps what is stored.
    """
    confirmed: dict[str, Any] = {"confirmed_run_id": run_id, "confirmed_rows": confirmed_rows, "noted_at": func.now()}
    if clock_ahead is not None:
        confirmed["clock_ahead"] = clock_ahead
    connection.execute(
        insert(page_sizes)
        .values(account=account, rows=PAGE_ROWS if rows is None else rows, **confirmed)
        .on_conflict_do_update(
            index_elements=["account"], set_=confirmed if rows is None else {**confirmed, "rows": rows}
        )
    )
