"""The control plane changes the world, spoils answers and counts, as its README promises."""

import hashlib
import hmac
import http.server
import json
import signal
import subprocess
import sys
import threading
import time
from typing import Any

import pytest
import requests

from simulator.behaviour import CHOICES
from simulator.fault_kinds import AFTER, BEFORE

NIGHT = {"start": "2026-09-01T13:00:00Z", "epochs": 600}


def names(rows: Any):
    return [row["session_id"] for row in rows]


def test_an_added_session_is_listed_and_a_deleted_one_is_gone(changing: Any, own_user: str):
    name = changing.control("POST", "sessions", {"user_id": own_user, **NIGHT})["session_id"]
    assert name in names(changing.rows(own_user, order_by="ASC"))

    changing.control("DELETE", f"sessions/{name}")

    assert name not in names(changing.rows(own_user, order_by="ASC"))
    assert changing.get(f"/data/v3/sessions/{name}", own_user).status_code == 404
    assert changing.truth(own_user)["deleted_session_ids"] == [name]


@pytest.mark.parametrize(
    "body",
    [{}, {"start": "2026-09-01"}, {"user_id": "x"}, {"night_id": "none"}, {"state": "DONE"}, {"colour": 1}],
)
def test_a_wrong_order_is_refused_and_nothing_changes(changing: Any, own_user: str, body: Any):
    """A test with a typing mistake must fail, not pass for the wrong reason."""
    whole = {"user_id": own_user, **NIGHT} | body if body and "start" not in body else body
    answer = changing.http.post(f"{changing.url}/_simulator/sessions", json=whole, timeout=5)

    assert answer.status_code in (404, 422)
    assert len(changing.truth(own_user)["sessions"]) == 45


def test_a_night_plays_as_ordered(changing: Any, own_user: str):
    order = {"user_id": own_user, "start": "2026-09-02T13:00:00Z", "night_id": "dodh-001", "zone": "Europe/Paris"}
    name = changing.control("POST", "sessions", order)["session_id"]
    session = changing.result(own_user, name)["session"]

    assert len(session["sleep_stages"]) == 1192
    assert session["sleep_stages"][:4] == [0, 0, 1, 1]
    assert session["created_timezone"] == "Europe/Paris"


def test_a_second_analysis_shows_only_in_the_result_and_its_completion_time(changing: Any, own_user: str):
    """Same id, same times, same list row: what the weekly reconciliation exists for."""
    row = changing.rows(own_user)[0]
    name = row["session_id"]
    day = row["session_start_time"][:10]
    before, listed = changing.result(own_user, name), changing.averages(own_user, day, day)["slept_sessions"][0]

    changing.control("POST", f"sessions/{name}/reanalyse")

    after, relisted = changing.result(own_user, name), changing.averages(own_user, day, day)["slept_sessions"][0]
    assert changing.rows(own_user)[0] == row
    assert after["session"]["sleep_stages"] != before["session"]["sleep_stages"]
    assert after["session"]["start_time"] == before["session"]["start_time"]
    assert relisted["completed_time"] > listed["completed_time"]
    assert relisted["time_in_sleep"] == after["stat"]["time_in_sleep"]


def test_a_session_goes_from_open_over_closed_to_complete(changing: Any, own_user: str):
    order = {"user_id": own_user, "start": "2026-11-23T10:00:00Z", "state": "OPEN", "epochs": 400}
    name = changing.control("POST", "sessions", order)["session_id"]
    states = [changing.rows(own_user)[0]["state"]]

    changing.control("POST", f"sessions/{name}/close", {"unexpected": True})
    closed = changing.result(own_user, name)
    states.append(closed["session"]["state"])
    changing.control("POST", f"sessions/{name}/complete")
    complete = changing.result(own_user, name)
    states.append(complete["session"]["state"])

    assert states == ["OPEN", "CLOSED", "COMPLETE"]
    assert closed["stat"] is None
    assert closed["session"]["unexpected_end_time"] == closed["session"]["end_time"]
    assert len(complete["session"]["sleep_stages"]) == 400
    assert complete["stat"]["time_in_bed"] == 400 * 30 + 9


