"""Reconciliation raises no false alarm, whichever formula the API follows, and fails on what does differ."""

import dagster as dg
import pytest

from assets.average_stats_reconciliation import average_stats_reconciliation
from assets.ops.batches import SyncOptions
from assets.ops.targeted_sync import MetricsOptions
from assets.sync.sync_batch import Mode
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database
from resources.database.schema.session_columns import RATIOS


@pytest.mark.parametrize(("ratios", "formula"), [("of_sums", "ratio_of_sums"), ("mean", "mean_of_nights")])
def test_the_formula_that_the_api_follows_is_recognised(new_world, ratios, formula):
    """The contract leaves it open: with the other one, most users would disagree for ever."""
    world = new_world("--users", "10", "--days", "30", "--average-ratios", ratios)
    world.sync()
    counts = world.sync(mode=Mode.RECONCILE)

    assert counts["failures"] == 0
    assert world.missing_data() == []
    assert world.rows("SELECT averaging_formula FROM asleep.api_accounts")[0].averaging_formula == formula


def test_an_account_follows_one_formula(new_world):
    """A user whose averages fit the other formula only disagrees: in the run that learns the formula, and later."""
    world = new_world("--users", "8", "--days", "30")
    world.sync()
    one = world.add_user()
    for number in range(4):
        world.add_nights(one, world.ago(2 + number), epochs=200 + 150 * number, night_id=f"dodh-00{number + 1}")
    world.sync()
    for learns in (True, False):
        averages = averages_by_nights(world, one)
        world.faults({"kind": "wrong_types", "endpoint": "average_stats", "user": one, "changes": averages})
        counts = world.sync(mode=Mode.RECONCILE)
        assert counts["failures"] == 1
        [disagreement] = world.missing_data()
        assert (disagreement.user_id, disagreement.kind) == (one, "disagrees")
        assert ("mean_of_nights only" in disagreement.message) is learns
    world.faults()
    assert world.sync(mode=Mode.RECONCILE)["failures"] == 0


def averages_by_nights(world, user):
    """The changes to the API's averages of a user that make of each ratio the mean of the nights."""
    means = ", ".join(f"avg({name}) AS {name}" for name, _, _ in RATIOS)
    [row] = world.rows(f"SELECT {means} FROM asleep.sleep_sessions WHERE user_id = :user AND slept", user=user)
    return {f"average_stats.{name}": value and round(float(value), 3) for name, value in row._asdict().items()}


def test_reconcile_fails_on_what_differs_and_leaves_no_month_stale(world, instance):
    """A run that found a difference must not be green; what it read again is in the averages when it ends."""
    world.add_user(nights=4)
    world.sync()
    world.sync(mode=Mode.RECONCILE)
    world.averages()
    changes = {"slept_sessions.0.time_in_sleep": 17}
    world.faults({"kind": "wrong_types", "endpoint": "average_stats", "changes": changes})
    session = world.rows("SELECT session_id FROM asleep.sleep_sessions ORDER BY session_start_time")[1].session_id
    world.api.ask(f"sessions/{session}/reanalyse", {"changes": "tracks"})
    url = world.engine.url.render_as_string(hide_password=False)
    resources = {
        "asleep_api": AsleepApi(world.api.url, "simulated-key", 1000.0, 4, 10.0),
        "database": Database(lambda: url),
        "sync_options": SyncOptions(user_batch_size=500, cache_ttl_seconds=0, detail="full"),
        "metrics_options": MetricsOptions(free_days=frozenset({6, 7})),
    }
    config = {"ops": {"average_stats_reconciliation": {"config": {"last_day": world.today.isoformat(), "days": 30}}}}
    result = dg.materialize(
        [average_stats_reconciliation],
        resources=resources,
        instance=instance,
        run_config=config,
        raise_on_error=False,
    )

    assert not result.success
    assert [row.kind for row in world.missing_data()] == ["disagrees"]
    assert world.rows("SELECT FROM asleep.stale_months") == []
    assert world.averages() == world.averages_from_nothing()
