"""Writes a migration from the difference between `schema/` and an empty database at the newest revision.

    make migration m="Add a column"

It reads the URL of a server from standard input and works in a new database there, which it drops afterwards.
"""

import sys
from uuid import uuid4

import click
from alembic import command
from sqlalchemy import Engine, text

from resources.database.engine import database_url, make_engine
from resources.database.migrate import alembic_config, migrate, newest_revision


def write_migration(engine: Engine, message: str) -> str:
    """Write the migration that leads from the newest revision to `schema/`.

    Args:
        engine: an empty database.
        message: what the migration does; its title and its file name.

    Returns:
        Path of the file.
    """
    migrate(engine)
    with engine.connect() as connection:
        number = f"{int(newest_revision()) + 1:04d}"
        written = command.revision(alembic_config(connection), message=message, autogenerate=True, rev_id=number)
    assert not isinstance(written, list)  # noqa: S101 one revision was ordered
    assert written is not None  # noqa: S101
    return written.path


@click.command()
@click.argument("message")
def main(message: str) -> None:
    """Write a migration called MESSAGE."""
    url = database_url(sys.stdin.read())
    server = make_engine(url, application_name="new migration").execution_options(isolation_level="AUTOCOMMIT")
    name = f"new_migration_{uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        try:
            engine = make_engine(url.set(database=name), application_name="new migration")
            path = write_migration(engine, message)
            engine.dispose()
        finally:
            connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    click.echo(f"Written: {path}\nRead it, correct it, then `make test`.")


if __name__ == "__main__":
    main()
