"""Behind a gateway that does everything wrong: no session under another user, nothing called synced that is not."""

import logging
import ssl
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from assets.sync.sync_batch import Mode
from resources.asleep.errors import OnlyInterimResponses
from resources.asleep.transport import MAX_INTERIM_IN_A_ROW, RetryPolicy
from tests.adversary import Gateway, forwarding_to, whole
from tests.bad_server import Request, Server, Wire
from tests.integration.assets.sync.conftest import Syncing, World
from tests.truth import all_differences

logger = logging.getLogger(__name__)

HASTY = RetryPolicy(total_seconds=20, first_pause_seconds=0.001, longest_pause_seconds=0.002)
DAYS = 30


NOT_CONFIRMED = "The end of the list could not be confirmed"


def failures_of(world: World) -> set[str]:
    """Users with a failure on record; but for a list that was read and whose end one more request should confirm."""
    return {row.user_id for row in world.missing_data() if not row.message.startswith(NOT_CONFIRMED)}


def check(world: World, mode: Mode, synced: set[str], first: date) -> None:
    """What must hold after any sync, however it went."""
    truth = world.api.ask("truth")
    owners = {s["result"]["session"]["id"]: user["user_id"] for user in truth["users"] for s in user["sessions"]}
    stored = {
        row.session_id: row.user_id for row in world.rows("SELECT session_id, user_id FROM asleep.sleep_sessions")
    }
    assert {i: user_id for i, user_id in stored.items() if owners.get(i) != user_id} == {}
    assert synced.isdisjoint(failures_of(world))
    recorded = {row.user_id for row in world.missing_data()}
    assert synced | recorded == set(world.users), "a user is neither synced nor on record as failed"
    truth["users"] = [user for user in truth["users"] if user["user_id"] in synced]
    if mode is Mode.LIST:
        found = [each for each in all_differences(world.engine, truth, first, world.today) if each.user_id in synced]
        assert found == []
        return
    analysed = {
        session["result"]["session"]["id"]
        for user in truth["users"]
        for session in user["sessions"]
        if session["result"]["stat"] and session["result"]["session"]["state"] == "COMPLETE"
        if session["result"]["session"]["start_time"][:10] >= (first + timedelta(days=1)).isoformat()
    }
    assert analysed <= stored.keys()


def run(world: World, mode: Mode, server: Server, gateway: Gateway, *, requests: int, **options: Any) -> None:
    sync = Syncing(world.engine, server.url)
    first = world.today - timedelta(days=DAYS - 1)
    rounds = 0
    while len(server.requests) < requests:
        rounds += 1
        if rounds > 1:  # so that all is read again
            with world.engine.begin() as connection:
                connection.exec_driver_sql("DELETE FROM asleep.sleep_sessions")
        [(began,)] = world.rows("SELECT clock_timestamp()")
        counts = sync(first, world.today, mode=mode, retry_policy=HASTY, timeout_seconds=1, **options)
        marked = world.rows("SELECT user_id FROM asleep.users WHERE last_synced_at >= :began", began=began)
        check(world, mode, {row.user_id for row in marked}, first)
        assert counts["users_failed"] >= len(failures_of(world)), "a user whose list is read again may fail only once"
    assert gateway.reused.total() == 0, f"connections in doubt were used again after {gateway.reused}"
    logger.info(
        "%s: %d requests in %d syncs, %d faults, %d users failed at the last, %d connections",
        *(mode, len(server.requests), rounds, gateway.played.total(), len(failures_of(world)), server.connections),
    )
    gateway.is_bad = False
    sync(first, world.today, mode=mode, retry_policy=HASTY, **options)
    assert world.missing_data() == []
    check(world, mode, set(world.users), first)


def begin(
    new_world: Callable[..., World], serve: Callable[..., Server], tls: ssl.SSLContext | None, users: int, seed: int
) -> tuple[World, Server, Gateway]:
    world = new_world("--users", str(users), "--days", str(DAYS))
    gateway = Gateway(forwarding_to(world.api.url), seed, share=0.35)
    return world, serve(gateway, tls), gateway


@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("mode", [Mode.LIST, Mode.STATISTICS])
def test_a_bad_gateway_costs_requests_and_failures_on_record_only(
    new_world: Callable[..., World], serve: Callable[..., Server], secure: tuple[ssl.SSLContext, Path], mode: Mode, *,
    over_tls: bool,
):  # fmt: skip
    """Behind a gateway that sent some 103 responses, 475 of 1,689 sessions were once stored under other users."""
    world, server, gateway = begin(new_world, serve, secure[0] if over_tls else None, 12, seed=1)
    run(world, mode, server, gateway, requests=60, ca_bundle=secure[1])


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("over_tls", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("mode", [Mode.LIST, Mode.STATISTICS])
def test_ten_thousand_requests_through_a_bad_gateway(
    new_world: Callable[..., World], serve: Callable[..., Server], secure: tuple[ssl.SSLContext, Path], mode: Mode, *,
    over_tls: bool,
):  # fmt: skip
    """The same for long enough that what is rare happens."""
    world, server, gateway = begin(new_world, serve, secure[0] if over_tls else None, 120, seed=2)
    run(world, mode, server, gateway, requests=10_000, ca_bundle=secure[1])


def test_interim_responses_before_everything_end_the_sync_with_the_reason(
    new_world: Callable[..., World], serve: Callable[..., Server]
):
    """Each of thousands of users would fail for itself otherwise, and slowly."""
    world = new_world("--users", "60", "--days", "3")
    answer = forwarding_to(world.api.url)

    def hint_first(wire: Wire, request: Request) -> None:
        wire.send(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", whole(*reversed(answer(request))))

    server = serve(hint_first)
    with pytest.raises(OnlyInterimResponses, match=r"interim responses .*ASLEEP_BASE_URL"):
        Syncing(world.engine, server.url)(world.today, world.today, retry_policy=HASTY)
    assert len(server.requests) < MAX_INTERIM_IN_A_ROW + 20
    assert world.rows("SELECT FROM asleep.sleep_sessions") == []
    assert world.rows("SELECT FROM asleep.users WHERE last_synced_at IS NOT NULL") == []
