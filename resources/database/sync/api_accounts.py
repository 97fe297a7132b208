"""What is known about the API: from which addresses it answers, how long an account's pages are."""

from contextlib import suppress
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from resources.database.schema.bookkeeping import api_accounts, api_addresses


class ApiAddresses:
    """Addresses from which the API has answered: a sync with another one is a first contact."""

    def has_answered(self, engine: Engine, base_url: str) -> bool:
        """True when the API has answered from this address before.

        Args:
            engine: of the database with `api_accounts`.
            base_url: of the API.
        """
        with engine.connect() as connection:
            return connection.scalar(select(api_addresses).where(api_addresses.c.base_url == base_url)) is not None

    def note_answer(self, engine: Engine, base_url: str) -> None:
        """Record that it has; a database that is away is noticed by those who need it.

        Args:
            engine: of the database with `api_accounts`.
            base_url: of the API.
        """
        with suppress(SQLAlchemyError), engine.begin() as connection:
            connection.execute(insert(api_addresses).values(base_url=base_url).on_conflict_do_nothing())


class Account(NamedTuple):
    """What is known of an account, named by a fingerprint of base URL and key."""

    page_rows: int | None = None  # of the largest page known; 0 when not known, None when none was noted
    averaging_formula: str | None = None


def known_account(connection: Connection, account: str) -> Account:
    """What earlier runs found out about an account.

    Args:
        connection: reads; writes nothing.
        account: base URL and environment.
    """
    columns = (api_accounts.c.page_rows, api_accounts.c.averaging_formula)
    found = connection.execute(select(*columns).where(api_accounts.c.account == account)).one_or_none()
    return Account() if found is None else Account(*found)


def note_account(connection: Connection, account: str, **facts: int | str | timedelta) -> None:
    """Store what a run found out about an account.

    Args:
        connection: in the caller's transaction.
        account: base URL and environment.
        **facts: values by column of `api_accounts`.
    """
    values = {**facts, "noted_at": func.now()}
    statement = insert(api_accounts).values(account=account, **values)
    connection.execute(statement.on_conflict_do_update(index_elements=["account"], set_=values))
