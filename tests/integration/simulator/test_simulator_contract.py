"""The simulated API says what the contract says, statement by statement, over real HTTP."""

import re
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

USER_FORM = re.compile(r"G-\d{14}-[A-Za-z]{20}")
SESSION_FORM = re.compile(r"\d{14}_[a-z0-9]{5}")
STAMP_FORM = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")
STRANGER = "G-20200101000000-ABCDEFGHIJKLMNOPQRST"
ROW = (
    "session_id state session_start_time session_end_time created_timezone unexpected_end_time "
    "last_received_seq_num time_in_bed"
)


@pytest.fixture(scope="session")
def user(service: Any):
    """An ordinary user of many nights."""
    found = [each for each in service.control("GET", "users") if each["sessions"] > 50]
    return found[-1]["user_id"]


@pytest.fixture(scope="session")
def rows(service: Any, user: str):
    return service.rows(user, order_by="ASC", limit=100)


def test_ids_and_timestamps_have_the_documented_form(user: str, rows: Any):
    """The 14 digits of a session id are its start in UTC."""
    assert USER_FORM.fullmatch(user)
    for row in rows:
        assert SESSION_FORM.fullmatch(row["session_id"])
        assert STAMP_FORM.fullmatch(row["session_start_time"])
        assert row["session_id"][:14] == re.sub(r"\D", "", row["session_start_time"][:19])


def test_a_row_has_the_eight_documented_fields(rows: Any):
    assert all(list(row) == ROW.split() for row in rows)


def test_listing_is_newest_first_by_default_with_pages_of_twenty(service: Any, user: str, rows: Any):
    newest = service.rows(user)

    assert len(newest) == 20
    assert newest == rows[::-1][:20]


def test_pages_by_offset_cover_the_list_and_end_with_an_empty_one(service: Any, user: str, rows: Any):
    pages = [service.rows(user, order_by="ASC", limit=17, offset=offset) for offset in range(0, 120, 17)]

    assert [row for page in pages for row in page] == rows
    assert pages[-1] == []
    assert service.rows(user, limit=0) == []


@pytest.mark.parametrize("zone", ["UTC", "Asia/Seoul", "America/New_York", "Pacific/Kiritimati"])
def test_dates_are_inclusive_and_meant_in_the_requested_zone(service: Any, user: str, rows: Any, zone: str):
    """A session belongs to the date on which it starts there, also when it ends the next morning."""
    first, last = date(2026, 10, 20), date(2026, 11, 5)
    starts = {row["session_id"]: datetime.fromisoformat(row["session_start_time"]) for row in rows}
    expected = {name for name, start in starts.items() if first <= start.astimezone(ZoneInfo(zone)).date() <= last}

    found = service.rows(user, zone=zone, date_gte=first, date_lte=last, limit=100)

    assert {row["session_id"] for row in found} == expected
    assert all(datetime.fromisoformat(row["session_start_time"]) == starts[row["session_id"]] for row in found)
    answer = service.get("/data/v1/sessions", user, zone=zone)
    assert answer.json()["result"]["timezone"] == zone
    offset = ZoneInfo(zone).utcoffset(datetime(2026, 11, 20)).total_seconds()  # noqa: DTZ001
    last_row = answer.json()["result"]["sleep_session_list"][0]
    assert datetime.fromisoformat(last_row["session_start_time"]).utcoffset().total_seconds() == offset


def test_envelopes_differ_between_the_families(service: Any, user: str):
    """`detail` must not be compared: data calls say OK, the users call says success."""
    assert service.get("/data/v1/sessions", user).json()["detail"] == "OK"
    assert service.get(f"/ai/v1/users/{user}").json()["detail"] == "success"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"limit": 101}, 422),
        ({"limit": -1}, 422),
        ({"limit": "many"}, 422),
        ({"offset": -1}, 422),
        ({"order_by": "asc"}, 422),
        ({"date_gte": "2026-02-30"}, 422),
        ({"date_lte": "20260203"}, 422),
        ({"date_gte": "0001-01-01", "date_lte": "9999-12-31"}, 200),
        ({"date_gte": "2026-02-02", "date_lte": "2026-02-01"}, 200),
    ],
)
def test_list_parameters_are_validated(service: Any, user: str, query: Any, status: int):
    answer = service.get("/data/v1/sessions", user, zone="Asia/Tokyo", **query)

    assert answer.status_code == status
    if status == 422:
        assert isinstance(answer.json()["detail"], list)


