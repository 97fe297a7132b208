"""`asleep-sync users` and `asleep-sync erasures`: the registry of users, and the record of those erased."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from pipelines.cli.common import Refusal, id_of_user, open_database, write_output


@click.group()
def users() -> None:
    """Manage the users to sync.

    The Asleep API cannot list users, so register them here.
    """


@users.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--again", is_flag=True, help="Also register users who were erased here.")
def import_users(file: Any, again: bool) -> None:
    """Register the users of FILE.

    FILE has one user id per line, or is a CSV file with the column user_id and optionally timezone (an IANA name such
    as Asia/Seoul; an unknown one is left empty), separated by commas, semicolons or tabs, in UTF-8 or as Excel writes
    it. `-` reads from standard input. If a line is invalid, no user is registered. Importing twice changes nothing.
    Users who were erased here are skipped without --again.

    \b
    Examples:
      asleep-sync users import users.csv
      echo G-20260301091502-AbCdEfGhIjKlMnOpQrSt | asleep-sync users import -
    """
    from pipelines.cli.user_file import UserFileInvalid, read_users
    from resources.database.users.registry import Registry

    name = getattr(file, "name", "<stdin>").replace("<stdin>", "standard input")
    try:
        found, warnings = read_users(file.read())
    except UserFileInvalid as error:
        raise Refusal(f"{name}: nothing was imported.\n{error}") from None
    with open_database().engine.begin() as connection:
        imported = Registry(connection).add(found, again=again)
    for warning in warnings:
        click.echo(f"asleep-sync: {name}: {warning}", err=True)
    click.echo(f"{len(found)} users: {imported.new} new, {imported.updated} updated, {imported.unchanged} unchanged.")
    if imported.erased:
        click.echo(
            f"asleep-sync: {imported.erased} were erased here and are not registered. Use --again if they came back.",
            err=True,
        )


@users.command("list")
@click.option("--out", type=click.Path(dir_okay=False), help="Write to this file, readable by you only.")
def list_users(out: str | None) -> None:
    """Print the registered users as CSV.

    `users import` can read it. Users appear in logs, in `status` and in Dagster by the name in the column pseudonym.

    \b
    Examples:
      asleep-sync users list --out users.csv
      asleep-sync users list | grep 97e25854fe2ffc6b
    """
    from resources.database.users.registry import Registry
    from resources.pseudonyms import pseudonym

    header = ("user_id", "timezone", "active", "gone_at", "last_synced_at", "source", "pseudonym")
    with open_database().engine.connect() as connection:
        text = _csv(header, ((*user, pseudonym(user.user_id)) for user in Registry(connection).users()))
    if out is None:
        click.echo(text, nl=False)
    else:
        write_output(Path(out), text)


@users.command()
@click.argument("names", nargs=-1, required=True, metavar="USER…", type=id_of_user)
def activate(names: tuple[str, ...]) -> None:
    """Sync these users again from the next sync on.

    USER is an id or a pseudonym.

    `asleep-sync sync --user USER --from DATE` reads the days on which they were inactive.

    \b
    Example:
      asleep-sync users activate G-20260301091502-AbCdEfGhIjKlMnOpQrSt
    """
    _switch(names, active=True)


@users.command()
@click.argument("names", nargs=-1, required=True, metavar="USER…", type=id_of_user)
def deactivate(names: tuple[str, ...]) -> None:
    """Stop syncing these users. Their stored data stay, and their missing data no longer count.

    USER is an id or a pseudonym. To erase a user, use `asleep-sync forget`.

    \b
    Example:
      asleep-sync users deactivate 97e25854fe2ffc6b
    """
    _switch(names, active=False)


def _switch(names: Sequence[str], *, active: bool) -> None:
    from resources.database.users.registry import Registry

    with open_database().engine.begin() as connection:
        switched = Registry(connection).set_active(user_ids(connection, names), active=active)
    state = "active" if active else "inactive"
    click.echo(f"{switched} users are {state} now; {len(set(names)) - switched} were before.")


def user_ids(connection: Any, names: Sequence[str]) -> list[str]:
    """Return the ids of registered users that are named by id or pseudonym.

    Args:
        connection: open.
        names: as typed.

    Raises:
        Refusal: a name belongs to no registered user.
    """
    from resources.database.users.registry import Registry

    found = Registry(connection).find(names)
    if unknown := [name for name, user_id in found.items() if user_id is None]:
        raise Refusal(f"not registered: {', '.join(unknown)}. Import them first: asleep-sync users import FILE")
    return [user_id for user_id in found.values() if user_id is not None]


def _csv(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


_ERASURES_HEADER = ["user_pseudonym", "reason", "erased_at"]


@click.group()
def erasures() -> None:
    """Export or apply the record of erasures."""


@erasures.command("export")
def export() -> None:
    """Print the record of erasures as CSV. It contains pseudonyms, not ids.

    \b
    Example, after each backup and before each restore:
      asleep-sync erasures export > erasures.csv
    """
    from resources.database.users.erase import Erasures

    with open_database().engine.connect() as connection:
        found = Erasures(connection).record()
    rows = ((row.user_pseudonym, row.reason, row.erased_at.isoformat()) for row in found)
    click.echo(_csv(_ERASURES_HEADER, rows), nl=False)


@erasures.command("apply")
@click.argument("file", type=click.File("r", encoding="utf-8"))
def apply(file: Any) -> None:
    """Repeat recorded erasures in a restored database.

    FILE is what `erasures export` of the same installation printed. Applying it twice changes nothing.

    \b
    Example, after a restore:
      asleep-sync erasures apply erasures.csv
    """
    from resources.database.users.erase import REASONS, Erasure, Erasures

    try:
        header, *rows = csv.reader(file)
        recorded = [Erasure(name, reason, datetime.fromisoformat(moment)) for name, reason, moment in rows]
    except (ValueError, csv.Error):
        header, recorded = [], []
    if header != _ERASURES_HEADER or not all(row.reason in REASONS and row.erased_at.tzinfo for row in recorded):
        raise Refusal(
            f"this record of erasures cannot be read: its first line must be {','.join(_ERASURES_HEADER)}, its text "
            "UTF-8, and each row whole. Nothing was erased."
        )
    with open_database().engine.begin() as connection:
        erased = Erasures(connection).apply(recorded)
    click.echo(f"{len(recorded)} erasures on record, {erased} users erased now.")
