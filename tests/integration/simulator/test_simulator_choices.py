"""Every alternative reading of what the contract leaves open can be chosen, and the default is the better evidence."""

from datetime import date, datetime, timedelta
from typing import Any

import pytest

from simulator.behaviour import CHOICES, Behaviour

STRANGER = "G-20200101000000-ABCDEFGHIJKLMNOPQRST"


@pytest.fixture
def choose(changing: Any):
    """Sets choices, which are put back after the test."""
    before = changing.control("POST", "behaviour", {})
    yield lambda **choices: changing.control("POST", "behaviour", choices)
    changing.control("POST", "behaviour", before)


@pytest.fixture
def night(changing: Any, own_user: str):
    """A night with every stage from 23:00 to 08:56 of 2 and 3 September, UTC: its user and its id."""
    order = {"user_id": own_user, "start": "2026-09-02T23:00:00Z", "night_id": "dodh-001"}
    return own_user, changing.control("POST", "sessions", order)["session_id"]


@pytest.mark.parametrize("name", [name for name, rules in CHOICES.items() if "values" in rules])
def test_a_choice_is_an_option_and_takes_its_own_values_only(start_service: Any, name: str):
    last = CHOICES[name]["values"][-1]
    with start_service("--users", 1, "--days", 1, f"--{name.replace('_', '-')}", last) as service:
        assert service.control("POST", "behaviour", {})[name] == last
        wrong = service.http.post(f"{service.url}/_simulator/behaviour", json={name: "purple"}, timeout=5)
        assert wrong.status_code == 422


def test_the_first_value_of_each_choice_is_the_default():
    defaults = Behaviour().summary()

    assert {name: defaults[name] for name, rules in CHOICES.items() if "values" in rules} == {
        name: rules["values"][0] for name, rules in CHOICES.items() if "values" in rules
    }


def test_a_limit_over_twenty_is_refused(changing: Any, choose: Any, own_user: str):
    choose(max_limit="20")

    assert changing.get("/data/v1/sessions", own_user, limit=21).status_code == 422
    assert len(changing.rows(own_user, limit=20)) == 20


@pytest.mark.parametrize(("value", "listed"), [("start", "2026-09-02"), ("end", "2026-09-03")])
def test_the_date_of_a_list_row_is_that_of_its_start_or_end(
    changing: Any, choose: Any, night: Any, value: str, listed: str
):
    user, name = night
    choose(list_date=value)

    for day in ("2026-09-02", "2026-09-03"):
        found = [row["session_id"] for row in changing.rows(user, date_gte=day, date_lte=day)]
        assert found == ([name] if day == listed else [])


@pytest.mark.parametrize(("value", "day"), [("start", "2026-09-02"), ("end", "2026-09-03"), ("wake", "2026-09-03")])
def test_the_date_of_an_averaged_session_can_be_chosen(changing: Any, choose: Any, night: Any, value: str, day: str):
    user, name = night
    choose(average_date=value)

    for each in ("2026-09-02", "2026-09-03"):
        slept = changing.averages(user, each, each)["slept_sessions"]
        assert [row["id"] for row in slept] == ([name] if each == day else [])


def test_an_awakening_before_midnight_counts_where_the_end_after_it_does_not(changing: Any, choose: Any, own_user: str):
    """The app ran on for a while after the user woke up."""
    order = {"user_id": own_user, "start": "2026-09-05T14:00:00Z", "night_id": "dodh-001"}
    name = changing.control("POST", "sessions", order)["session_id"]
    latency = changing.result(own_user, name)["stat"]["wakeup_latency"]
    assert latency > 60
    changing.control("DELETE", f"sessions/{name}")
    end = datetime.fromisoformat("2026-09-06T00:00:30+00:00")
    order["start"] = (end - timedelta(seconds=1192 * 30 + 1)).isoformat()
    order["end"] = end.isoformat()
    name = changing.control("POST", "sessions", order)["session_id"]
    for value, day in (("end", "2026-09-06"), ("wake", "2026-09-05")):
        choose(average_date=value)
        assert [row["id"] for row in changing.averages(own_user, day, day)["slept_sessions"]] == [name]


def test_sessions_that_start_together_change_places(changing: Any, choose: Any, own_user: str):
    for name in ("20260801120000_aaaaz", "20260801120000_bbbby", "20260801120000_ccccx"):
        order = {"user_id": own_user, "start": "2026-08-01T12:00:00Z", "epochs": 60, "session_id": name}
        changing.control("POST", "sessions", order)

    def order_now():
        return [row["session_id"][-5:] for row in changing.rows(own_user, order_by="ASC", limit=3)]

    assert order_now() == order_now() == ["aaaaz", "bbbby", "ccccx"]
    choose(equal_starts="changing")
    assert {tuple(order_now()), tuple(order_now())} == {("aaaaz", "bbbby", "ccccx"), ("ccccx", "bbbby", "aaaaz")}


@pytest.mark.parametrize(("value", "seconds"), [("null", None), ("zero", 0), ("running", 3600)])
def test_time_in_bed_of_a_running_session(changing: Any, choose: Any, own_user: str, value: str, seconds: Any):
    order = {"user_id": own_user, "start": "2026-11-23T14:00:00Z", "state": "OPEN", "epochs": 100}
    changing.control("POST", "sessions", order)
    choose(open_time_in_bed=value)

    assert changing.rows(own_user, limit=1)[0]["time_in_bed"] == seconds