def test_a_deleted_user_is_unknown_everywhere(changing: Any, own_user: str):
    name = changing.rows(own_user)[0]["session_id"]
    changing.control("POST", f"users/{own_user}/to_be_deleted")
    assert changing.get(f"/ai/v1/users/{own_user}").json()["result"]["to_be_deleted"] is True

    changing.control("POST", f"users/{own_user}/delete")

    period = {"start_date": "2026-11-01", "end_date": "2026-11-02"}
    assert changing.get(f"/ai/v1/users/{own_user}").status_code == 404
    assert changing.get(f"/data/v1/users/{own_user}/average-stats", **period).status_code == 404
    assert changing.get("/data/v1/sessions", own_user).status_code == 404
    assert changing.get(f"/data/v3/sessions/{name}", own_user).status_code == 404
    assert own_user not in changing.http.get(f"{changing.url}/_simulator/users.csv", timeout=5).text


def test_the_contracts_own_calls_create_and_delete(changing: Any):
    headers = {"x-api-key": "simulated-key"}
    call = {"headers": headers, "timeout": 5}
    created = changing.http.post(f"{changing.url}/ai/v1/users", json={"metadata": {"gender": "other"}}, **call)
    assert created.status_code == 201
    user = created.json()["result"]["user_id"]
    for day in (1, 2, 3):
        start = f"2026-09-0{day}T12:00:00Z"
        changing.control("POST", "sessions", {"user_id": user, "start": start, "epochs": 60})
    headers["x-user-id"] = user
    name = changing.rows(user)[0]["session_id"]

    assert changing.http.delete(f"{changing.url}/ai/v1/sessions/{name}", **call).status_code == 204
    assert len(changing.rows(user)) == 2
    assert changing.http.delete(f"{changing.url}/ai/v1/sessions", **call).status_code == 204
    assert changing.rows(user) == []
    assert changing.http.delete(f"{changing.url}/ai/v1/users/{user}", **call).status_code == 204
    assert changing.get(f"/ai/v1/users/{user}").status_code == 404
    wrong = changing.http.post(f"{changing.url}/ai/v1/users", json={"metadata": {"gender": "x"}}, **call)
    assert wrong.status_code == 422


def test_the_rate_limit_refuses_by_text_and_is_counted(changing: Any, own_user: str):
    changing.control("POST", "rate", {"rate": 0.01})
    answers = [changing.get("/data/v1/sessions", own_user) for _ in range(8)]

    refused = [answer for answer in answers if answer.status_code == 403]
    assert answers[0].status_code == 200
    assert len(refused) == 7
    assert refused[0].json() == {"detail": "Rate limit exceeded"}
    assert "retry-after" not in refused[0].headers
    stats = changing.control("GET", "stats")
    assert stats["throttled"] == 7
    assert stats["requests"]["list_sessions"] == 8
    assert stats["by_status"] == {"200": 1, "403": 7}
    assert 1 <= stats["busiest_second"] <= 8


def test_keys_can_be_revoked_and_the_limit_is_each_keys_own(changing: Any, own_user: str):
    changing.control("POST", "keys", {"keys": ["one", "two"]})
    changing.control("POST", "rate", {"rate": 0.01})

    assert changing.get("/data/v1/sessions", own_user).status_code == 401
    statuses = [changing.get("/data/v1/sessions", own_user, key=key).status_code for key in ("one", "two", "one")]
    assert statuses == [200, 200, 403]


def test_a_key_of_the_test_environment_is_valid_but_finds_no_user(start_service: Any):
    """Live and Test data are apart; the wrong kind of key is no 401."""
    with start_service("--users", 1, "--test-key", "test") as service:
        user = service.control("GET", "users")[0]["user_id"]
        name = service.rows(user)[0]["session_id"]
        paths = ("/data/v1/sessions", f"/data/v3/sessions/{name}", f"/ai/v1/users/{user}")
        assert [service.get(path, user, key="test").status_code for path in paths] == [404, 404, 404]
        assert service.get("/data/v1/sessions", user).status_code == 200


def test_the_log_has_each_request(changing: Any, own_user: str):
    changing.control("POST", "stats/reset")
    name = changing.rows(own_user)[0]["session_id"]
    changing.result(own_user, name)

    log = changing.control("GET", "log")
    assert [(each["endpoint"], each["user"], each["session"], each["status"]) for each in log] == [
        ("list_sessions", own_user, None, 200),
        ("read_session", own_user, name, 200),
    ]
    assert changing.control("GET", f"log?since={log[-1]['number']}") == []