@pytest.mark.parametrize(
    ("path", "options", "status", "detail"),
    [
        ("/data/v1/sessions", {"key": "wrong"}, 401, "Unauthorized"),
        ("/data/v1/sessions", {"key": "clé"}, 401, "Unauthorized"),
        ("/data/v1/sessions", {"user": "G-1-a"}, 400, "The format of x-user-id is invalid"),
        ("/data/v1/sessions", {"zone": "Mars/Olympus"}, 400, "The invalid timezone is provided"),
        ("/data/v1/sessions", {"zone": "Asia/Beijing"}, 400, "The invalid timezone is provided"),
        ("/data/v1/sessions", {"user": STRANGER}, 404, "user does not exist"),
        ("/data/v3/sessions/2026_a", {}, 400, "The format of sleep session id is invalid"),
        ("/data/v3/sessions/20260101000000_aaaaa", {}, 404, "session does not exist"),
        ("/ai/v1/users/nobody", {}, 401, "x-user-id is invalid"),
        (f"/ai/v1/users/{STRANGER}", {}, 404, "user does not exist"),
        (f"/data/v1/users/{STRANGER}/average-stats?start_date=2026-01-01&end_date=2026-01-02", {}, 404, None),
        ("/data/v1/users/G-1-a/average-stats?start_date=2026-01-01&end_date=2026-01-02", {}, 400, None),
        ("/data/v2/sessions", {}, 404, None),
    ],
)
def test_errors_have_the_documented_status_and_text(  # noqa: PLR0917
    service: Any, user: str, path: str, options: Any, status: int, detail: str
):
    answer = service.get(path, **({"user": user} | options))

    assert answer.status_code == status
    assert list(answer.json()) == ["detail"]
    assert detail is None or answer.json()["detail"] == detail


def test_another_users_session_is_not_there(service: Any, user: str, rows: Any):
    other = next(each["user_id"] for each in service.control("GET", "users") if each["user_id"] != user)

    assert service.get(f"/data/v3/sessions/{rows[0]['session_id']}", other).status_code == 404


def test_a_full_result_agrees_with_its_row(service: Any, user: str, rows: Any):
    """The two calls name the same things differently."""
    for row in rows[:10]:
        result = service.result(user, row["session_id"])
        session = result["session"]

        assert list(result) == ["timezone", "peculiarities", "missing_data_ratio", "session", "stat"]
        assert (session["id"], session["state"]) == (row["session_id"], row["state"])
        assert session["start_time"] == row["session_start_time"]
        assert session["end_time"] == row["session_end_time"]
        assert result["stat"]["time_in_bed"] == row["time_in_bed"]
        assert len(session["sleep_stages"]) == row["last_received_seq_num"] + 1 == row["time_in_bed"] // 30
        assert abs(len(session["snoring_stages"]) - len(session["sleep_stages"])) <= 4
        assert len(result["stat"]) == 38


def test_a_result_in_another_zone_is_the_same_moment(service: Any, user: str, rows: Any):
    name = rows[-1]["session_id"]
    here, there = service.result(user, name), service.result(user, name, zone="Asia/Seoul")

    assert there["timezone"] == "Asia/Seoul"
    assert there["session"]["start_time"].endswith("+09:00")
    for field in ("sleep_time", "wake_time"):
        assert datetime.fromisoformat(there["stat"][field]) == datetime.fromisoformat(here["stat"][field])
    assert there["session"]["sleep_stages"] == here["session"]["sleep_stages"]


@pytest.mark.parametrize(
    ("tag", "peculiarity", "has_stat"),
    [
        ("never_slept", "NEVER_SLEPT", True),
        ("too_short", "TOO_SHORT_FOR_ANALYSIS", False),
        ("too_many_defects", "TOO_MANY_DEFECTS_IN_SLEEP_STAGES", False),
        ("too_long", "TOO_LONG_FOR_ANALYSIS", True),
        ("open_now", "IN_PROGRESS", False),
        ("open_old", "IN_PROGRESS", False),
        ("closed_now", "IN_PROGRESS", False),
        ("no_realtime_polling", "NO_REALTIME_POLLING", False),
    ],
)
def test_peculiarities_decide_whether_there_are_statistics(service: Any, tag: str, peculiarity: str, has_stat: Any):
    for owner, name in service.sessions_with(tag):
        result = service.result(owner, name)

        assert peculiarity in result["peculiarities"]
        assert (result["stat"] is not None) == has_stat


