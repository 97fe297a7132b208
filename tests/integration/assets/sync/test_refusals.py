"""The account is refused in the middle of a run: stop at once, keep what landed, say which it was."""

import dagster as dg
import pytest

from assets.ops.batches import SyncOptions
from assets.sleep_sessions import sleep_sessions
from assets.users import users
from resources.asleep.errors import KeyRejected, PlanExpired, QuotaExceeded
from resources.database.resource import Database
from tests.integration.assets.sync.conftest import HASTY, Syncing

REFUSALS = {"key_revoked": KeyRejected, "quota": QuotaExceeded, "plan": PlanExpired}


@pytest.mark.parametrize("kind", REFUSALS)
def test_a_refusal_in_mid_run_stops_it_keeps_what_landed_and_the_next_run_fetches_the_rest(world, kind):
    """A spent quota must not be asked for again and again, nor cost what was already paid for."""
    for _ in range(6):
        world.add_user(nights=10)
    world.faults({"kind": kind, "after": 30})
    with pytest.raises(REFUSALS[kind]):
        world.sync(workers=4)
    refused = world.api.ask("stats")

    stored = world.rows("SELECT count(*) AS n FROM asleep.sleep_sessions")[0].n
    assert stored >= 30 - 6 - 8
    assert refused["total"] <= 30 + 4, "one question a thread may be under way"
    world.faults()
    world.api.reset()
    counts = world.sync()
    assert counts["sessions_inserted"] == 60 - stored
    assert world.api.requests()["read_session"] == 60 - stored
    assert world.wrong() == []
    assert world.missing_data() == []


def test_after_a_refusal_no_other_batch_of_the_run_sends_a_request(world):
    """Twenty batches must not knock twenty times at a door that was shut."""
    for _ in range(12):
        world.add_user(nights=2)
    world.faults({"kind": "key_revoked", "after": 5})
    url = world.engine.url.render_as_string(hide_password=False)
    definitions = dg.Definitions(
        assets=[users, sleep_sessions],
        jobs=[dg.define_asset_job("sync", selection=dg.AssetSelection.assets("users", "sleep_sessions"))],
        resources={
            "asleep_api": Syncing(world.engine, world.api.url).api(retry_policy=HASTY, max_connections=1),
            "database": Database(lambda: url),
            "sync_options": SyncOptions(user_batch_size=1, cache_ttl_seconds=0, detail="full"),
        },
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = definitions.resolve_job_def("sync").execute_in_process(
            instance=instance,
            raise_on_error=False,
            tags={
                "dagster/asset_partition_range_start": "2026-11-16",
                "dagster/asset_partition_range_end": "2026-11-22",
            },
        )
    assert not result.success
    assert world.api.ask("stats")["total"] == 6
