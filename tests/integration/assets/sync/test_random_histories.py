"""Random sequences of faults and changes, by seed: no difference from the source without a record, and none that stays.

`pytest -k "history and 123"` repeats one history; its steps are shown when it fails.
"""

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from assets.sync.sync_batch import Mode
from resources.asleep.errors import Rejected
from tests.integration.assets.sync.conftest import World
from tests.integration.assets.sync.random_histories import DAYS, History, let_hours_pass, nights_that_differ
from tests.truth import Difference, all_differences

FAULTS = (
    *("status_500", "status_503", "reset", "truncated", "not_json", "html_200", "throttle_storm"),
    *("interim", "late_body", "second_response", "long_content_length", "negative_chunk"),
    *("duplicate_rows", "insert_between_pages", "delete_between_pages", "page_cap", "changing_page_cap"),
    *("missing_user", "missing_session", "empty_list", "all_missing", "damaged_stages", "broken_session"),
)
FEW = tuple(range(6))
MANY = tuple(range(6, 306))
HOURS_UNTIL_BELIEVED = 21
"""More than the 20 hours after which a second negative answer counts."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.long) for seed in MANY)])
def test_a_random_history_leaves_no_difference_without_a_record(new_world: Callable[..., World], seed: int):
    """After each sync every difference is on record; after quiet ones there is none, and nothing is on record."""
    world = new_world()
    world = World(world.api, world.engine, datetime.now(UTC).date())
    history = History.begin(seed, world.api.ask, world.register)
    try:
        for _ in range(history.dice.randrange(3, 6)):
            history.step(history.dice.randrange(5))
            history.faults(FAULTS)
            sync_and_compare(world, history)
        settle(world, history)
    except Exception as problem:
        problem.add_note("\n".join(history.told))
        raise


def sync_and_compare(world: World, history: History) -> None:
    """One run while the API has faults: what it does not get right is on record."""
    mode = history.dice.choice((Mode.LIST, Mode.LIST, Mode.LIST, Mode.RECONCILE))
    days = history.dice.choice((3, DAYS + 2, DAYS + 2))
    workers = history.dice.choice((1, 1, 8))
    history.told.append(f"sync {mode} {days} days, {workers} workers")
    try:
        world.sync(days=days, mode=mode, workers=workers)
    except Rejected as refusal:
        history.told.append(f"  refused: {refusal.kind}")
        return
    first = world.today - timedelta(days=days - 1)
    unexplained = [each for each in found(world, days) if not explained(each, mode, first, world, history)]
    assert not unexplained, unexplained[:20]
    if mode is Mode.RECONCILE and days > DAYS:
        suspected = world.rows("SELECT user_id FROM asleep.users WHERE not_found_since IS NOT NULL")
        open_users = {row.user_id for row in (*missing(world), *suspected)}
        history.reanalysed = {each for each in history.reanalysed if history.sessions[each] in open_users}


def settle(world: World, history: History) -> None:
    """Without faults everything is found, mended and believed within three days; then nothing is on record."""
    history.quiet()
    history.show_all()
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
        or session_id in history.reanalysed | history.hidden
        or (kind != "missing" and session_id[:8] < f"{first:%Y%m%d}")  # before the window
        or (kind == "missing" and history.lists_were_cut and is_new(difference, world))
        or (history.lists_were_ever_cut and difference.what.startswith("last_received_seq_num"))
        or (kind == "wrong" and history.damaged)
        # A reconciliation looks at analysed sessions only.
        or (mode is Mode.RECONCILE and (session_id in history.running or "not analysed" in difference.what))
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


def is_new(difference: Difference, world: World) -> bool:
    """Whether the tables never had the session."""
    query = "SELECT FROM asleep.sleep_sessions WHERE session_id = :session_id"
    return not world.rows(query, session_id=difference.session_id)
