"""The whole client against the simulated API: what it knows is what we read, whatever goes wrong on the way."""

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from datetime import date, timedelta
from typing import Any

import pytest

from resources.asleep import errors
from resources.asleep.client import AsleepClient
from resources.asleep.http.http_client import HttpClient
from resources.asleep.request_events import Attempt
from resources.asleep.transport import RetryPolicy, Transport
from tests.unlimited import Unlimited

UNKNOWN_ZONE = "session.created_timezone: unknown time zone"
"""Some of the simulated users have one."""
NOW = "2026-11-23T15:00:00Z"
TODAY = date(2026, 11, 23)
LONG_AGO = date(2025, 1, 1)
QUICK = RetryPolicy(first_pause_seconds=0.01, longest_pause_seconds=0.02)
ORDINARY = {"list_sessions", "read_session", "average_stats", "read_user"}

Simulate = Callable[..., AbstractContextManager[Any]]


@pytest.fixture(scope="module")
def world(simulate: Simulate) -> Iterator[Any]:
    """A population with all the contract_violations of the contract, at a standing clock."""
    with simulate("--users", "24", "--days", "45", "--now", NOW) as api:
        yield api


@pytest.fixture(scope="module")
def busy_world(simulate: Simulate) -> Iterator[Any]:
    """Two users with more sessions than a page holds; tests change it."""
    with simulate("--users", "2", "--days", "260", "--sessions-per-user", "230", "--now", NOW) as api:
        yield api


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """Faults end with the test that set them."""
    yield
    for name in {"world", "busy_world"} & set(request.fixturenames):
        api = request.getfixturevalue(name)
        api.ask("faults", method="DELETE")
        api.ask("behaviour", {"page_cap": 100})


@contextmanager
def client_of(
    api: Any, heard: list[Attempt] | None = None, *, key: str = "simulated-key", seconds: float = 10
) -> Iterator[AsleepClient]:
    listeners = [] if heard is None else [heard.append]
    with HttpClient(api.url, key, timeout_seconds=seconds) as http:
        yield AsleepClient(Transport(Unlimited(), http, listeners, retry_policy=QUICK))


def truth_of(api: Any) -> dict[str, dict[str, Any]]:
    """User → session → what the API answers now, deleted users left out."""
    return {
        user["user_id"]: {each["row"]["session_id"]: each for each in user["sessions"]}
        for user in api.ask("truth")["users"]
        if not user["deleted"]
    }


def test_every_list_and_every_session_equals_the_simulators_truth(world: Any):
    """All users, all kinds of session the contract describes, raw and typed."""
    with client_of(world) as client:
        for user, sessions in truth_of(world).items():
            listed = client.list_sessions(user, LONG_AGO, TODAY)
            assert {row.session_id for row in listed.rows} == set(sessions)
            for row in listed.rows:
                session = client.read_session(user, row.session_id)
                expected = sessions[row.session_id]["result"]
                assert json.loads(session.raw) == expected
                assert set(session.contract_violations) <= {UNKNOWN_ZONE}
                assert row.contract_violations == ()
                assert session.state == row.state == expected["session"]["state"]
                assert session.session_start_time == row.session_start_time
                assert session.session_end_time == row.session_end_time
                assert session.sleep_stages == expected["session"]["sleep_stages"]
                assert (session.stat is None) == (expected["stat"] is None)
                for name in ("sleep_index", "time_in_sleep", "light_ratio", "sleep_efficiency", "snoring_count"):
                    assert getattr(session.stat, name, None) == (expected["stat"] or {}).get(name)


def test_averages_and_profiles_are_read_without_oddities(world: Any):
    """`completed_time` is how a second analysis will be noticed."""
    with client_of(world) as client:
        seen = 0
        for user, sessions in truth_of(world).items():
            stats = client.average_stats(user, TODAY - timedelta(days=99), TODAY)
            assert stats.contract_violations == ()
            for each in (*stats.slept, *stats.never_slept):
                assert set(each.contract_violations) <= {"created_timezone: unknown time zone"}
                assert each.completed_time is not None
                assert each.session_id in sessions
                seen += 1
            for slept in stats.slept:
                expected = sessions[slept.session_id]["result"]["stat"]
                assert slept.stat.time_in_sleep == expected["time_in_sleep"]
            profile = client.read_user(user)
            assert profile.contract_violations == ()
        assert seen > 100


