"""What `asleep-sync status` shows: a table for each question an operator asks, and whether anything needs attention."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from sqlalchemy import Connection, Engine, Select, func, literal_column, select, table

from pipelines.cli.common import make_console, print_table
from pipelines.settings import Settings
from resources.contract.drift import check_stored
from resources.database.schema import tables
from resources.database.schema.metadata import SCHEMA
from resources.database.service.inbox import Inbox
from resources.database.service.outbox import Outbox
from resources.database.service.queue import QueueCounts
from resources.database.sync.run_health import (
    FIRST_SYNC_WITHIN,
    Missing,
    StalledRun,
    StoppedRun,
    overdue_users,
    read_missing_data,
    stalled_runs,
    stopped_runs,
)
from resources.rate_limit.shared_row import key_id_of
from resources.rate_limit.table import read_state

SESSIONS_CHECKED = 100
"""Newest raw results held against the API's contract: about 50 ms."""
_COUNTED = (tables.users, tables.sleep_sessions, tables.session_payloads, tables.monthly_averages)
_FRESHNESS: Select[Any] = select(literal_column("*")).select_from(table("data_freshness", schema=SCHEMA))


def show_status(engine: Engine, settings: Settings) -> bool:
    """Print database and account, counts, freshness, failures and the rate in force.

    Args:
        engine: the database.
        settings: name the account.

    Returns:
        True when data are missing, the last sync stopped before its end, a run does not move, or a new user was not
        synced in time.
    """
    console = make_console()
    print_table(("what", "value"), _in_use(engine, settings), "In use", console)
    with engine.connect() as connection:
        print_table(("table", "rows"), _counts(connection), "Stored", console)
        freshness = connection.execute(_FRESHNESS).mappings().one()
        rows = [(name.replace("_", " "), value) for name, value in freshness.items()]
        print_table(("what", "count, or when (UTC)"), rows, "Freshness", console)
        print_table(("what", "value"), _rates(connection), "Rate limit", console)
        inbox = Inbox(connection).count()
        print_table(("what", "value"), _boxes(connection, inbox), "Webhooks and notifications", console)
        drift = [each for each in check_stored(connection, max_sessions=SESSIONS_CHECKED) if each.contradicted]
        waiting, missing = read_missing_data(connection)
        overdue = overdue_users(connection)
    stopped, stalled = stopped_runs(engine), stalled_runs(engine)
    if drift:
        shown = [(each.statement, each.detail or None, each.contradicted) for each in drift]
        print_table(("assumed", "found", "times"), shown, "Contradicts the API's contract, in the last week", console)
    if missing:
        _print_missing(console, waiting, missing)
    elif not stopped and not stalled and not overdue:
        console.print("No data are missing.")
    _print_runs(console, stopped, stalled)
    if inbox.parked:
        console.print(f"{inbox.parked} webhook events were given up: `asleep-sync inbox list`, then `retry` or `drop`.")
    if overdue:
        hours = FIRST_SYNC_WITHIN // timedelta(hours=1)
        console.print(f"{overdue} users were registered more than {hours} hours ago and have not been synced since.")
    if never := freshness["never_synced_users"]:
        console.print(f"{never} users were never synced: `asleep-sync sync` syncs them now, the daily run does later.")
    return bool(missing or stopped or stalled or overdue)


def _print_missing(console: Any, waiting: int, missing: Sequence[Missing]) -> None:
    console.print(f"Missing: {waiting} users or sessions")
    for m in missing:
        several = f"{m.sessions} sessions; " if m.sessions > 1 else ""
        tried = f"attempts: {m.attempts}; since {m.since:%Y-%m-%d %H:%M:%S}"
        console.print(f"  {m.user}, {m.reason} ({several}{tried})", soft_wrap=True)
    console.print(
        "The hourly retry reads these again; `asleep-sync retry` does it now. `asleep-sync users list` names the users "
        "of these pseudonyms.",
        soft_wrap=True,
    )


def _print_runs(console: Any, stopped: Sequence[StoppedRun], stalled: Sequence[StalledRun]) -> None:
    for run in stopped:
        first, last = run.window_start.date(), (run.window_end - timedelta(microseconds=1)).date()
        console.print(
            f"The sync that began at {run.started_at:%Y-%m-%d %H:%M:%S} stopped before its end (run {run.run_id}). "
            f"Data of its days may be missing until this ends: `asleep-sync sync --from {first} --to {last}`.",
            soft_wrap=True,
        )
    for each in stalled:
        console.print(
            f"Run {each.run_id} of {each.job} is {each.status}, without an event since {each.moved_at:%Y-%m-%d %H:%M}. "
            "Check that the daemon runs, and with Celery a worker; then terminate it in the UI and launch it again.",
            soft_wrap=True,
        )


def _in_use(engine: Engine, settings: Settings) -> list[tuple[Any, ...]]:
    """Which database and which account, without passwords and keys."""
    url = engine.url
    place = f"{url.host or url.query.get('host', 'local socket')}:{url.port or 5432}"
    key = settings.calling_key
    return [
        ("database", f"{url.database} at {place}, as {url.username or 'the system user'}"),
        ("Asleep API", settings.asleep_base_url),
        ("API key", f"{key_id_of(key)} (first digits of its SHA-256)" if key else "ASLEEP_API_KEY is not set"),
        ("environment", settings.environment),
    ]


def _counts(connection: Connection) -> list[tuple[Any, ...]]:
    return [(t.name, connection.scalar(select(func.count()).select_from(t))) for t in _COUNTED]


def _rates(connection: Connection) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = []
    for state in read_state(connection):
        rows.extend((name.replace("_", " "), value) for name, value in state.items() if name != "key_id")
    return rows or [("requests a second", "none made yet")]


def _boxes(connection: Connection, inbox: QueueCounts) -> list[tuple[Any, ...]]:
    outbox, is_on = Outbox(connection).count(), Outbox(connection).is_on()
    rows: list[tuple[Any, ...]] = [
        ("events waiting", inbox.waiting),
        ("oldest waiting event, seconds", round(inbox.oldest_seconds)),
        ("events given up", inbox.parked),
        ("notifications", f"{outbox.waiting} waiting, {outbox.parked} given up" if is_on else "off"),
    ]
    rows.extend((f"event {e.event_id}, {e.attempts} attempts", e.error) for e in Inbox(connection).parked(limit=5))
    return rows
