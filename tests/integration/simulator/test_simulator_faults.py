"""The simulator plays the faults and the choices that a mirror has to survive, each exactly as its README promises."""

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

DAY = "2026-09-02"


def names(rows: Any):
    return [row["session_id"] for row in rows]


def lists(service: Any, user: str, count: int):
    """The statuses and the lengths of that many lists in a row."""
    found = []
    for _ in range(count):
        answer = service.get("/data/v1/sessions", user, limit=100)
        rows = answer.json()["result"]["sleep_session_list"] if answer.status_code == 200 else []
        found.append((answer.status_code, len(rows)))
    return found


@pytest.fixture
def put_back(changing: Any):
    """A simulator whose choices are put back."""
    before = changing.control("POST", "behaviour", {})
    yield changing
    changing.control("POST", "behaviour", before)


@pytest.mark.parametrize("cap", [1, 7, 30, 99, 100])
def test_any_page_cap_holds_whatever_the_client_sends(put_back: Any, own_user: str, cap: int):
    """A client that knows a list of likely caps loses rows at every other one."""
    put_back.control("POST", "behaviour", {"page_cap": cap})

    assert len(put_back.rows(own_user, limit=100)) == min(cap, 45)


@pytest.mark.parametrize("cap", [0, 101, 2.5, "30", None])
def test_an_impossible_page_cap_is_refused(put_back: Any, cap: Any):
    answer = put_back.http.post(f"{put_back.url}/_simulator/behaviour", json={"page_cap": cap}, timeout=5)

    assert answer.status_code == 422


def test_a_page_cap_falls_and_rises_while_lists_are_read(changing: Any, own_user: str):
    changing.fault(kind="page_cap", cap=30, after=2, count=2)

    assert lists(changing, own_user, 5) == [(200, 45), (200, 45), (200, 30), (200, 30), (200, 45)]


def test_some_users_are_missing_for_so_many_requests_each_and_then_exist_again(changing: Any, own_user: str):
    """A momentary "user does not exist" is no deletion."""
    other = changing.control("POST", "users", {"timezone": "UTC"})["user_id"]
    changing.fault(kind="missing_user", users=[own_user], per_user=2)

    assert lists(changing, own_user, 3) == [(404, 0), (404, 0), (200, 45)]
    assert lists(changing, other, 1) == [(200, 0)]


def test_a_share_of_the_users_is_drawn_once_for_each_user(changing: Any):
    made = [changing.control("POST", "users", {})["user_id"] for _ in range(20)]
    changing.fault(kind="missing_user", share_of_users=0.5)
    first = [lists(changing, user, 1)[0][0] for user in made]

    assert [lists(changing, user, 1)[0][0] for user in made] == first
    assert 4 <= first.count(404) <= 16


def test_the_service_loses_everything_for_a_while(changing: Any, own_user: str):
    """Empty lists and 404s together look exactly like the deletion of a whole mirror."""
    name = changing.rows(own_user)[0]["session_id"]
    paths = (f"/data/v3/sessions/{name}", f"/ai/v1/users/{own_user}")
    changing.fault(kind="all_missing", count=3)

    assert lists(changing, own_user, 1) == [(200, 0)]
    assert [changing.get(path, own_user).status_code for path in paths] == [404, 404]
    assert lists(changing, own_user, 1) == [(200, 45)]


def test_an_empty_list_leaves_single_sessions_readable(changing: Any, own_user: str):
    name = changing.rows(own_user)[0]["session_id"]
    changing.fault(kind="empty_list")
    changing.fault(kind="missing_session", count=1)

    assert lists(changing, own_user, 1) == [(200, 0)]
    path = f"/data/v3/sessions/{name}"
    assert [changing.get(path, own_user).status_code for _ in range(2)] == [404, 200]


def test_a_session_that_lists_lack_can_be_read_and_is_averaged(changing: Any, own_user: str):
    row = changing.rows(own_user)[0]
    name, day = row["session_id"], row["session_start_time"][:10]
    changing.control("POST", f"sessions/{name}/listed", {"listed": False})

    assert name not in names(changing.rows(own_user, limit=100))
    assert changing.result(own_user, name)["session"]["id"] == name
    assert names_of_slept(changing.averages(own_user, day, day)) == [name]
    assert name in [each["row"]["session_id"] for each in changing.truth(own_user)["sessions"]]