def test_a_running_session_has_no_end_and_arrives_in_steps_of_five_minutes(service: Any):
    (owner, name), *_ = service.sessions_with("open_now")
    row = next(row for row in service.rows(owner) if row["session_id"] == name)
    session = service.result(owner, name)["session"]

    assert (row["state"], row["session_end_time"], row["time_in_bed"]) == ("OPEN", None, None)
    assert session["end_time"] is None
    assert len(session["sleep_stages"]) == (row["last_received_seq_num"] + 1) // 10 * 10


def test_a_closed_session_has_its_end_but_no_result(service: Any):
    (owner, name), *_ = service.sessions_with("closed_now")
    result = service.result(owner, name)

    assert result["session"]["state"] == "CLOSED"
    assert result["session"]["end_time"] is not None
    assert result["peculiarities"] == ["IN_PROGRESS"]


def test_sessions_that_ended_otherwise_say_when(service: Any):
    for owner, name in service.sessions_with("unexpected_end"):
        session = service.result(owner, name)["session"]
        assert session["unexpected_end_time"] == session["end_time"]


def test_old_sessions_have_only_digits_and_three_decimals(service: Any):
    found = service.sessions_with("old_ids")

    assert all(name.isdigit() and len(name) == 14 for _, name in found)
    ratios = [service.result(owner, name)["stat"]["light_ratio"] for owner, name in found[:20]]
    assert any(ratio != round(ratio, 2) for ratio in ratios)


def test_a_missing_tail_shows_in_the_ratio_and_the_length(service: Any):
    (owner, name), *_ = service.sessions_with("missing_tail")
    result = service.result(owner, name)
    slots = result["stat"]["time_in_bed"] // 30

    assert len(result["session"]["sleep_stages"]) < slots
    missing = slots - len(result["session"]["sleep_stages"])
    assert result["missing_data_ratio"] == round(missing / slots, 3)


def test_breathing_is_there_for_some_and_flagged_as_absent_for_the_rest(service: Any):
    for each in service.control("GET", "users"):
        for row in service.rows(each["user_id"], limit=1, offset=3):
            result = service.result(each["user_id"], row["session_id"])
            if result["stat"] and row["state"] == "COMPLETE":
                assert ("NO_BREATHING_STABILITY" in result["peculiarities"]) != each["breathing"]
                assert (result["session"]["breath_stages"] is not None) == each["breathing"]
                assert (result["stat"]["time_in_stable_breath"] is not None) == each["breathing"]


def test_unknown_zones_are_reported_as_the_phone_named_them(service: Any):
    each = service.user_with("unknown_zone")

    assert {row["created_timezone"] for row in service.rows(each["user_id"])} == {"Asia/Beijing"}


def test_some_nights_cross_a_change_of_the_clocks(service: Any):
    zone = ZoneInfo("America/New_York")
    found = service.sessions_with("dst_nights")
    offsets = []
    for owner, name in found:
        session = service.result(owner, name)["session"]
        times = [datetime.fromisoformat(session[field]).astimezone(zone) for field in ("start_time", "end_time")]
        offsets.append((times[1].utcoffset() - times[0].utcoffset()) / timedelta(hours=1))

    assert sorted(set(offsets)) == [-1, 1]


def test_a_user_has_a_profile_and_the_latest_session_without_offsets(service: Any, user: str, rows: Any):
    result = service.get(f"/ai/v1/users/{user}").json()["result"]
    last = result["last_session_info"]

    assert (result["user_id"], result["to_be_deleted"]) == (user, False)
    assert last["session_id"] == rows[-1]["session_id"]
    assert last["start_time"] + "+00:00" == rows[-1]["session_start_time"]
    assert last["complete_time"] >= last["end_time"]
    assert set(result["metadata"]) == {"birth_year", "birth_month", "birth_day", "gender", "height", "weight"}


def test_users_differ_in_what_their_profile_holds(service: Any):
    def profile(tag: str) -> Any:
        return service.get(f"/ai/v1/users/{service.user_with(tag)['user_id']}").json()["result"]

    assert profile("without_sessions")["last_session_info"] is None
    assert "metadata" not in profile("no_metadata")
    assert profile("to_be_deleted")["to_be_deleted"] is True


@pytest.mark.parametrize(
    ("first", "last", "status"),
    [
        ("2026-08-16", "2026-11-23", 200),
        ("2026-08-15", "2026-11-23", 400),
        ("2026-11-23", "2026-11-22", 400),
        ("2026-11-23", None, 422),
        ("yesterday", "2026-11-23", 422),
    ],
    ids=["100 dates", "101 dates", "backwards", "no end", "no date"],
)
def test_a_period_has_at_most_100_days(service: Any, user: str, first: str, last: str, status: int):
    answer = service.get(f"/data/v1/users/{user}/average-stats", start_date=first, end_date=last)

    assert answer.status_code == status
    if first == "2026-08-15":
        assert answer.json()["detail"] == "The period should be less than or equal to 100 days"


