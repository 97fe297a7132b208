"""An operator's verbs: what SQL by hand would do, with a line that says what was done."""

import csv
import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from resources.database.service.inbox import FailedEvent, Inbox, IncomingEvent
from resources.database.users.registry import Registry
from resources.pseudonyms import pseudonym
from tests.conftest import ROOT, Simulator
from tests.integration.pipelines.cli.conftest import Type

USERS = ("G-1", "G-2", "G-3")


@pytest.fixture(autouse=True)
def three_users(engine: Engine) -> Iterator[None]:
    with engine.begin() as connection:
        Registry(connection).add([(user_id, None) for user_id in USERS])
    yield
    with engine.begin() as connection:
        connection.execute(
            text(
                "TRUNCATE asleep.users, asleep.sync_ledger, asleep.sync_failures, asleep.webhook_events, "
                "asleep.notifications, asleep.sleep_sessions CASCADE"
            )
        )


def _one(engine: Engine, query: str) -> object:
    with engine.connect() as connection:
        return connection.scalar(text(query))


def test_the_list_of_users_can_be_imported_again_and_is_private(typed: Type):
    """A registry moves to another machine as one file, which holds ids."""
    result = typed("users", "list", "--out", "users.csv")

    assert result.exit_code == 0
    assert Path("users.csv").stat().st_mode & 0o077 == 0
    rows = list(csv.DictReader(io.StringIO(Path("users.csv").read_text("utf-8"))))
    assert [(row["user_id"], row["pseudonym"]) for row in rows] == [(user, pseudonym(user)) for user in USERS]
    again = typed("users", "import", "users.csv")
    assert again.output == "3 users: 0 new, 0 updated, 3 unchanged.\n"


def test_a_user_is_switched_off_and_on_by_id_or_pseudonym(typed: Type, engine: Engine):
    """Logs and runs show pseudonyms, so the verbs take them."""
    off = typed("users", "deactivate", pseudonym("G-1"), "G-2")

    assert off.output == "2 users are inactive now; 0 were before.\n"
    assert _one(engine, "SELECT array_agg(user_id) FROM asleep.users WHERE active") == ["G-3"]
    on = typed("users", "activate", "G-1", "G-2", "G-3")
    assert on.output == "2 users are active now; 1 were before.\n"
    assert _one(engine, "SELECT count(*) FROM asleep.users WHERE active") == 3


def test_an_unknown_user_changes_no_other(typed: Type, engine: Engine):
    """A typing error in a list of users must not switch half of them off."""
    result = typed("users", "deactivate", "G-1", "G-9")

    assert result.exit_code == 2
    assert "not registered: G-9" in result.output
    assert _one(engine, "SELECT count(*) FROM asleep.users WHERE active") == 3


@pytest.fixture
def parked(engine: Engine) -> list[int]:
    """Two events that were given up, each counted as missing data."""
    with engine.begin() as connection:
        Inbox(connection).put([IncomingEvent(b'{"a":1}', {}), IncomingEvent(b'{"a":2}', {})])
        taken = [event.event_id for event in Inbox(connection).take(10)]
        Inbox(connection).mark_failed([FailedEvent(taken[0], "no session", is_hopeless=True)])
        Inbox(connection).mark_failed([FailedEvent(taken[1], "no user", "G-1", is_hopeless=True)])
    return taken


@pytest.mark.usefixtures("parked")
def test_events_given_up_are_shown_with_the_reason(typed: Type):
    """And the exit code tells a monitor."""
    result = typed("inbox", "list")

    assert result.exit_code == 1
    assert "0 events wait, 2 were given up." in result.output
    assert "no session" in result.output


@pytest.mark.parametrize(("verb", "events"), [("retry", 2), ("drop", 1)])
def test_an_event_is_tried_again_or_deleted_and_no_longer_missing(
    typed: Type, engine: Engine, parked: list[int], verb: str, events: int
):
    """Without the second part a run would stay red for an event that somebody has dealt with."""
    result = typed("inbox", verb, str(parked[1]), *(["--yes"] if verb == "drop" else []))

    assert result.exit_code == 0, result.output
    assert _one(engine, "SELECT count(*) FROM asleep.webhook_events") == events
    assert _one(engine, "SELECT count(*) FROM asleep.missing_data") == 1
    assert typed("inbox", verb, "--all", *(["--yes"] if verb == "drop" else [])).exit_code == 0
    assert _one(engine, "SELECT count(*) FROM asleep.missing_data") == 0
    assert typed("inbox", "list").exit_code == 0