def names_of_slept(averages: Any):
    return [each["id"] for each in averages["slept_sessions"]]


def whole_night(service: Any, user: str):
    """Add a night with every stage, earlier than the user's other sessions."""
    order = {"user_id": user, "start": f"{DAY}T13:00:00Z", "night_id": "dodh-001"}
    return service.control("POST", "sessions", order)["session_id"]


def stages_sorted(session: Any):
    return sorted(session["sleep_stages"]), sorted(session["snoring_stages"])


def test_a_silent_reanalysis_changes_tracks_and_completion_time_only(changing: Any, own_user: str):
    """Statistics and list row stay alike: only `completed_time` shows that the stored arrays are old."""
    name = whole_night(changing, own_user)
    row, day = changing.rows(own_user, date_lte=DAY)[0], DAY
    before, averages = changing.result(own_user, name), changing.averages(own_user, day, day)

    changing.control("POST", f"sessions/{name}/reanalyse", {"changes": "tracks"})

    after = changing.result(own_user, name)
    assert changing.rows(own_user, date_lte=DAY) == [row]
    assert after["stat"] == before["stat"]
    assert after["session"]["sleep_stages"] != before["session"]["sleep_stages"]
    assert stages_sorted(after["session"]) == stages_sorted(before["session"])
    (slept,) = changing.averages(own_user, day, day)["slept_sessions"]
    assert slept.pop("completed_time") > averages["slept_sessions"][0].pop("completed_time")
    assert slept == averages["slept_sessions"][0]
    changing.control("POST", f"sessions/{name}/reanalyse", {"changes": "tracks"})
    assert changing.result(own_user, name)["session"]["sleep_stages"] != after["session"]["sleep_stages"]


def test_a_reanalysis_moves_shares_by_a_hundredth(changing: Any, own_user: str):
    name = whole_night(changing, own_user)
    before = changing.result(own_user, name)
    changing.control("POST", f"sessions/{name}/reanalyse", {"changes": "shares"})
    after = changing.result(own_user, name)

    assert after["session"] == before["session"]
    moved = {
        field: round(value - before["stat"][field], 3)
        for field, value in after["stat"].items()
        if value != before["stat"][field]
    }
    assert moved == {"light_ratio": -0.01, "deep_ratio": 0.01}


def test_a_reanalysis_that_cannot_change_anything_is_refused(changing: Any, own_user: str):
    """A test that changes nothing passes for the wrong reason."""
    order = {"user_id": own_user, "start": "2026-09-03T13:00:00Z", "epochs": 100, "night_id": "wake"}
    name = changing.control("POST", "sessions", order)["session_id"]
    url = f"{changing.url}/_simulator/sessions/{name}/reanalyse"

    assert changing.http.post(url, json={"changes": "tracks"}, timeout=5).status_code == 422
    assert changing.http.post(url, json={"changes": "colours"}, timeout=5).status_code == 422


def test_cycles_are_fractional_when_chosen(put_back: Any):
    user = next(each["user_id"] for each in put_back.control("GET", "users") if each["sessions"] > 20)
    rows = put_back.rows(user, limit=100)

    def cycles():
        return [(put_back.result(user, name)["stat"] or {}).get("sleep_cycle") for name in names(rows)]

    before = cycles()
    put_back.control("POST", "behaviour", {"sleep_cycle": "fractional"})
    after = cycles()

    assert [each if each is None else round(each) for each in after] == before
    assert any(each is not None and each % 1 for each in after)


def test_average_ratios_follow_either_formula(put_back: Any, own_user: str):
    """The contract leaves open which one the service uses."""
    rows = put_back.rows(own_user, limit=20)
    days = sorted(row["session_start_time"][:10] for row in rows)
    found = put_back.averages(own_user, days[0], days[-1])
    slept = found["slept_sessions"]
    of_sums = sum(each["time_in_sleep"] for each in slept) / sum(each["time_in_bed"] for each in slept)
    mean = sum(each["sleep_efficiency"] for each in slept) / len(slept)

    assert found["average_stats"]["sleep_efficiency"] == round(of_sums, 3)
    put_back.control("POST", "behaviour", {"average_ratios": "mean"})
    changed = put_back.averages(own_user, days[0], days[-1])
    assert changed["average_stats"]["sleep_efficiency"] == round(mean, 3)
    assert changed["slept_sessions"] == slept