def test_averages_are_those_of_the_sessions_listed_with_them(service: Any, user: str, rows: Any):
    """Ratios are ratios of summed durations with three decimals, durations are means."""
    result = service.averages(user, "2026-10-01", "2026-10-31", zone="Asia/Seoul")
    slept, averages = result["slept_sessions"], result["average_stats"]
    starts = [datetime.fromisoformat(row["session_start_time"]).astimezone(ZoneInfo("Asia/Seoul")) for row in rows]

    assert result["period"] == {"timezone": "Asia/Seoul", "start_date": "2026-10-01", "end_date": "2026-10-31"}
    assert len(slept) + len(result["never_slept_sessions"]) == sum(start.month == 10 for start in starts)
    durations = [name for name in slept[0] if name.startswith("time_in_")]
    total = {name: sum(each[name] for each in slept) for name in durations}
    assert averages["sleep_efficiency"] == round(total["time_in_sleep"] / total["time_in_bed"], 3)
    for part in ("sleep", "wake", "light", "deep", "rem", "snoring", "no_snoring"):
        ratio = total[f"time_in_{part}"] / total["time_in_sleep_period"]
        assert averages[f"{part}_ratio"] == round(ratio, 3)
    assert averages["time_in_rem"] == pytest.approx(total["time_in_rem"] / len(slept), abs=0.01)
    assert re.fullmatch(r"\d\d:\d\d:\d\d", averages["sleep_time"])


def test_average_rows_repeat_the_statistics_and_add_when_they_were_computed(service: Any, user: str):
    for each in service.averages(user, "2026-11-01", "2026-11-20")["slept_sessions"]:
        result = service.result(user, each["id"])

        assert each["start_time"] == result["session"]["start_time"]
        assert each["completed_time"] > each["end_time"]
        shared = set(each) & set(result["stat"])
        assert {"sleep_index", "sleep_cycle", "light_ratio"} <= shared
        assert {name: each[name] for name in shared} == {name: result["stat"][name] for name in shared}


def test_only_sleep_is_averaged(service: Any):
    """Never slept has a list of its own; running and not analysable sessions are in neither."""
    (owner, never), *_ = service.sessions_with("never_slept")
    result = service.averages(owner, "2026-08-20", "2026-11-23")
    assert never in {each["id"] for each in result["never_slept_sessions"]}
    assert never not in {each["id"] for each in result["slept_sessions"]}

    for tag in ("open_now", "closed_now", "too_short", "too_many_defects"):
        (owner, name), *_ = service.sessions_with(tag)
        result = service.averages(owner, "2026-08-20", "2026-11-23")
        listed = result["slept_sessions"] + result["never_slept_sessions"]
        assert name not in {each["id"] for each in listed}

    nobody = service.user_with("without_sessions")["user_id"]
    assert service.averages(nobody, "2026-11-01", "2026-11-02")["average_stats"] is None


def test_the_truth_is_what_the_api_answers(service: Any):
    """Everything that is compared with the truth rests on this."""
    for each in service.control("GET", "users")[:12]:
        owner = each["user_id"]
        truth = service.truth(owner)["sessions"]
        listed = [row for offset in (0, 100) for row in service.rows(owner, limit=100, offset=offset, order_by="ASC")]

        assert [session["row"] for session in truth] == listed
        for session in truth[::9]:
            assert session["result"] == service.result(owner, session["row"]["session_id"])


def test_the_fewest_requests_are_counted_by_full_pages(service: Any):
    least = service.control("GET", "least_requests?from=2026-11-01&to=2026-11-20")
    counts = least["sessions_per_user"].values()

    assert least["read_session"] == sum(counts)
    assert least["list_sessions"] == len(counts) == 40
    assert least["list_sessions_until_empty"] == 40 + sum(count > 0 for count in counts)


def test_users_as_csv_register_every_user(service: Any):
    lines = service.http.get(f"{service.url}/_simulator/users.csv", timeout=5).text.splitlines()

    assert lines[0] == "user_id,timezone"
    assert len(lines) == 41


def test_now_is_the_moment_that_was_set(service: Any):
    assert service.control("GET", "stats")["now"] == datetime(2026, 11, 23, 15, tzinfo=UTC).isoformat()
