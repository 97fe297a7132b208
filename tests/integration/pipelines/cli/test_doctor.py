"""`asleep-sync doctor` against the simulated API in each reading of what the contract leaves open."""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result
from sqlalchemy import Engine, text

from resources.database.users.registry import Registry
from tests.conftest import Simulator, running_simulator
from tests.integration.pipelines.cli.conftest import Type

READINGS = [
    ({"sleep_efficiency": "percentage"}, "stat: `sleep_efficiency` is a share of 1, not a percentage"),
    ({"stage_latency": "from_start"}, "stat: stage latencies count from sleep onset"),
    ({"average_ratios": "mean"}, "average-stats: ratios are ratios of sums"),
    ({"average_session_names": "session_id"}, "average-stats: sessions have `id` and `start_time`"),
    ({"period_days": "present"}, "average-stats: `period` has timezone, start_date, end_date"),
    ({"last_session_names": "session"}, "user: `last_session_info` has `start_time`"),
    ({"timestamp_form": "bare"}, "session: timestamps carry an offset"),
    ({"max_limit": "20"}, "list: `limit` = 100 is allowed"),
    ({"page_cap": 30}, "list: a page of fewer than `limit` rows is the last one"),
    ({"average_empty_lists": "absent"}, "average-stats: both lists are present, also when empty"),
]

DEFAULTS = {
    "sleep_efficiency": "ratio",
    "stage_latency": "from_onset",
    "average_ratios": "of_sums",
    "average_session_names": "id",
    "period_days": "absent",
    "last_session_names": "bare",
    "timestamp_form": "offset",
    "max_limit": "100",
    "page_cap": 100,
    "average_empty_lists": "present",
    "open_time_in_bed": "null",
    "never_slept_stat": "object",
}

Examine = Callable[..., Result]


@pytest.fixture(scope="module")
def api(simulate: Callable[..., AbstractContextManager[Simulator]]) -> Iterator[Simulator]:
    """One ordinary user with many nights."""
    with simulate("--users", "1", "--days", "60", "--seed", "3", "--ordinary-only", "--rate", "0") as simulator:
        yield simulator


@pytest.fixture
def examine(typed: Type, api: Simulator, engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Examine]:
    """`examine("--json", average_ratios="mean")`: the doctor, while the API behaves so."""
    with engine.begin() as connection:
        Registry(connection).add([(user["user_id"], None) for user in api.ask("users")])
    monkeypatch.setenv("ASLEEP_API_KEY", "simulated-key")
    monkeypatch.setenv("ASLEEP_REQUESTS_PER_SECOND", "100")

    def examine(*options: str, url: str = api.url, **behaviour: str | int) -> Result:
        monkeypatch.setenv("ASLEEP_BASE_URL", url)
        api.ask("behaviour", behaviour) if behaviour else None
        api.reset()
        return typed("doctor", *options)

    yield examine
    api.ask("behaviour", DEFAULTS)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.users"))


def contradicted(result: Result) -> set[str]:
    findings = json.loads(result.stdout)["findings"]
    return {finding["statement"] for finding in findings if finding["result"] == "contradicted"}


def test_an_api_that_keeps_the_contract_is_confirmed_in_five_requests(examine: Examine, api: Simulator):
    """First contact must be cheap, and find nothing where nothing is."""
    result = examine("--json", "--probe-unknown-user")

    assert contradicted(result) == set()
    assert result.exit_code == 0
    assert sum(api.requests().values()) <= 6
    verdicts = [finding["result"] for finding in json.loads(result.stdout)["findings"]]
    assert verdicts.count("confirmed") > 20


@pytest.mark.parametrize(("behaviour", "statement"), READINGS)
def test_a_deviation_is_contradicted_by_name(examine: Examine, behaviour: dict[str, str | int], statement: str):
    """Where the real API differs, the first user must be able to say how."""
    result = examine("--json", **behaviour)

    assert result.exit_code == 1
    assert statement in contradicted(result)


@pytest.mark.parametrize(
    ("session", "behaviour", "statement"),
    [
        ({"state": "OPEN"}, {"open_time_in_bed": "zero"}, "list: `time_in_bed` of a running session is null"),
        ({"finding": "NEVER_SLEPT"}, {"never_slept_stat": "null"}, "session: NEVER_SLEPT carries a `stat` object"),
    ],
)
def test_a_deviation_shows_with_the_session_that_it_concerns(
    examine: Examine, api: Simulator, session: dict[str, str], behaviour: dict[str, str], statement: str
):
    """Some statements are visible only while a user has such a session; then they must not be missed."""
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    order = {"user_id": api.ask("users")[0]["user_id"], "start": start.isoformat(), "epochs": 60, **session}
    session_id = api.ask("sessions", order)["session_id"]
    result = examine("--json", **behaviour)
    api.ask(f"sessions/{session_id}", method="DELETE")

    assert statement in contradicted(result)


def test_the_report_is_safe_to_publish(examine: Examine, api: Simulator):
    """No id, no value, no key: in text and in JSON."""
    user = api.ask("users")[0]["user_id"]
    sessions = {s["result"]["session"]["id"] for u in api.ask("truth")["users"] for s in u["sessions"]}
    outputs = [examine(*options, sleep_efficiency="percentage").output for options in (("--json",), ())]

    for output in outputs:
        assert not [secret for secret in (user, "simulated-key", *sessions) if secret in output]


def test_a_recording_is_private_and_gives_the_same_report(examine: Examine, api: Simulator, tmp_path: Path):
    """The first user of a deviating API can hand it to us without handing out a person's nights."""
    file = tmp_path / "cassette.json"
    deviating = {
        "sleep_efficiency": "percentage",
        "stage_latency": "from_start",
        "average_ratios": "mean",
        "page_cap": 30,
    }
    options = ("--json", "--probe-unknown-user")
    original = examine(*options, "--record", str(file), **deviating)
    assert original.exit_code == 1
    assert file.stat().st_mode & 0o777 == 0o600

    truth = [each for user in api.ask("truth")["users"] for each in user["sessions"]]
    written = file.read_text("utf-8")
    private = {api.ask("users")[0]["user_id"], "simulated-key"}
    private |= {str(value) for each in truth for value in (*each["row"].values(), each["completed_time"])}
    private -= {"COMPLETE", "CLOSED", "OPEN", "None"} | {value for value in private if value.isdigit()}
    assert not [value for value in private if value in written]

    with running_simulator("--cassette", str(file), "--rate", "0") as replay:
        replayed = examine(*options, "--user", json.loads(written)["user_id"], url=replay.url)
    assert json.loads(replayed.stdout) == json.loads(original.stdout)


def test_without_users_or_answer_nothing_can_be_checked(typed: Type, examine: Examine, engine: Engine, api: Simulator):
    """Exit code 2, and what to do."""
    api.ask("faults", [{"kind": "status_401"}])
    refused = examine()
    api.ask("faults", method="DELETE")
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.users"))
    empty = typed("doctor")

    assert (refused.exit_code, empty.exit_code) == (2, 2)
    assert "ASLEEP_API_KEY" in refused.output
    assert "import users first" in empty.output
    assert len(refused.output.splitlines()) == 1, "lines of the log, which repeat the result"