@pytest.mark.parametrize("page_cap", [100, 20])
def test_long_lists_are_whole_for_few_requests(busy_world: Any, page_cap: int):
    """230 sessions: three pages of 100, or thirteen of 20, each beginning with the last row of the one before."""
    busy_world.ask("behaviour", {"page_cap": page_cap})
    with client_of(busy_world) as client:
        client.page_size.start(page_cap)
        for user, sessions in truth_of(busy_world).items():
            listed = client.list_sessions(user, LONG_AGO, TODAY)
            assert [row.session_id for row in listed.rows] == sorted(sessions)
            assert listed.requests == {100: 3, 20: 13}[page_cap]


@pytest.mark.parametrize("kind", ["insert_between_pages", "delete_between_pages", "duplicate_rows", "page_cap"])
def test_lists_are_whole_whatever_happens_between_pages(busy_world: Any, kind: str):
    """A session missing from a list is taken for deleted."""
    count = {} if kind in {"duplicate_rows", "page_cap"} else {"count": 1}
    with client_of(busy_world) as client:
        client.page_size.forget()
        for user in truth_of(busy_world):
            busy_world.ask("faults", [{"kind": kind, "user": user, **count}])
            listed = client.list_sessions(user, LONG_AGO, TODAY)
            found = {row.session_id for row in listed.rows}
            assert found == set(truth_of(busy_world)[user])
            assert len(found) == len(listed.rows)


PASSING = ["status_500", "status_503", "status_502", "reset", "truncated", "not_json", "html_200", "throttle_storm"]


@pytest.mark.parametrize("kind", [*PASSING, "oversized"])
def test_what_passes_costs_repetitions_and_nothing_else(world: Any, kind: str):
    """Each distinct request fails once; every answer must still be the truth."""
    heard: list[Attempt] = []
    user, sessions = next((user, sessions) for user, sessions in truth_of(world).items() if len(sessions) > 4)
    world.ask("faults", [{"kind": kind, "per_target": 1, "mebibytes": 17}])
    with client_of(world, heard) as client:
        listed = client.list_sessions(user, LONG_AGO, TODAY)
        assert {row.session_id for row in listed.rows} == set(sessions)
        for session_id in list(sessions)[:3]:
            assert json.loads(client.read_session(user, session_id).raw) == sessions[session_id]["result"]
        assert client.read_user(user).user_id == user
    assert [attempt.number for attempt in heard] == [1, 2] * (len(heard) // 2)
    assert {attempt.outcome for attempt in heard if attempt.number == 2} == {"ok"}
    assert "ok" not in {attempt.outcome for attempt in heard if attempt.number == 1}


def test_a_dripping_response_is_given_up_and_requested_again(world: Any):
    """It would hold a thread, and a turn, for half a minute each."""
    heard: list[Attempt] = []
    user = next(iter(truth_of(world)))
    world.ask("faults", [{"kind": "slow_drip", "count": 1, "drip_seconds": 60}])
    with client_of(world, heard, seconds=2) as client:
        assert client.read_user(user).user_id == user
    assert [attempt.outcome for attempt in heard] == ["unavailable", "ok"]


def test_odd_fields_cost_themselves_only(world: Any):
    """The simulator's worst answers that still have a structure."""
    user, sessions = next((user, sessions) for user, sessions in truth_of(world).items() if len(sessions) > 4)
    analysed = next(name for name, each in sessions.items() if each["result"]["stat"])
    world.ask("faults", [{"kind": "wrong_types", "user": user}])
    with client_of(world) as client:
        session = client.read_session(user, analysed)
        listed = client.list_sessions(user, LONG_AGO, TODAY)
        stats = client.average_stats(user, TODAY - timedelta(days=99), TODAY)
    assert set(session.contract_violations) - {UNKNOWN_ZONE} == {
        "stat.sleep_index: not a number",
        "stat.sleep_efficiency: a percentage, divided by 100",
        "stat.sleep_cycle: not a number",
        "stat.sleep_time: not a timestamp",
        "stat.sleep_cycle_time[]: not a timestamp",
        "stat.stress_index: unknown field",
        "peculiarities: unknown value",
        "device: unknown field",
    }
    assert session.stat is not None
    assert (session.stat.sleep_index, session.stat.sleep_efficiency) == (None, 0.8824)
    assert session.stat.time_in_sleep == sessions[analysed]["result"]["stat"]["time_in_sleep"]
    assert {row.session_id for row in listed.rows} == set(sessions)
    assert sum(len(row.contract_violations) for row in listed.rows) == 2
    assert set(stats.contract_violations) == {
        "average_stats.waso_count: not a number",
        "average_stats.sleep_time: not a clock time",
        "days: unknown field",
    }


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        ({"kind": "quota"}, errors.QuotaExceeded),
        ({"kind": "plan"}, errors.PlanExpired),
        ({"kind": "key_revoked"}, errors.KeyRejected),
        ({"kind": "gateway_message"}, errors.KeyRejected),
    ],
)
def test_a_refused_account_stops_all_threads(world: Any, fault: dict[str, Any], kind: type[errors.Rejected]):
    """Hundreds of users are queued behind it: no request about them may be wasted."""
    users = list(truth_of(world)) * 20
    world.ask("faults", [fault])
    world.reset()

    def ask(client: AsleepClient, user: str) -> type[BaseException] | None:
        try:
            client.read_user(user)
        except errors.AsleepError as error:
            return type(error)
        return None

    with client_of(world) as client, ThreadPoolExecutor(8) as threads:
        assert set(threads.map(lambda user: ask(client, user), users)) == {kind}
    assert sum(world.requests().values()) <= 8