@pytest.mark.usefixtures("parked")
@pytest.mark.parametrize("arguments", [("inbox", "retry"), ("notifications", "retry"), ("inbox", "drop", "--yes")])
def test_a_verb_without_numbers_does_not_take_all(typed: Type, engine: Engine, arguments: tuple):
    """`--all` has to be typed."""
    assert typed(*arguments).exit_code == 2
    assert _one(engine, "SELECT count(*) FROM asleep.webhook_events WHERE processed_at IS NOT NULL") == 2


def test_a_number_that_is_not_given_up_is_refused(typed: Type, parked: list[int], engine: Engine):
    """All or nothing, so that the count printed is the count typed."""
    result = typed("inbox", "retry", str(parked[0]), "99999")

    assert result.exit_code == 2
    assert _one(engine, "SELECT count(*) FROM asleep.webhook_events WHERE processed_at IS NOT NULL") == 2


def test_notifications_given_up_are_shown_and_sent_again(typed: Type, engine: Engine):
    """By pseudonym, for the list is pasted into tickets."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.notifications (session_id, user_id, parked_at, error) "
                "VALUES ('s', 'G-1', now(), 'HTTP 500')"
            )
        )
    shown = typed("notifications", "list")

    assert shown.exit_code == 1
    assert "HTTP 500" in shown.output
    assert "G-1" not in shown.output
    assert typed("notifications", "retry", "--all").output.startswith("1 notifications wait again")
    assert typed("notifications", "list").exit_code == 0


@pytest.fixture
def account(
    simulate: Callable[..., AbstractContextManager[Simulator]], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Simulator]:
    """The simulated API, with its two users registered in place of the others."""
    with simulate("--users", "2", "--days", "10", "--ordinary-only") as api:
        monkeypatch.setenv("ASLEEP_API_KEY", "simulated-key")
        monkeypatch.setenv("ASLEEP_BASE_URL", api.url)
        monkeypatch.setenv("ASLEEP_REQUESTS_PER_SECOND", "1000")
        with engine.begin() as connection:
            connection.execute(text("TRUNCATE asleep.users CASCADE"))
            Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
        yield api


def test_a_repeated_sync_reports_skipped_users_first_and_refresh_lists_them(typed: Type, account: Simulator):
    """Otherwise "0 requests" reads as a broken sync."""
    first = typed("sync")
    assert first.exit_code == 0, first.output
    skipped = typed("sync")
    account.reset()
    refreshed = typed("sync", "--refresh")

    assert skipped.output.startswith("2 of 2 users were skipped")
    assert "--refresh" in skipped.output
    assert "requests  0 " in skipped.output
    assert refreshed.output.startswith("Window")
    assert account.requests()["list_sessions"] >= 2


def test_a_cleared_cache_lists_the_user_again(typed: Type, account: Simulator):
    """One user only, when one is named."""
    assert typed("sync").exit_code == 0
    user = account.ask("users")[0]["user_id"]

    cleared = typed("cache", "clear", "--user", pseudonym(user))

    assert cleared.output == "The lists of 1 users are read again by the next sync.\n"
    assert typed("sync").output.startswith("1 of 2 users were skipped")
    assert typed("cache", "clear").output.startswith("The lists of 2 users")


def test_a_sync_of_one_user_counts_its_requests(typed: Type, account: Simulator):
    """It counted none, whatever it asked."""
    account.reset()
    result = typed("sync", "--user", pseudonym(account.ask("users")[0]["user_id"]))

    assert result.exit_code == 0, result.output
    asked = account.requests()
    assert asked["read_session"] > 0
    assert (
        f"requests  {sum(asked.values())} ({asked['list_sessions']} lists, {asked['read_session']} ses" in result.output
    )


def test_what_failed_is_read_by_retry_and_what_is_stored_compared_by_reconcile(typed: Type, account: Simulator):
    """The jobs of the schedules, on demand."""
    account.ask(
        "faults", [{"kind": "html_200", "endpoint": "read_session", "user": account.ask("users")[0]["user_id"]}]
    )
    assert typed("sync").exit_code == 1
    account.ask("faults", method="DELETE")

    retried = typed("retry")
    compared = typed("reconcile", "--days", "8")

    assert retried.exit_code == 0, retried.output
    assert retried.output.startswith("Retry of what failed")
    assert compared.exit_code == 0, compared.output
    assert "Reconciliation of 8 days" in compared.output


def test_the_simulated_users_can_be_imported(typed: Type):
    """`asleep-sync simulate users > users.csv`, unknown time zone included."""
    printed = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", "simulate", "users", "--users", "24"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    Path("users.csv").write_text(printed.stdout, "utf-8")

    imported = typed("users", "import", "users.csv")

    assert imported.exit_code == 0
    assert "24 users: 24 new" in imported.output
