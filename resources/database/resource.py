"""Postgres as the Dagster resource `database`: its address, and one engine per process."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property

from sqlalchemy import Engine

from resources.database.engine import make_engine
from resources.database.migrate import require_migrated
from resources.database.users.pseudonym_key import load_pseudonym_key


@dataclass(frozen=True)
class Database:
    """The database, found when it is first needed: importing and listing definitions reach for nothing."""

    find_url: Callable[[], str] = field(repr=False)
    application_name: str = "asleep-sync"

    @cached_property
    def engine(self) -> Engine:
        """The process's engine."""
        return make_engine(self.find_url(), application_name=self.application_name)

    def require_migrated(self) -> None:
        """Check that the database can be reached and its schema is current, and load the key of the pseudonyms.

        Raises:
            NotMigrated: the schema is another one.
            OperationalError: the database cannot be reached.
        """
        with self.engine.connect() as connection:
            require_migrated(connection)
            load_pseudonym_key(connection)
