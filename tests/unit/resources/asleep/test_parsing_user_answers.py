"""What becomes of the answers about a user at the door."""

from datetime import UTC, datetime, time
from typing import Any

import pytest
from asleep_answers import SESSION, USER, averages_result, user_result

from resources.asleep.errors import Malformed
from resources.asleep.parsing import parse_average_stats, parse_user
from resources.asleep.records import AverageStats

ASKED_AT = datetime(2026, 3, 9, 9, 0, tzinfo=UTC)


def parsed(result: dict[str, Any]) -> AverageStats:
    return parse_average_stats(result, asked_at=ASKED_AT)


def test_averages_and_the_sessions_behind_them_are_read():
    stats = parsed(averages_result())

    assert stats.contract_violations == ()
    assert stats.timezone == "UTC"
    assert stats.asked_at == ASKED_AT
    assert stats.averages == {
        "start_time": time(23, 2, 11),
        "sleep_time": time(23, 5, 11),
        "sleep_efficiency": 0.819,
        "time_in_bed": 2417.5,
        "waso_count": 2.5,
        "breathing_index": None,
    }
    (slept,) = stats.slept
    assert slept.session_id == SESSION
    assert slept.contract_violations == ()
    assert slept.completed_time == datetime(2026, 3, 7, 14, 43, 5, tzinfo=UTC)
    assert slept.stat.sleep_index == 58
    assert slept.stat.breathing_index is None
    (never_slept,) = stats.never_slept
    assert never_slept.session_id == "20260308130005_k2v9d"
    assert never_slept.session_start_time == datetime(2026, 3, 8, 13, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize("lists", ["absent", "null"])
def test_a_period_without_sleep_has_no_averages(lists: str):
    """Documented: the object is null, and the lists may be missing."""
    result = averages_result() | {"average_stats": None}
    for name in ("slept_sessions", "never_slept_sessions"):
        result[name] = None
        if lists == "absent":
            del result[name]
    stats = parsed(result)
    assert (stats.averages, stats.slept, stats.never_slept, stats.contract_violations) == (None, (), (), ())


def test_both_spellings_of_a_session_are_accepted():
    """Sources disagree on the names; see section 9 of the contract."""
    result = averages_result()
    for rows in (result["slept_sessions"], result["never_slept_sessions"]):
        (row,) = rows
        row["session_id"] = row.pop("id")
        row["session_start_time"] = row.pop("start_time")
        row["session_end_time"] = row.pop("end_time")
    assert parsed(result) == parsed(averages_result())


def test_odd_averages_are_left_out_and_recorded():
    result = averages_result()
    result["average_stats"] |= {"waso_count": "many", "sleep_time": 8.5, "mood": 1, "sleep_efficiency": 81.9}
    result["slept_sessions"][0] |= {"waso_count": 2.5, "completed_time": "soon"}
    result["period"] = "March"

    stats = parsed(result)

    assert stats.averages is not None
    assert (stats.averages["waso_count"], stats.averages["sleep_time"]) == (None, None)
    assert stats.averages["sleep_efficiency"] == pytest.approx(0.819)
    assert "mood" not in stats.averages
    assert set(stats.contract_violations) == {
        "average_stats.waso_count: not a number",
        "average_stats.sleep_time: not a clock time",
        "average_stats.sleep_efficiency: a percentage, divided by 100",
        "average_stats.mood: unknown field",
        "period: not an object",
    }
    assert stats.slept[0].completed_time is None
    assert len(stats.slept[0].contract_violations) == 2


@pytest.mark.parametrize("name", ["slept_sessions", "never_slept_sessions"])
@pytest.mark.parametrize("rows", [{}, "none", [None]])
def test_a_list_of_sessions_that_is_none_makes_averages_malformed(name: str, rows: Any):
    """It must not look like a period without sleep."""
    with pytest.raises(Malformed):
        parsed(averages_result() | {name: rows})


@pytest.mark.parametrize("name", ["slept_sessions", "never_slept_sessions"])
@pytest.mark.parametrize("bad", [{}, {"id": SESSION}, {"id": "", "start_time": "x"}])
def test_a_session_without_identity_hides_no_other(name: str, bad: Any):
    """One odd session of ninety; the others are right."""
    whole = parsed(averages_result())
    rows = averages_result()[name]
    damaged = parsed(averages_result() | {name: [bad, *rows]})

    assert len(damaged.problems) == 1
    assert (damaged.slept, damaged.never_slept) == (whole.slept, whole.never_slept)


def test_a_profile_is_read_and_the_person_left_out():
    """Birth, gender, height and weight are not needed, so they are not kept."""
    profile = parse_user(user_result(), user_id=USER)

    assert (profile.user_id, profile.to_be_deleted, profile.contract_violations) == (USER, False, ())
    assert "1990" not in repr(profile)


@pytest.mark.parametrize("last", [None, "missing"])
def test_a_new_user_has_no_session(last: str | None):
    result = user_result() | {"last_session_info": None}
    if last:
        del result["last_session_info"], result["metadata"]
    profile = parse_user(result, user_id=USER)
    assert profile.contract_violations == ()


def test_an_odd_profile_is_read_as_far_as_it_goes():
    result = user_result() | {"to_be_deleted": "no", "x": 1}
    profile = parse_user(result, user_id=USER)
    assert not profile.to_be_deleted
    assert len(profile.contract_violations) == 2


@pytest.mark.parametrize("user_id", [None, "G-other", USER.lower(), 5])
def test_the_profile_of_another_user_is_refused_and_its_metadata_not_kept(user_id: Any):
    """Two users' data must never be confused."""
    with pytest.raises(Malformed) as caught:
        parse_user(user_result() | {"user_id": user_id}, user_id=USER)
    assert b"1990" not in caught.value.raw
