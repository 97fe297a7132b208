"""The cache of lists: which users were listed lately."""

from collections.abc import Iterable

from sqlalchemy import Connection

from resources.load_sql import load_sql


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