def test_the_clock_brings_future_sessions_and_ends_running_ones(changing: Any, own_user: str):
    order = {"user_id": own_user, "start": "2026-11-23T16:00:00Z", "epochs": 120}
    name = changing.control("POST", "sessions", order)["session_id"]
    states = []
    for seconds in (0, 5400, 1900, 3600):
        changing.control("POST", "clock", {"advance_seconds": seconds})
        states += [row["state"] for row in changing.rows(own_user, limit=1) if row["session_id"] == name]

    assert states == ["OPEN", "CLOSED", "COMPLETE"]


@pytest.mark.parametrize(
    ("rule", "status", "body"),
    [
        ({"kind": "status_500"}, 500, '{"detail":"Internal server error"}'),
        ({"kind": "status_503"}, 503, '{"detail":"Service unavailable"}'),
        ({"kind": "throttle_storm"}, 403, '{"detail":"Rate limit exceeded"}'),
        ({"kind": "throttle_storm", "status": 429}, 429, '{"detail":"Rate limit exceeded"}'),
        ({"kind": "quota"}, 403, '{"detail":"Quota exceeded"}'),
        ({"kind": "plan"}, 403, '{"detail":"Plan is expired"}'),
        ({"kind": "key_revoked"}, 401, '{"detail":"Unauthorized"}'),
        ({"kind": "gateway_message"}, 403, '{"message":"Forbidden"}'),
        ({"kind": "gateway_message", "status": 429}, 429, '{"message":"Too Many Requests"}'),
        ({"kind": "missing_user"}, 404, '{"detail":"user does not exist"}'),
    ],
    ids=lambda value: value.get("kind") if isinstance(value, dict) else "",
)
def test_refusals_read_as_the_contract_words_them(changing: Any, own_user: str, rule: Any, status: int, body: Any):
    changing.fault(**rule, retry_after="7")
    answer = changing.get("/data/v1/sessions", own_user)

    assert (answer.status_code, answer.text, answer.headers["retry-after"]) == (status, body, "7")
    stats = changing.control("GET", "stats")
    assert stats["faults"] == {rule["kind"]: 1}
    assert stats["throttled"] == (rule["kind"] == "throttle_storm" or status == 429)
    changing.control("DELETE", "faults")
    assert changing.get("/data/v1/sessions", own_user).status_code == 200


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("reset", requests.ConnectionError),
        ("outage", requests.ConnectionError),
        ("truncated", requests.exceptions.ChunkedEncodingError),
    ],
)
def test_connections_break_where_they_should(changing: Any, own_user: str, kind: str, error: Any):
    changing.fault(kind=kind, count=1)

    with pytest.raises(error):
        changing.get("/data/v1/sessions", own_user)
    assert changing.get("/data/v1/sessions", own_user).status_code == 200


def test_a_silent_server_keeps_the_client_waiting(changing: Any, own_user: str):
    changing.fault(kind="timeout", count=1)
    headers = {"x-api-key": "simulated-key", "x-user-id": own_user}

    with pytest.raises(requests.ReadTimeout):
        changing.http.get(f"{changing.url}/data/v1/sessions", headers=headers, timeout=0.3)
    assert changing.control("GET", "stats")["by_status"] == {"0": 1}


def test_a_slow_drip_never_pauses_long_but_takes_its_time(changing: Any, own_user: str):
    """A time-out per read does not see it: the whole exchange has to be bounded."""
    changing.fault(kind="slow_drip", drip_seconds=1.5)
    begun = time.monotonic()
    headers = {"x-api-key": "simulated-key", "x-user-id": own_user}
    answer = changing.http.get(f"{changing.url}/data/v1/sessions", headers=headers, timeout=1.2)

    assert answer.json()["detail"] == "OK"
    assert time.monotonic() - begun >= 1.4


