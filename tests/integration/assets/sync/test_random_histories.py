"""Random sequences of faults and changes, by seed: no difference from the source without a record, and none that stays.

`pytest -k "history and 123"` repeats one history; its steps are shown when it fails.
"""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from assets.sync import sync_batch
from assets.sync.sync_batch import Mode
from assets.webhooks.inbox_loop import handle_inbox
from assets.webhooks.process_events import EventHandler
from resources.asleep.errors import Rejected
from resources.database.service.inbox import Inbox, IncomingEvent
from tests.integration.assets.sync.conftest import HASTY, Syncing, World
from tests.integration.assets.sync.random_histories import DAYS, History, let_hours_pass, nights_that_differ
from tests.kills import Killed
from tests.truth import Difference, all_differences

FAULTS = (
    *("status_500", "status_503", "reset", "truncated", "not_json", "html_200", "throttle_storm"),
    *("interim", "late_body", "second_response", "long_content_length", "negative_chunk"),
    *("duplicate_rows", "insert_between_pages", "delete_between_pages", "page_cap", "changing_page_cap"),
    *("missing_user", "missing_session", "empty_list", "all_missing", "damaged_stages", "broken_session"),
)
FEW = tuple(range(4))
MANY = tuple(range(4, 304))
NOT_IN_STATISTICS = (": stored None, true", "the raw result differs", "contract_violations", "stored ['NEVER_SLEPT']")
"""In differences that a session has when it is stored from average-stats alone."""
HOURS_UNTIL_BELIEVED = 21
"""More than the 20 hours after which a second negative answer counts."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.long) for seed in MANY)])
def test_a_random_history_leaves_no_difference_without_a_record(
    new_world: Callable[..., World], seed: int, monkeypatch: pytest.MonkeyPatch
):
    """After each sync every difference is on record; after quiet ones there is none, and nothing is on record."""
    world = new_world()
    world = World(world.api, world.engine, datetime.now(UTC).date())
    history = History.begin(seed, world.api.ask, world.register)
    monkeypatch.setattr(sync_batch, "ROWS_PER_WRITE", history.dice.choice((2, 10, 500)))
    try:
        for _ in range(history.dice.randrange(3, 6)):
            history.step(history.dice.randrange(5))
            history.faults(FAULTS)
            deliver(world, history.arriving())
            sync_and_compare(world, history)
        settle(world, history)
    except Exception as problem:
        problem.add_note("\n".join(history.told))
        raise


def sync_and_compare(world: World, history: History) -> None:
    """One run while the API has faults: what it does not get right is on record."""
    dice = history.dice
    mode = dice.choice((Mode.LIST, Mode.LIST, Mode.LIST, Mode.RECONCILE, Mode.STATISTICS, Mode.FILL))
    days = dice.choice((3, DAYS + 2, DAYS + 2))
    options = {"workers": dice.choice((1, 1, 8)), "die_at_write": dice.choice((None, None, None, 1, 2, 5))}
    batches = dice.choice((1, 1, 3))
    history.told.append(f"sync {mode} {days} days, {batches} batches, {options}")
    try:
        for number in range(batches):
            world.sync(days=days, mode=mode, run_id=f"run {len(history.told)}", number=number, of=batches, **options)
    except Rejected as refusal:
        history.told.append(f"  refused: {refusal.kind}")
        return
    except Killed:
        history.told.append("  killed")
        return
    if mode is Mode.FILL:
        assert [each for each in without_stages(world) if not is_on_record(each, world)] == []
        return
    first = world.today - timedelta(days=days - 1)
    unexplained = [each for each in found(world, days) if not explained(each, mode, first, world, history)]
    assert not unexplained, unexplained[:20]
    if mode is Mode.RECONCILE and days > DAYS:
        suspected = world.rows("SELECT user_id FROM asleep.users WHERE not_found_since IS NOT NULL")
        open_users = {row.user_id for row in (*missing(world), *suspected)}
        history.reanalysed = {each for each in history.reanalysed if history.sessions[each] in open_users}


def deliver(world: World, events: list[tuple[str, bytes]]) -> None:
    """Webhook events arrive and are handled while the API has faults."""
    engine = world.engine
    with engine.begin() as connection:
        Inbox(connection).put([IncomingEvent(body, {"x-user-id": user_id}) for user_id, body in events])
    with suppress(Rejected), Syncing(engine, world.api.url).api(retry_policy=HASTY).client(engine) as client:
        handler = EventHandler(engine, client, "events", workers=4)
        handle_inbox(engine, handler.store, handler.ask, idle_seconds=0)


def without_stages(world: World) -> list[Difference]:
    """Finished sessions that are stored from statistics alone."""
    query = "SELECT * FROM asleep.sleep_sessions WHERE deleted_at IS NULL AND NOT is_final AND state = 'COMPLETE'"
    return [Difference(row.user_id, row.session_id, "wrong", "no stages") for row in world.rows(query)]


def settle(world: World, history: History) -> None:
    """Without faults everything is found, mended and accepted within three days; then nothing is on record."""
    history.quiet()
    history.show_all()
    deliver(world, history.late)
    for mode in (Mode.LIST, Mode.RECONCILE, Mode.LIST, Mode.RECONCILE, Mode.LIST):
        history.told.append(f"quiet {mode}")
        world.sync(days=DAYS + 2, mode=mode, failed_only=False)
        let_hours_pass(world.engine, HOURS_UNTIL_BELIEVED)
    assert found(world, DAYS + 2) == []
    assert [(row.user_id, row.session_id, row.kind, row.message) for row in missing(world)] == []
    assert nights_that_differ(world.engine) == []
    assert world.averages() == world.averages_from_nothing()
    world.api.reset()
    counts = world.sync(days=DAYS + 2)
    assert counts["sessions_inserted"] == counts["sessions_updated"] == counts["sessions_deleted"] == 0


def found(world: World, days: int) -> list[Difference]:
    """Every difference between the tables and the source in the last days."""
    truth = {"users": [world.api.ask(f"truth?user={user_id}")["users"][0] for user_id in world.users]}
    return all_differences(world.engine, truth, world.today - timedelta(days=days - 1), world.today)


def missing(world: World) -> list[Any]:
    return world.rows("SELECT * FROM asleep.missing_data")


def explained(difference: Difference, mode: Mode, first: date, world: World, history: History) -> bool:
    """Whether a difference is on record, or of a kind that this run could not see."""
    kind, session_id = difference.kind, difference.session_id
    return (
        is_on_record(difference, world)
        or is_unverified(session_id, world)
        or (is_from_statistics(session_id, world) and any(each in difference.what for each in NOT_IN_STATISTICS))
        or session_id in history.reanalysed | history.hidden
        or (kind != "missing" and session_id[:8] < f"{first:%Y%m%d}")  # before the window
        or (kind != "wrong" and history.changes_between_pages)
        or (kind == "missing" and history.lists_were_cut and is_new(difference, world))
        or (history.lists_were_ever_cut and difference.what.startswith("last_received_seq_num"))
        or (kind == "wrong" and history.damaged)
        # A reconciliation looks at analysed sessions only, and lists the days of those alone that it reads.
        or (mode is Mode.RECONCILE and (session_id in history.running or "not analysed" in difference.what))
        or (mode is Mode.RECONCILE and difference.what.startswith("last_received_seq_num: stored None"))
    )


def is_on_record(difference: Difference, world: World) -> bool:
    """Missing data, a user who is not found and asked for again, or a deletion that is not confirmed yet."""
    of_user = {row.session_id for row in missing(world) if row.user_id == difference.user_id}
    suspected = world.rows(
        "SELECT FROM asleep.users WHERE user_id = :user_id AND not_found_since IS NOT NULL", user_id=difference.user_id
    )
    unconfirmed = world.rows(
        "SELECT FROM asleep.sleep_sessions WHERE session_id = :session_id AND deleted_at IS NOT NULL "
        "AND deletion_checked_at IS NULL",
        session_id=difference.session_id,
    )
    return None in of_user or difference.session_id in of_user or bool(suspected or unconfirmed)


def is_unverified(session_id: str, world: World) -> bool:
    """Stored from an event alone: the next sync reads it."""
    query = "SELECT FROM asleep.event_only_sessions WHERE session_id = :session_id"
    return bool(world.rows(query, session_id=session_id))


def is_from_statistics(session_id: str, world: World) -> bool:
    """Stored from average-stats, without stages."""
    query = "SELECT FROM asleep.sleep_sessions WHERE session_id = :session_id AND payload_hash IS NULL"
    return bool(world.rows(query, session_id=session_id))


def is_new(difference: Difference, world: World) -> bool:
    """Whether the tables never had the session."""
    query = "SELECT FROM asleep.sleep_sessions WHERE session_id = :session_id"
    return not world.rows(query, session_id=difference.session_id)