def raw_answers(service: Any, user: str, count: int = 1, until: bytes | None = None):
    """Every byte of the answers to requests that are sent at once on one connection, at least as far as `until`."""
    target = urlsplit(service.url)
    request = f"GET /data/v1/sessions?limit=1 HTTP/1.1\r\nhost: x\r\nx-api-key: simulated-key\r\nx-user-id: {user}\r\n"
    sent = (request + "\r\n") * (count - 1) + request + "connection: close\r\n\r\n"
    with socket.create_connection((target.hostname, target.port), timeout=5) as connection:
        connection.sendall(sent.encode())
        found = b""
        while (until is None or until not in found) and (piece := connection.recv(65536)):
            found += piece
    return found


@pytest.mark.parametrize(("status", "line"), [(102, b"102 Processing"), (103, b"103 Early Hints")])
def test_interim_responses_precede_the_answer(changing: Any, own_user: str, status: int, line: bytes):
    """RFC 9110: a client reads past them. One that takes the first for the answer is a response behind for ever."""
    changing.fault(kind="interim", status=status, repeat=2, count=1)
    found = raw_answers(changing, own_user)

    assert found.count(b"HTTP/1.1 " + line) == 2
    head, _, body = found.rpartition(b"\r\n\r\n")
    assert head.rpartition(b"HTTP/1.1 ")[2].startswith(b"200 OK")
    assert len(json.loads(body)["result"]["sleep_session_list"]) == 1


@pytest.mark.parametrize("status", [204, 304])
def test_a_body_follows_a_status_that_allows_none(changing: Any, own_user: str, status: int):
    changing.fault(kind="late_body", status=status, count=1)
    first, _, second = raw_answers(changing, own_user, count=2).partition(b"\r\n\r\n")

    assert first.startswith(b"HTTP/1.1 %d" % status)
    assert b"content-length" not in first
    assert second.startswith(b'{"detail":"OK"')
    assert b"HTTP/1.1 200 OK" in second


@pytest.mark.parametrize(
    ("kind", "sign"),
    [
        ("second_response", b'{"detail":"STALE"}'),
        ("long_content_length", b"content-length: " + b"1" * 5000),
        ("negative_chunk", b"\r\n\r\n-5\r\n"),
    ],
)
def test_broken_framing_is_sent_as_announced(changing: Any, own_user: str, kind: str, sign: bytes):
    changing.fault(kind=kind, count=1)

    assert sign in raw_answers(changing, own_user, until=sign)


@pytest.mark.parametrize("damage", ["lost", "wake"])
def test_a_damaged_stage_array_no_longer_fits_the_statistics(changing: Any, own_user: str, damage: str):
    name = whole_night(changing, own_user)
    whole = changing.result(own_user, name)
    changing.fault(kind="damaged_stages", damage=damage, count=1)
    damaged = changing.result(own_user, name)

    assert damaged["stat"] == whole["stat"]
    lengths = [len(each["session"]["sleep_stages"]) for each in (whole, damaged)]
    assert (lengths[0] > lengths[1]) == (damage == "lost")
    asleep = [sum(stage > 0 for stage in each["session"]["sleep_stages"]) for each in (whole, damaged)]
    assert asleep[0] > asleep[1]
    assert changing.result(own_user, name) == whole


@pytest.mark.parametrize(
    "rule",
    [{"kind": "page_cap", "cap": 101}, {"kind": "interim", "status": 101}, {"kind": "damaged_stages", "damage": "x"}],
)
def test_an_impossible_fault_is_refused(changing: Any, rule: Any):
    answer = changing.http.post(f"{changing.url}/_simulator/faults", json=[rule], timeout=5)

    assert answer.status_code == 422