def test_bodies_are_spoilt_in_the_announced_ways(changing: Any, own_user: str):
    name = changing.rows(own_user)[0]["session_id"]
    path = f"/data/v3/sessions/{name}"
    whole = changing.get(path, own_user)
    spoilt = {}
    for kind in ("not_json", "html_200", "oversized", "wrong_types"):
        changing.fault(kind=kind, mebibytes=3)
        spoilt[kind] = changing.get(path, own_user)
        changing.control("DELETE", "faults")

    assert {answer.status_code for answer in spoilt.values()} == {200}
    with pytest.raises(json.JSONDecodeError):
        json.loads(spoilt["not_json"].text)
    assert spoilt["html_200"].headers["content-type"] == "text/html"
    assert len(spoilt["oversized"].content) > 3 * 1024 * 1024
    assert spoilt["oversized"].json()["result"] == whole.json()["result"]
    odd = spoilt["wrong_types"].json()["result"]
    assert (odd["stat"]["sleep_index"], odd["stat"]["sleep_efficiency"]) == ("high", 88.24)
    assert (odd["stat"]["sleep_time"], odd["peculiarities"]) == ("06:30:00", ["LOUD_ROOM"])
    assert {"device"} == set(odd) - set(whole.json()["result"])
    assert odd["session"] == whole.json()["result"]["session"]


def test_single_fields_can_be_spoilt(changing: Any, own_user: str):
    changes = {"sleep_session_list.1.state": "PAUSED", "timezone": 3}
    changing.fault(kind="wrong_types", endpoint="list_sessions", changes=changes)
    result = changing.get("/data/v1/sessions", own_user, limit=3).json()["result"]

    assert result["timezone"] == 3
    assert [row["state"] for row in result["sleep_session_list"]] == ["COMPLETE", "PAUSED", "COMPLETE"]


def pages(service: Any, user: str, limit: int, step: Any = None):
    found = []
    for offset in range(0, 200, step or limit):
        found.append(names(service.rows(user, order_by="ASC", limit=limit, offset=offset)))
        if not found[-1]:
            return found
    raise AssertionError("the list never ends")


def test_rows_repeated_across_pages_lose_none(changing: Any, own_user: str):
    truth = names(changing.rows(own_user, order_by="ASC", limit=100))
    changing.fault(kind="duplicate_rows")
    found = pages(changing, own_user, 10)

    assert found[1][0] == found[0][-1]
    assert sorted({name for page in found for name in page}) == sorted(truth)


def test_a_service_that_gives_twenty_rows_at_most(changing: Any, own_user: str):
    changing.fault(kind="page_cap", cap=20)

    assert [len(page) for page in pages(changing, own_user, 100, step=20)] == [20, 20, 5, 0]
    changing.control("DELETE", "faults")
    changing.control("POST", "behaviour", {"page_cap": 20})
    assert len(changing.rows(own_user, limit=100)) == 20
    assert changing.control("POST", "behaviour", {"page_cap": 100})["page_cap"] == 100


@pytest.mark.parametrize(("kind", "change"), [("insert_between_pages", 1), ("delete_between_pages", -1)])
def test_rows_shift_while_they_are_read(changing: Any, own_user: str, kind: str, change: int):
    before = names(changing.rows(own_user, order_by="ASC", limit=100))
    changing.fault(kind=kind, count=1)
    found = [name for page in pages(changing, own_user, 10) for name in page]
    after = names(changing.rows(own_user, order_by="ASC", limit=100))

    assert len(after) - len(before) == change
    assert changing.control("GET", "stats")["faults"] == {kind: 1}
    if change > 0:
        assert len(found) == len(before) + 1
        assert set(found) == set(before)
    else:
        assert len(set(before) - set(found)) == 1


def outcomes(service: Any, user: str, count: int):
    return [service.get("/data/v1/sessions", user).status_code == 200 for _ in range(count)]


@pytest.mark.parametrize(
    ("choice", "failures"),
    [
        ({"count": 2}, [0, 1]),
        ({"every": 3}, [2, 5]),
        ({"after": 4}, [4, 5]),
        ({"per_target": 1}, [0]),
        ({"endpoint": "read_user"}, []),
        ({"user": "somebody else"}, []),
    ],
    ids=str,
)
def test_rules_choose_their_requests(changing: Any, own_user: str, choice: Any, failures: Any):
    changing.fault(kind="status_500", **choice)
    found = outcomes(changing, own_user, 6)

    assert [number for number, good in enumerate(found) if not good] == failures


