"""The simulator keeps the tables that a mirror of its sessions must hold, whatever form its answers have."""

from typing import Any

import pytest


def rows(service: Any, user: str, **query: str):
    """The expected rows of a user, by start."""
    arguments = "".join(f"&{name}={value}" for name, value in query.items())
    return service.control("GET", f"expected_tables?user={user}{arguments}")["sleep_sessions"]


@pytest.fixture
def user(changing: Any):
    return changing.control("POST", "users", {"timezone": "Asia/Tokyo"})["user_id"]


def add(service: Any, user: str, day: int, zone: str):
    order = {"user_id": user, "start": f"2026-11-{day:02}T16:30:00Z", "zone": zone, "night_id": "dodh-001"}
    return service.control("POST", "sessions", order)["session_id"]


def zones(service: Any, user: str, **query: str):
    return [(row["local_date"], row["local_zone"], row["zone_source"]) for row in rows(service, user, **query)]


def test_a_row_holds_the_answer_typed_and_the_local_times(changing: Any, user: str):
    name = add(changing, user, 2, "GMT+09:00")
    result, [row] = changing.result(user, name), rows(changing, user)

    assert {field: row[field] for field in result["stat"] if not field.endswith("_time")} == {
        field: value for field, value in result["stat"].items() if not field.endswith("_time")
    }
    assert row["sleep_stages"] == result["session"]["sleep_stages"]
    assert (row["local_date"], row["local_month"]) == ("2026-11-03", "2026-11-01")
    assert row["session_start_local"] == "2026-11-03T01:30:00"
    assert (row["local_zone"], row["zone_source"], row["contract_violations"]) == ("+09:00", "offset", [])


def test_a_session_without_a_zone_borrows_that_of_its_neighbours(changing: Any, user: str):
    add(changing, user, 2, "Not/AZone")
    assert zones(changing, user) == [("2026-11-02", "UTC", "utc")]
    assert zones(changing, user, registered="zones") == [("2026-11-03", "Asia/Tokyo", "registered")]

    add(changing, user, 4, "asia/seoul")
    add(changing, user, 6, "Not/AZone")
    assert zones(changing, user) == [
        ("2026-11-03", "Asia/Seoul", "later"),
        ("2026-11-05", "Asia/Seoul", "own"),
        ("2026-11-07", "Asia/Seoul", "earlier"),
    ]
    assert rows(changing, user)[0]["contract_violations"] == ["session.created_timezone: unknown time zone"]


def test_a_percentage_is_expected_as_a_ratio_and_a_violation(changing: Any, user: str):
    add(changing, user, 2, "UTC")
    changing.control("POST", "behaviour", {"sleep_efficiency": "percentage"})
    [row] = rows(changing, user)
    changing.control("POST", "behaviour", {"sleep_efficiency": "ratio"})

    assert 0.5 < row["sleep_efficiency"] < 1
    assert row["contract_violations"] == ["stat.sleep_efficiency: a percentage, divided by 100"]
