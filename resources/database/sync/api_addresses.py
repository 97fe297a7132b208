"""Addresses from which the API has answered: a sync with another one is a first contact."""

from contextlib import suppress

from sqlalchemy import Engine, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from resources.database.schema.bookkeeping import api_addresses


class ApiAddresses:
    """The table `asleep.api_addresses`."""

    def has_answered(self, engine: Engine, base_url: str) -> bool:
        """True when the API has answered from this address before.

        Args:
            engine: the database.
            base_url: the address.
        """
        with engine.connect() as connection:
            return connection.scalar(select(api_addresses).where(api_addresses.c.base_url == base_url)) is not None

    def note_answer(self, engine: Engine, base_url: str) -> None:
        """Record that it has; a database that is away is noticed by those who need it.

        Args:
            engine: the database.
            base_url: the address.
        """
        with suppress(SQLAlchemyError), engine.begin() as connection:
            connection.execute(insert(api_addresses).values(base_url=base_url).on_conflict_do_nothing())
