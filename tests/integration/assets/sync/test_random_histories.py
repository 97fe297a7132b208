"""Random sequences of faults and changes, by seed: no difference from the source without a record, and none that stays.

`pytest -k "history and 123"` repeats one history; its steps are shown when it fails.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from assets.sync.sync_batch import Mode
from resources.asleep.errors import Rejected
from tests.integration.assets.sync.conftest import World
from tests.integration.assets.sync.random_histories import DAYS, History, let_hours_pass
from tests.truth import Difference, all_differences

FAULTS = (
    *("status_500", "status_503", "reset", "truncated", "not_json", "html_200", "throttle_storm"),
    *("interim", "late_body", "second_response", "long_content_length", "negative_chunk"),
    *("duplicate_rows", "insert_between_pages", "delete_between_pages", "page_cap", "changing_page_cap"),
    *("missing_user", "missing_session", "empty_list", "all_missing", "damaged_stages", "broken_session"),
)
FEW = tuple(range(6))
MANY = tuple(range(6, 306))
NOT_YET = frozenset(
    {"missing_user", "all_missing", "empty_list", "damaged_stages", "page_cap", "changing_page_cap"}
    | {"tracks", "average_ratios", "last_received_seq_num"}
)
"""Faults, kinds of re-analysis, choices and columns of which a difference still stays without a record."""
HOURS_UNTIL_BELIEVED = 21
"""More than the 20 hours after which a second negative answer counts."""


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.long) for seed in MANY)])
def test_a_random_history_leaves_no_difference_without_a_record(new_world: Callable[..., World], seed: int):
    """After each sync every difference is on record; after quiet ones there is none, and nothing is on record."""
    world = new_world()
    world = World(world.api, world.engine, datetime.now(UTC).date())
    history = History.begin(seed, world.api.ask, world.register, without=NOT_YET)
    try:
        for _ in range(history.dice.randrange(3, 6)):
            history.step(history.dice.randrange(5))
            history.faults(set(FAULTS) - NOT_YET)
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
    unexplained = [each for each in found(world, days) if not explained(each, mode, world, history)]
    assert not unexplained, unexplained[:20]
    if mode is Mode.RECONCILE and days > DAYS:
        open_users = {row.user_id for row in missing(world)}
        history.reanalysed = {each for each in history.reanalysed if history.sessions[each] in open_users}


def settle(world: World, history: History) -> None:
    """Without faults everything is found, mended and believed within three days; then nothing is on record."""
    history.quiet()
    history.show_all()
    for mode in (Mode.LIST, Mode.RECONCILE, Mode.LIST, Mode.RECONCILE, Mode.LIST):
        history.told.append(f"quiet {mode}")
        world.sync(days=DAYS + 2, mode=mode, failed_only=False)
        let_hours_pass(world.engine, HOURS_UNTIL_BELIEVED)
    assert [each for each in found(world, DAYS + 2) if each.what.partition(":")[0] not in NOT_YET] == []
    assert [(row.user_id, row.session_id, row.kind, row.message) for row in missing(world)] == []
    assert world.averages() == world.averages_from_nothing()
    world.api.reset()
    counts = world.sync(days=DAYS + 2)
    assert counts["sessions_inserted"] == counts["sessions_updated"] == counts["sessions_deleted"] == 0


def found(world: World, days: int) -> list[Difference]:
    """Every difference between the tables and the source in the last days."""
    truth = {"users": [world.api.ask(f"truth?user={user_id}")["users"][0] for user_id in world.users]}
    first = world.today.toordinal() - days + 1
    return all_differences(world.engine, truth, datetime.fromordinal(first).date(), world.today)


def missing(world: World) -> list[Any]:
    return world.rows("SELECT * FROM asleep.missing_data")


def explained(difference: Difference, mode: Mode, world: World, history: History) -> bool:
    """Whether a difference is on record, or of a kind that this run could not see."""
    if difference.what.partition(":")[0] in NOT_YET:
        return True
    on_record = {(row.user_id, row.session_id) for row in missing(world)}
    if (difference.user_id, None) in on_record or (difference.user_id, difference.session_id) in on_record:
        return True
    if difference.session_id in history.reanalysed or difference.session_id in history.hidden:
        return True
    if history.damaged and difference.kind == "wrong":
        return True
    if mode is Mode.RECONCILE:  # it looks at analysed sessions only
        return difference.kind != "wrong" and "not analysed" in difference.what
    return False
