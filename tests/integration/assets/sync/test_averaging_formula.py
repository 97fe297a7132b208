"""Reconciliation raises no false alarm, whichever formula the API follows, and fails on what does differ."""

import dagster as dg
import pytest

from assets.average_stats_reconciliation import average_stats_reconciliation
from assets.ops.batches import SyncOptions
from assets.ops.recomputed_metrics import MetricsOptions
from assets.sync.sync_batch import Mode
from resources.asleep.resource import AsleepApi
from resources.database.resource import Database


@pytest.mark.parametrize(("ratios", "formula"), [("of_sums", "ratio_of_sums"), ("mean", "mean_of_nights")])
def test_the_formula_that_the_api_follows_is_recognised(new_world, ratios, formula):
    """The contract leaves it open: with the other one, most users would disagree for ever."""
    world = new_world("--users", "10", "--days", "30", "--average-ratios", ratios)
    world.sync()
    counts = world.sync(mode=Mode.RECONCILE)

    assert counts["failures"] == 0
    assert world.missing_data() == []
    [counted] = [name for name in counts if name.startswith("users_averaged_by_")]
    assert counted == f"users_averaged_by_{formula}"
    assert counts[counted] >= 5


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
