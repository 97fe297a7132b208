"""The cache of lists: which users were listed lately."""

from collections.abc import Iterable

from sqlalchemy import Connection

from resources.load_sql import load_sql


def expire_lists(connection: Connection, user_ids: Iterable[str]) -> None:
    """Make the next sync list these users' sessions although they were listed lately.

    Args:
        connection: in a transaction.
        user_ids: users of whom something changed since.
    """
    if wanted := sorted(set(user_ids)):
        connection.execute(load_sql(__package__, "expire_lists"), {"user_ids": wanted})
