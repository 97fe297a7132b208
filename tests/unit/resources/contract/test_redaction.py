"""What a redacted recording keeps, and what it may not keep."""

import json
from typing import Any

import pytest

from resources.asleep.transport import ApiRequest
from resources.contract.recording import Recorder
from resources.contract.redaction import Exchange, redacted

USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"
STAGES = [0] * 10 + [1] * 40 + [2] * 20 + [1] * 30 + [3] * 25 + [0] * 4 + [1] * 60
STAT = {
    "sleep_time": "2026-03-07T14:07:11+00:00",
    "sleep_latency": 300,
    "light_latency": 0,
    "deep_latency": 1200,
    "rem_latency": 2700,
    "time_in_bed": 5712,
    "time_in_sleep_period": 5370,
    "time_in_sleep": 5250,
    "time_in_wake": 120,
    "time_in_light": 3900,
    "time_in_deep": 600,
    "time_in_rem": 750,
    "sleep_efficiency": 0.919,
    "sleep_cycle": 5872.5,
    "breathing_pattern": "STABLE_BREATH",
    "heart_rate": 61.5,
}
SESSION = {
    "timezone": "UTC",
    "peculiarities": ["NO_BREATHING_STABILITY", "WITH_SNORING"],
    "session": {
        "id": "20260307140211_q7x4m",
        "state": "COMPLETE",
        "start_time": "2026-03-07T14:02:11Z",
        "created_timezone": "Asia/Seoul",
        "sleep_stages": STAGES,
        "breath_stages": None,
    },
    "stat": STAT,
    "by_session": {"20260307140211_q7x4m": "restless"},
}


def exchange(result: dict[str, Any]) -> Exchange:
    body = {"detail": "OK", "result": result}
    return Exchange(ApiRequest("read_session", "/data/v3/sessions/20260307140211_q7x4m", USER), 200, body)


def values(of: Any, path: str = "") -> dict[str, Any]:
    if isinstance(of, dict | list):
        pairs = of.items() if isinstance(of, dict) else enumerate(of)
        return {at: value for name, each in pairs for at, value in values(each, f"{path}/{name}").items()}
    return {path: of}


@pytest.fixture
def copy() -> dict[str, Any]:
    (copied,), _ = redacted([exchange(SESSION)], USER)
    result: dict[str, Any] = copied.body["result"]
    return result


def test_no_id_time_text_or_number_stays(copy: dict[str, Any]):
    """A recording goes into a public issue: whatever describes a person or a night is another one."""
    kept = {"UTC", "COMPLETE", "NO_BREATHING_STABILITY", 0, None}
    before = {path: value for path, value in values(SESSION).items() if "stages" not in path and value not in kept}
    after = values(copy)
    assert [path for path, value in before.items() if after.get(path) == value] == []
    assert not [
        text for text in ("20260307", "q7x4m", "restless", "SNORING", "Seoul", "14:0") if text in json.dumps(copy)
    ]
    assert copy["session"]["sleep_stages"] != STAGES


@pytest.mark.parametrize("series", [[0, 1, 1, None] * 20, [1, 0.0, 1, 2.5] * 20, [True, False, False] * 20])
@pytest.mark.parametrize("name", ["sleep_stages", "apnea_events"])
def test_no_series_of_a_night_stays(name: str, series: list[Any]):
    """Nulls, 0, 1 and booleans are kept as values: in their order they are the night itself."""
    changed = {**SESSION, "session": {**SESSION["session"], name: series}}  # type: ignore[dict-item]

    [copied], _ = redacted([exchange(changed)], USER)

    drawn = copied.body["result"]["session"][name]
    assert len(drawn) >= 100
    assert drawn[: len(series)] != series


def test_relations_between_values_stay(copy: dict[str, Any]):
    """Otherwise the replay would contradict the contract where the original does not."""
    stat, stages = copy["stat"], copy["session"]["sleep_stages"]
    assert stat["time_in_sleep"] == stat["time_in_light"] + stat["time_in_deep"] + stat["time_in_rem"]
    assert stat["time_in_sleep_period"] == stat["time_in_sleep"] + stat["time_in_wake"]
    assert [stat[f"{name}_latency"] for name in ("light", "deep", "rem")] == [
        30 * stages.index(code) - stat["sleep_latency"] for code in (1, 2, 3)
    ]
    assert copy["session"]["start_time"].endswith("Z")
    assert isinstance(stat["heart_rate"], float)
    assert 0 < stat["sleep_efficiency"] < 1


def test_a_date_outside_of_the_recorded_days_is_replaced():
    """Such as a date of birth in a field that the contract does not name."""
    changed = {**SESSION, "session": {**SESSION["session"], "born_on": "1984-05-06"}}  # type: ignore[dict-item]

    [copied], _ = redacted([exchange(changed)], USER)

    assert copied.body["result"]["session"]["born_on"].startswith("text_")


def test_the_same_id_is_replaced_alike_everywhere():
    """A listed session is the one that is read."""
    (first, second), user_id = redacted([exchange(SESSION), exchange({"user_id": USER, "id": USER})], USER)
    assert first.request.path.endswith(first.body["result"]["session"]["id"])
    assert second.body["result"] == {"user_id": user_id, "id": user_id}
    assert (user_id[:2], len(user_id), user_id != USER) == ("G-", len(USER), True)


def test_an_error_keeps_the_contracts_words_only():
    """These words decide what an error means; others may name a person or an organisation."""
    body = {"detail": f"Unable to find the user of id {USER}, Jane ann@example.org"}
    (copied,), _ = redacted([Exchange(ApiRequest("read_user", f"/ai/v1/users/{USER}", USER), 404, body)], USER)
    assert copied.body == {"detail": "Unable to find the user of id 0 0 0"}


def test_a_recorder_keeps_dates_out_of_the_query():
    """A replay on another day asks for other dates."""

    class Answering:
        def get(self, *_: Any) -> Any:
            return type("Result", (), {"result": {}})()

    recorder = Recorder(Answering())
    recorder.get(ApiRequest("list_sessions", "/data/v1/sessions", USER, {"date_gte": "2026-03-07", "limit": "100"}))
    assert recorder.exchanges[0].request.params == {"limit": "100"}