def test_a_share_hits_the_same_requests_again(changing: Any, own_user: str):
    """A failing run has to be repeatable."""
    found = []
    for _ in range(2):
        changing.fault(kind="status_500", share=0.4)
        found.append(outcomes(changing, own_user, 30))
        changing.control("DELETE", "faults")

    assert found[0] == found[1]
    assert 1 <= found[0].count(False) <= 29


def test_an_outage_ends(changing: Any, own_user: str):
    changing.fault(kind="outage", seconds=0.2)
    with pytest.raises(requests.ConnectionError):
        changing.get("/data/v1/sessions", own_user)

    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            if changing.get("/data/v1/sessions", own_user).status_code == 200:
                return
        except requests.ConnectionError:
            continue
    raise AssertionError("still away")


def test_unknown_kinds_and_fields_of_faults_are_refused(changing: Any):
    for rule in ({"kind": "earthquake"}, {"kind": "reset", "colour": 1}, {"share": 1}):
        answer = changing.http.post(f"{changing.url}/_simulator/faults", json=[rule], timeout=5)
        assert answer.status_code == 422
    assert changing.control("GET", "faults") == []


class Receiver(http.server.BaseHTTPRequestHandler):
    """Keeps what it gets."""

    def do_POST(self):
        """One event."""
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.received.append((dict(self.headers), body))
        self.send_response(202)
        self.end_headers()

    def log_message(self, *_: Any):
        """Silence."""


@pytest.fixture
def receiver():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        server.received = []
        server.url = f"http://127.0.0.1:{server.server_port}/webhooks/asleep"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("order", "session_at", "stages"),
    [
        ({"version": "V3"}, ("data", "session", "id"), ("data", "session", "sleep_stages")),
        (
            {"version": "V2"},
            ("callback_data", "session_id"),
            ("callback_data", "sleep_data", "session", "sleep_stages"),
        ),
        ({"version": "V1"}, ("data", "session", "id"), ("data", "session", "sleep_stages")),
        ({"spelling": "callback"}, ("callback_data", "session", "id"), ("callback_data", "session", "sleep_stages")),
        ({"spelling": "flat"}, ("session", "id"), ("session", "sleep_stages")),
        ({"event": "INFERENCE_COMPLETE"}, ("data", "session_id"), ("data", "sleep_stages")),
        (
            {"event": "INFERENCE_COMPLETE", "version": "V2"},
            ("callback_data", "session_id"),
            ("callback_data", "stage_list"),
        ),
    ],
    ids=str,
)
def test_webhooks_come_in_every_spelling(  # noqa: PLR0917
    changing: Any, own_user: str, receiver: Any, order: Any, session_at: Any, stages: Any
):
    name = changing.rows(own_user)[0]["session_id"]
    order = {"url": receiver.url, "session_id": name, "api_key": "k", "secret": "s", **order}

    assert changing.control("POST", "webhooks", order)["status"] == 202

    headers, raw = receiver.received[0]
    body = json.loads(raw)
    assert (headers["x-api-key"], headers["x-user-id"]) == ("k", own_user)
    assert headers["x-signature"] == hmac.new(b"s", raw, hashlib.sha256).hexdigest()
    assert dig(body, session_at) == name
    whole = changing.result(own_user, name)["session"]["sleep_stages"]
    assert dig(body, stages) == (whole[140:150] if "INFERENCE_COMPLETE" in order.values() else whole)
    assert order.get("event", "SESSION_COMPLETE") in (body.get("event"), body.get("callback_event"))


def test_the_first_version_of_a_webhook_has_the_old_names(changing: Any, own_user: str, receiver: Any):
    name = changing.rows(own_user)[0]["session_id"]
    changing.control("POST", "webhooks", {"url": receiver.url, "session_id": name, "version": "V1"})
    data = json.loads(receiver.received[0][1])["data"]

    assert data["validity"] == ["NO_BREATHING_STABILITY"]
    assert "peculiarities" not in data
    assert "osa_stages" in data["session"]
    assert "breath_stages" not in data["session"]


def dig(place: Any, path: str):
    for step in path:
        place = place[step]
    return place