def test_a_wrong_key_is_named(world: Any):
    with (
        client_of(world, key="wrong-key") as client,
        pytest.raises(errors.KeyRejected, match="ASLEEP_API_KEY") as caught,
    ):
        client.read_user(next(iter(truth_of(world))))
    assert "wrong-key" not in repr(caught.value)


def test_what_is_gone_is_distinguished_from_what_is_refused(simulate: Simulate):
    """Only what the API itself calls gone may disappear here."""
    with (
        simulate("--users", "3", "--days", "20", "--ordinary-only", "--now", NOW) as api,
        client_of(api) as client,
    ):
        (gone, sessions), (other, others), _ = truth_of(api).items()
        deleted = next(iter(others))
        api.ask(f"sessions/{deleted}", method="DELETE")
        api.ask(f"users/{gone}/delete", {})

        with pytest.raises(errors.SessionGone):
            client.read_session(other, deleted)
        for ask in (
            lambda: client.read_user(gone),
            lambda: client.list_sessions(gone, LONG_AGO, TODAY),
            lambda: client.average_stats(gone, TODAY, TODAY),
        ):
            with pytest.raises(errors.UserGone):
                ask()
        with pytest.raises(errors.Gone):
            client.read_session(gone, next(iter(sessions)))
        with pytest.raises(errors.IdentifierRefused):
            client.list_sessions("not-an-id", LONG_AGO, TODAY)
        with pytest.raises(errors.IdentifierRefused):
            client.read_session(other, "not-an-id")
        assert client.read_user(other).user_id == other


def test_an_outage_longer_than_our_patience_is_unavailable_and_ends(world: Any):
    heard: list[Attempt] = []
    world.ask("faults", [{"kind": "outage"}])
    with client_of(world, heard) as client, pytest.raises(errors.Unavailable):
        client.read_user(next(iter(truth_of(world))))
    assert [attempt.number for attempt in heard] == [1, 2, 3, 4, 5, 6]
    assert {attempt.status for attempt in heard} == {None}


def test_every_request_is_one_attempt(world: Any):
    """The counts an operator sees must be the counts the API sees."""
    heard: list[Attempt] = []
    world.ask("faults", [{"kind": "status_500", "per_target": 1}])
    world.reset()
    with client_of(world, heard) as client, ThreadPoolExecutor(8) as threads:
        list(threads.map(client.read_user, list(truth_of(world)) * 3))
    assert len(heard) == world.requests()["read_user"] == 24 + 72
