"""`asleep-sync inbox`, `notifications` and `cache`: an operator's commands for waiting and given-up items."""

from collections.abc import Callable
from typing import Any

import click

from pipelines.cli.common import Refusal, id_of_user, open_database, print_table
from pipelines.cli.users import user_ids

Numbers = tuple[int, ...]
LIMIT = click.option(
    "--limit", default=100, show_default=True, type=click.IntRange(1, 10_000), help="How many to show."
)
ALL = click.option("--all", "everything", is_flag=True, help="All that were given up.")


@click.group()
def inbox() -> None:
    """Manage webhook events that were given up.

    An event is given up after five failed attempts.
    """


@inbox.command("list")
@LIMIT
def list_events(limit: int) -> None:
    """List the events that were given up.

    Also shows how many events wait. Exit code 1 if any was given up.
    """
    from resources.database.service.inbox import Inbox

    with open_database().engine.connect() as connection:
        counts, parked = Inbox(connection).count(), Inbox(connection).parked(limit)
    click.echo(f"{counts.waiting} events wait, {counts.parked} were given up.")
    if parked:
        print_table(("event", "received (UTC)", "given up (UTC)", "attempts", "why"), parked)
        click.echo("`asleep-sync inbox retry` tries them again, `asleep-sync inbox drop` deletes them.")
        raise click.exceptions.Exit(1)


@inbox.command("retry")
@click.argument("numbers", nargs=-1, type=int, metavar="[EVENT…]")
@ALL
def retry_events(numbers: Numbers, everything: bool) -> None:
    """Give events five more attempts.

    EVENT is a number from `inbox list`.

    \b
    Examples:
      asleep-sync inbox retry 412 413
      asleep-sync inbox retry --all
    """
    from resources.database.service.inbox import Inbox

    found = _change(lambda connection, ids: Inbox(connection).requeue_parked(ids), numbers, everything=everything)
    click.echo(f"{found} events wait again; the sensor webhook_inbox starts a run within seconds.")


@inbox.command("drop")
@click.argument("numbers", nargs=-1, type=int, metavar="[EVENT…]")
@ALL
@click.option("--yes", is_flag=True, help="Do not ask for confirmation.")
def drop_events(numbers: Numbers, everything: bool, yes: bool) -> None:
    """Delete events that were given up.

    The next sync still fetches their sessions if their users are registered.

    \b
    Example:
      asleep-sync inbox drop 412
    """
    from resources.database.service.inbox import Inbox

    if not yes and (numbers or everything):
        click.confirm("These events will be deleted and cannot be restored. Continue?", abort=True)
    found = _change(lambda connection, ids: Inbox(connection).drop_parked(ids), numbers, everything=everything)
    click.echo(f"{found} events deleted.")


@click.group()
def notifications() -> None:
    """Manage undelivered notifications.

    These are notifications of finished sessions that NOTIFY_URL did not accept.
    """


@notifications.command("list")
@LIMIT
def list_notifications(limit: int) -> None:
    """List undelivered notifications.

    Also shows how many wait and how many were given up. Exit code 1 if any was given up.
    """
    from rich.table import Column

    from resources.database.service.outbox import Outbox

    with open_database().engine.connect() as connection:
        counts, undelivered = Outbox(connection).count(), Outbox(connection).undelivered(limit)
        are_on = Outbox(connection).is_on()
    state = "on" if are_on else "off: NOTIFY_URL is not set, or the service has not started with it"
    click.echo(f"Notifications are {state}. {counts.waiting} wait, {counts.parked} were given up.")
    if undelivered:
        rows = [
            (n.notification_id, n.user, n.became_final_at, n.attempts, "given up" if n.parked_at else "waits", n.error)
            for n in undelivered
        ]
        print_table(("notification", Column("user", no_wrap=True), "finished (UTC)", "attempts", "state", "why"), rows)
    if counts.parked:
        click.echo("`asleep-sync notifications retry` tries those given up again.")
        raise click.exceptions.Exit(1)


@notifications.command("retry")
@click.argument("numbers", nargs=-1, type=int, metavar="[NOTIFICATION…]")
@ALL
def retry_notifications(numbers: Numbers, everything: bool) -> None:
    """Deliver notifications that were given up.

    NOTIFICATION is a number from `notifications list`.

    \b
    Example:
      asleep-sync notifications retry --all
    """
    from resources.database.service.outbox import Outbox

    found = _change(lambda connection, ids: Outbox(connection).requeue_parked(ids), numbers, everything=everything)
    click.echo(f"{found} notifications wait again; the service delivers them within seconds.")


@click.group()
def cache() -> None:
    """Manage the cache of lists.

    A user who was listed within CACHE_TTL_SECONDS is not listed again.
    """


@cache.command("clear")
@click.option(
    "--user", "names", type=id_of_user, multiple=True, metavar="USER", help="Only this user; may be repeated."
)
def clear_cache(names: tuple[str, ...]) -> None:
    """Make the next sync list every user again.

    No session is deleted; unchanged sessions are not read again.

    \b
    Examples:
      asleep-sync cache clear
      asleep-sync cache clear --user G-20260301091502-AbCdEfGhIjKlMnOpQrSt
    """
    from resources.database.sync.sync_state import SyncState
    from resources.database.users.registry import Registry

    with open_database().engine.begin() as connection:
        wanted = user_ids(connection, names) if names else list(Registry(connection).presence())
        expired = SyncState(connection).expire_lists(wanted)
    click.echo(f"The lists of {expired} users are read again by the next sync.")


def _change(change: Callable[[Any, list[int] | None], int], numbers: Numbers, *, everything: bool) -> int:
    """Change what was given up: all of these numbers (None: whatever was given up), or nothing; returns how many."""
    if everything == bool(numbers):
        raise Refusal("name numbers, as `list` shows them, or --all.")
    wanted = None if everything else sorted(set(numbers))
    with open_database().engine.begin() as connection:
        found = change(connection, wanted)
        if wanted is not None and found < len(wanted):
            unknown = f"{len(wanted) - found} of {len(wanted)} numbers"
            raise Refusal(f"{unknown} were not given up. Nothing was changed: `list` shows those that were.")
    return found
