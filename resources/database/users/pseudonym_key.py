"""The key of the pseudonyms, as stored in the database."""

from collections.abc import Callable

from sqlalchemy import Connection, select, text

from resources.database.schema.bookkeeping import pseudonym_key
from resources.pseudonyms import pseudonym, use_key

_MAY_READ = text("SELECT has_table_privilege('asleep.pseudonym_key', 'SELECT')")


def load_pseudonym_key(connection: Connection) -> None:
    """Let this process compute the pseudonyms of this database; without the right to read the key, do nothing."""
    if connection.scalar(_MAY_READ):
        block = connection.scalars(select(pseudonym_key.c.inner_block)).one()
        use_key(bytes(byte ^ 0x36 for byte in bytes(block)))


def name_in_files(connection: Connection) -> Callable[[str], str]:
    """How a file names a user: by pseudonym, or by id when the login may not read the key, as analysts may not."""
    return pseudonym if connection.scalar(_MAY_READ) else str