def test_a_webhook_may_carry_anything_and_reports_when_no_receiver_answers(changing: Any, own_user: str, receiver: Any):
    name = changing.rows(own_user)[0]["session_id"]
    order = {"url": receiver.url, "session_id": name, "raw": "not json"}
    changing.control("POST", "webhooks", order)

    assert receiver.received[0][1] == b"not json"
    assert "x-signature" not in receiver.received[0][0]
    nobody = changing.control("POST", "webhooks", {**order, "url": "http://127.0.0.1:9/"})
    assert nobody["status"] == 0


def test_a_port_can_be_shut_for_a_while(start_service: Any):
    with start_service("--users", 1, "--days", 3) as service:
        service.control("POST", "refuse", {"seconds": 0.3})
        refused, deadline = False, time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                service.control("GET", "stats")
            except requests.ConnectionError:
                refused = True
            else:
                if refused:
                    return
        raise AssertionError("never away" if not refused else "never back")


def test_changes_survive_a_restart_with_a_state_file(start_service: Any, tmp_path: Any):
    options = ("--users", 4, "--days", 20, "--state-file", tmp_path / "state.jsonl")
    with start_service(*options) as service:
        users = [each["user_id"] for each in service.control("GET", "users")]
        gone, again = (row["session_id"] for row in service.rows(users[0], limit=2))
        service.control("DELETE", f"sessions/{gone}")
        service.control("POST", f"sessions/{again}/reanalyse")
        service.control("POST", "sessions", {"user_id": users[1], **NIGHT, "state": "OPEN"})
        service.control("POST", f"users/{users[2]}/delete")
        before = [service.truth(user) for user in users]
    with start_service(*options) as service:
        assert [service.truth(user) for user in users] == before


def test_it_stops_with_its_parent_and_when_its_time_is_up(start_service: Any):
    with start_service("--users", 1) as service:
        service.process.stdin.close()
        assert service.process.wait(10) == 0
        service.process.stdin = None
    with start_service("--users", 1, "--max-seconds", 0.1) as service:
        assert service.process.wait(10) == 0
    with start_service("--users", 1) as service:
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(10) == 0


def test_it_listens_on_loopback_and_announces_what_it_holds(start_service: Any):
    with start_service("--users", 3, "--sessions-per-user", 7) as service:
        assert service.ready == {"url": service.url, "users": 3, "sessions": 21}
        assert service.url.startswith("http://127.0.0.1:")


def test_choices_of_the_operator_are_options(start_service: Any):
    options = ("--never-slept-stat", "null", "--unknown-user-list", "empty", "--page-cap", 20, "--api-key", "a,b")
    with start_service("--users", 12, *options) as service:
        stranger = "G-20200101000000-ABCDEFGHIJKLMNOPQRST"
        assert service.get("/data/v1/sessions", stranger, key="b").json()["result"]["sleep_session_list"] == []
        owner, name = service.sessions_with("never_slept")[0]
        assert service.get(f"/data/v3/sessions/{name}", owner, key="a").json()["result"]["stat"] is None
        assert service.get("/data/v1/sessions", owner).status_code == 401
        listed = service.get("/data/v1/sessions", owner, key="a", limit=100).json()["result"]["sleep_session_list"]
        assert len(listed) == 20


def test_latency_is_added_to_answers_of_the_api_only(start_service: Any):
    with start_service("--users", 1, "--latency-ms", 300) as service:
        user = service.control("GET", "users")[0]["user_id"]
        begun = time.monotonic()
        service.rows(user)
        assert time.monotonic() - begun >= 0.3


def test_the_users_command_prints_the_users_that_the_server_has(start_service: Any):
    command = [sys.executable, "-m", "simulator", "users", "--users", "5", "--seed", "9"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    with start_service("--users", 5, "--seed", 9) as service:
        assert service.http.get(f"{service.url}/_simulator/users.csv", timeout=5).text == printed


def test_help_teaches_by_example():
    command = [sys.executable, "-m", "simulator", "--help"]
    text = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout

    assert "examples:" in text
    assert "--sessions-per-user" in text
    assert all(f"--{name.replace('_', '-')}" in text for name in CHOICES)
    assert all(f"\n  {kind} " in text for kind in (*BEFORE, *AFTER))
