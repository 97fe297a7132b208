"""What was learnt about an account of the API: how long its pages are, how it averages ratios."""

from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from resources.database.schema.bookkeeping import api_accounts


class Account(NamedTuple):
    """What is known of an account."""

    page_rows: int | None = None
    """Largest page of a list that the API is known to return; 0 when it is not known, None when none was noted."""
    averaging_formula: str | None = None


def known_account(connection: Connection, account: str) -> Account:
    """What is known of an account.

    Args:
        connection: to read with.
        account: stands for base URL and key.
    """
    columns = (api_accounts.c.page_rows, api_accounts.c.averaging_formula)
    found = connection.execute(select(*columns).where(api_accounts.c.account == account)).one_or_none()
    return Account() if found is None else Account(*found)


def note_account(connection: Connection, account: str, **learnt: int | str | timedelta) -> None:
    """Remember what was learnt about an account.

    Args:
        connection: in a transaction.
        account: stands for base URL and key.
        learnt: values of columns of `api_accounts`.
    """
    values = {**learnt, "noted_at": func.now()}
    statement = insert(api_accounts).values(account=account, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["account"], set_=values))