@pytest.mark.parametrize(("value", "end"), [("offset", "+00:00"), ("z", "Z"), ("bare", "")])
def test_timestamps_have_the_chosen_form(changing: Any, choose: Any, night: Any, value: str, end: str):
    user, name = night
    choose(timestamp_form=value)
    result = changing.result(user, name)
    slept = changing.averages(user, "2026-09-02", "2026-09-02")["slept_sessions"][0]

    assert changing.rows(user, order_by="ASC", limit=1)[0]["session_start_time"] == f"2026-09-02T23:00:00{end}"
    assert result["session"]["start_time"] == slept["start_time"] == f"2026-09-02T23:00:00{end}"
    assert len(result["stat"]["wake_time"]) == 19 + len(end)
    assert changing.truth(user)["sessions"][0]["result"] == result


def test_success_is_worded_alike_everywhere(changing: Any, choose: Any, own_user: str):
    choose(success_detail="success")

    assert changing.get("/data/v1/sessions", own_user).json()["detail"] == "success"


@pytest.mark.parametrize(
    ("value", "texts"),
    [
        ("newest", ("user does not exist", "session does not exist")),
        ("older", ("user not exist", "Session not found")),
        ("with_id", (f"Unable to find the user of id {STRANGER}", "Session not found")),
    ],
)
def test_what_is_not_there_is_worded_as_chosen(changing: Any, choose: Any, own_user: str, value: str, texts: Any):
    choose(not_found_text=value)
    answers = [changing.get("/data/v1/sessions", STRANGER), changing.get(f"/ai/v1/users/{STRANGER}")]

    assert [(each.status_code, each.json()["detail"]) for each in answers] == [(404, texts[0])] * 2
    assert changing.get("/data/v3/sessions/20260101000000_aaaaa", own_user).json() == {"detail": texts[1]}


def test_throttling_is_a_429_when_chosen(start_service: Any):
    with start_service("--users", 1, "--days", 9, "--rate", 0.01, "--throttling", "429") as service:
        user = service.control("GET", "users")[0]["user_id"]
        assert [service.get("/data/v1/sessions", user).status_code for _ in range(2)] == [200, 429]
        assert service.control("GET", "stats")["throttled"] == 1


def test_efficiency_and_latencies_of_a_session_can_be_read_otherwise(changing: Any, choose: Any, night: Any):
    user, name = night
    before = changing.result(user, name)["stat"]
    choose(sleep_efficiency="percentage", stage_latency="from_start")
    after = changing.result(user, name)["stat"]

    assert after.pop("sleep_efficiency") == pytest.approx(100 * before.pop("sleep_efficiency"), abs=0.5)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"light_latency", "deep_latency", "rem_latency"}
    assert {after[name] - before[name] for name in changed} == {before["sleep_latency"]}


def test_averages_have_other_names_lists_and_counts_when_chosen(changing: Any, choose: Any, night: Any):
    user, name = night
    order = {"user_id": user, "start": "2026-09-03T12:00:00Z", "finding": "TOO_SHORT_FOR_ANALYSIS", "epochs": 5}
    short = changing.control("POST", "sessions", order)["session_id"]
    days = ("2026-09-02", "2026-09-03")
    plain = changing.averages(user, *days)
    assert plain["never_slept_sessions"] == []

    choose(average_session_names="session_id", average_empty_lists="absent", period_days="present")
    found = changing.averages(user, *days)
    assert "never_slept_sessions" not in found
    assert found["period"] == plain["period"] | {"days": 2}
    slept = found["slept_sessions"][0]
    assert (slept["session_id"], slept["session_start_time"]) == (name, plain["slept_sessions"][0]["start_time"])
    assert not {"id", "start_time", "end_time"} & set(slept)

    choose(average_session_names="id", unanalysed_in_averages="never_slept")
    assert [row["id"] for row in changing.averages(user, *days)["never_slept_sessions"]] == [short]


def test_average_counts_are_whole_when_chosen(changing: Any, choose: Any):
    user = next(each["user_id"] for each in changing.control("GET", "users") if each["sessions"] > 20)
    days = ("2026-11-01", "2026-11-20")
    names = ("waso_count", "longest_waso", "sleep_cycle_count", "snoring_count")
    before = changing.averages(user, *days)["average_stats"]
    choose(average_counts="integer")
    after = changing.averages(user, *days)["average_stats"]

    assert any(before[name] % 1 for name in names)
    assert not any(after[name] % 1 for name in names)


@pytest.mark.parametrize("most", [100, 101])
def test_a_period_has_at_most_so_many_dates(changing: Any, choose: Any, own_user: str, most: int):
    choose(max_period_dates=str(most))
    path, last = f"/data/v1/users/{own_user}/average-stats", date(2026, 11, 1)
    statuses = [
        changing.get(path, start_date=last - timedelta(days=dates - 1), end_date=last).status_code
        for dates in (most, most + 1)
    ]

    assert statuses == [200, 400]


def test_the_last_session_of_a_user_has_other_names_when_chosen(changing: Any, choose: Any, own_user: str):
    bare = changing.get(f"/ai/v1/users/{own_user}").json()["result"]["last_session_info"]
    choose(last_session_names="session")
    named = changing.get(f"/ai/v1/users/{own_user}").json()["result"]["last_session_info"]

    assert named["session_start_time"] == bare["start_time"] + "+00:00"
    assert named["complete_time"] == bare["complete_time"] + "+00:00"
    assert "start_time" not in named
