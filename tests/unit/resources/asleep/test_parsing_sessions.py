"""What becomes of a session's answer at the door."""

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest
from asleep_answers import SESSION, USER, list_row, session_result, stat
from hypothesis import given, settings
from hypothesis import strategies as st

from resources.asleep.classification import decode
from resources.asleep.errors import Malformed
from resources.asleep.parsing import MAX_ROWS, parse_session_list, parse_session_result
from resources.asleep.records import STAT_FIELDS, SleepSession, Stat

ASKED_AT = datetime(2026, 3, 8, 9, 0, tzinfo=UTC)


def parsed(result: Any) -> SleepSession:
    return parse_session_result(result, user_id=USER, asked_at=ASKED_AT)


def test_a_whole_session_is_read_without_oddities():
    """Every field of the contract arrives under its name, with its type."""
    session = parsed(session_result())

    assert session.contract_violations == ()
    assert (session.session_id, session.user_id, session.state) == (SESSION, USER, "COMPLETE")
    assert session.session_start_time == datetime(2026, 3, 7, 14, 2, 11, tzinfo=UTC)
    assert session.session_end_time == datetime(2026, 3, 7, 14, 42, 28, tzinfo=UTC)
    assert session.unexpected_end_time is None
    assert session.missing_data_ratio == 0
    assert session.asked_at == ASKED_AT
    assert session.sleep_stages == session_result()["session"]["sleep_stages"]
    assert session.stat is not None
    for name, sent in stat().items():
        expected = sent
        if name in {"sleep_time", "wake_time"}:
            expected = datetime.fromisoformat(sent)
        if name == "sleep_cycle_time":
            expected = [datetime.fromisoformat(moment) for moment in sent]
        assert getattr(session.stat, name) == expected, name


def test_the_statistics_are_the_contracts_38():
    """A field forgotten here would be a column forever null."""
    assert set(STAT_FIELDS) == set(stat())
    assert len(STAT_FIELDS) == 38
    assert Stat() == (None,) * 38


def test_times_are_utc_whatever_the_zone_asked_in():
    """Webhooks answer in the zone of the app."""
    result = session_result()
    result["session"]["start_time"] = "2026-03-07T23:02:11+09:00"

    start = parsed(result).session_start_time

    assert start == datetime(2026, 3, 7, 14, 2, 11, tzinfo=UTC)
    assert start.utcoffset() == timedelta(0)


@pytest.mark.parametrize("stat_value", [None, "missing"])
def test_a_session_without_statistics_is_normal(stat_value: str | None):
    """Running and too short sessions have none; that is no violation."""
    result = session_result()
    result["stat"] = None
    if stat_value == "missing":
        del result["stat"]
    session = parsed(result)
    assert session.stat is None
    assert session.contract_violations == ()


def test_a_running_session_may_have_null_arrays_and_no_end():
    result = session_result()
    result["session"] |= {"end_time": None, "sleep_stages": None, "breath_stages": None, "snoring_stages": None}
    session = parsed(result)
    assert (session.session_end_time, session.sleep_stages, session.snoring_stages) == (None, None, None)
    assert session.contract_violations == ()


ODD_STATS = [
    ("sleep_index", "58", None, "stat.sleep_index: not a number"),
    ("sleep_index", True, None, "stat.sleep_index: not a number"),
    ("sleep_index", 58.5, None, "stat.sleep_index: not a whole number"),
    ("time_in_bed", 2**31, None, "stat.time_in_bed: out of range"),
    ("time_in_bed", -(2**31) - 1, None, "stat.time_in_bed: out of range"),
    ("time_in_bed", 1e300, None, "stat.time_in_bed: out of range"),
    ("wake_ratio", "0.03", None, "stat.wake_ratio: not a number"),
    ("wake_ratio", 1.5, 1.5, "stat.wake_ratio: outside 0 to 1"),
    ("wake_ratio", 1e300, None, "stat.wake_ratio: out of range"),
    ("breathing_index", float("nan"), None, "stat.breathing_index: out of range"),
    ("breathing_index", float("inf"), None, "stat.breathing_index: out of range"),
    ("time_in_bed", float("nan"), None, "stat.time_in_bed: not a whole number"),
    ("sleep_efficiency", 88.24, 0.8824, "stat.sleep_efficiency: a percentage, divided by 100"),
    ("sleep_efficiency", 100, 1.0, "stat.sleep_efficiency: a percentage, divided by 100"),
    ("sleep_efficiency", 1.04, 1.04, "stat.sleep_efficiency: outside 0 to 1"),
    ("sleep_efficiency", 1.5, 1.5, "stat.sleep_efficiency: outside 0 to 1"),
    ("sleep_efficiency", 1.51, 0.0151, "stat.sleep_efficiency: a percentage, divided by 100"),
    ("sleep_efficiency", -0.1, None, "stat.sleep_efficiency: outside 0 to 100"),
    ("sleep_efficiency", 100.5, None, "stat.sleep_efficiency: outside 0 to 100"),
    ("sleep_time", "06:30:00", None, "stat.sleep_time: not a timestamp"),
    ("sleep_time", "2026-03-07T14:05:11", None, "stat.sleep_time: a timestamp without an offset"),
    ("sleep_time", 1772892311, None, "stat.sleep_time: not a timestamp"),
    ("sleep_time", "0001-01-01T00:00:00+09:00", None, "stat.sleep_time: not a timestamp"),
    ("sleep_cycle_count", 4.5, None, "stat.sleep_cycle_count: not a whole number"),
    ("sleep_cycle", [{"start": 1}], None, "stat.sleep_cycle: not a number"),
    ("sleep_cycle_time", 1830, None, "stat.sleep_cycle_time: not a list"),
    ("breathing_pattern", 7, None, "stat.breathing_pattern: not text"),
    ("breathing_pattern", "A\x00", None, "stat.breathing_pattern: holds characters that cannot be stored"),
    ("breathing_pattern", "\ud800", None, "stat.breathing_pattern: holds characters that cannot be stored"),
]


@pytest.mark.parametrize(("name", "sent", "kept", "violation"), ODD_STATS)
def test_one_odd_statistic_costs_itself_only(name: str, sent: Any, kept: Any, violation: str):
    """A run must not fail over one field, and the field must not vanish without a word."""
    result = session_result()
    result["stat"][name] = sent

    session = parsed(result)

    assert session.stat == parsed(session_result()).stat._replace(**{name: kept})
    assert session.contract_violations == (violation,)


@pytest.mark.parametrize(("sent", "kept"), [(58.0, 58), (-5, -5), (2**31 - 1, 2**31 - 1), (-(2**31), -(2**31)), (0, 0)])
def test_whole_numbers_are_kept_as_sent(sent: float, kept: int):
    """2.0 is a whole number to every JSON writer; ends of the range are inside."""
    result = session_result()
    result["stat"]["waso_count"] = sent
    session = parsed(result)
    assert session.stat.waso_count == kept
    assert type(session.stat.waso_count) is int
    assert session.contract_violations == ()


def test_cycle_marks_that_parse_are_kept_beside_one_that_does_not():
    result = session_result()
    result["stat"]["sleep_cycle_time"] = ["2026-03-07T14:05:11+00:00", 1830, "soon"]
    session = parsed(result)
    assert session.stat.sleep_cycle_time == [datetime(2026, 3, 7, 14, 5, 11, tzinfo=UTC)]
    assert session.contract_violations == ("stat.sleep_cycle_time[]: not a timestamp",)


@pytest.mark.parametrize(
    ("sent", "violation"),
    [
        ([0, 1, True], "not all whole numbers"),
        ([0, 1, None], "not all whole numbers"),
        ([0, 1.0], "not all whole numbers"),
        ([0, "1"], "not all whole numbers"),
        ([[0]], "not all whole numbers"),
        ([{}], "not all whole numbers"),
        ([0, 32768], "out of range"),
        ([-32769], "out of range"),
        ([2**70], "not all whole numbers"),
        ("0,1,2", "not a list"),
        ({}, "not a list"),
    ],
)
def test_an_array_is_taken_whole_or_not_at_all(sent: Any, violation: str):
    """A gap in the stages would shift the rest of the night by 30 seconds."""
    result = session_result()
    result["session"]["sleep_stages"] = sent
    session = parsed(result)
    assert session.sleep_stages is None
    assert session.contract_violations == (f"session.sleep_stages: {violation}",)
    assert session.snoring_stages is not None


@pytest.mark.parametrize("sent", [[], [0], [-1, 3], [32767, -32768], [10, -1, 7], [-1] * 2000])
def test_arrays_of_small_whole_numbers_are_kept(sent: list[int]):
    result = session_result()
    result["session"]["breath_stages"] = sent
    session = parsed(result)
    assert session.breath_stages == sent
    assert session.contract_violations == ()


@pytest.mark.parametrize("sent", [5872.5, 1830, 5340.0, 4285.714285714286])
def test_a_cycle_may_have_a_fraction(sent: float):
    """The contract calls it a number; the vendor's own calculator gives halves for 22 of 149 real nights."""
    result = session_result()
    result["stat"] |= {"sleep_cycle": sent, "sleep_cycle_count": 4}
    session = parsed(result)

    assert session.stat.sleep_cycle == sent
    assert session.contract_violations == ()


@pytest.mark.parametrize("sent", [None, "NEVER_SLEPT", {}, 3])
def test_peculiarities_that_are_no_list_are_unknown_not_none_at_all(sent: Any):
    """An empty list would mean that nothing was unusual, which the response does not say."""
    session = parsed(session_result() | {"peculiarities": sent})

    assert session.peculiarities is None
    assert session.contract_violations == ("peculiarities: not a list",)


def test_new_fields_are_recorded_and_unknown_values_kept():
    """The API may grow fields and values at any time; we want to know, and to go on."""
    result = session_result() | {"mood": "fine", "peculiarities": ["NEVER_SLEPT", "SNOWED_IN"]}
    result["session"] |= {"device": "x", "state": "PAUSED"}
    result["stat"]["dreams"] = 3

    session = parsed(result)

    assert session.state == "PAUSED"
    assert session.peculiarities == ("NEVER_SLEPT", "SNOWED_IN")
    assert set(session.contract_violations) == {
        "mood: unknown field",
        "session.device: unknown field",
        "stat.dreams: unknown field",
        "session.state: unknown state",
        "peculiarities: unknown value",
    }


def test_oddities_never_show_values():
    """They end up in logs and in the UI; the values are health data."""
    result = session_result()
    value = "the-value-sent"
    result["stat"] = dict.fromkeys(result["stat"], value) | {"breathing_pattern": [value]}
    result["session"] |= dict.fromkeys(("end_time", "sleep_stages", "breath_stages", "state"), value)
    result["peculiarities"] = [value]

    session = parsed(result)

    assert session.contract_violations
    assert not any(value in violation for violation in session.contract_violations)


def test_thousands_of_unknown_fields_do_not_become_thousands_of_oddities():
    result = session_result() | {f"field{number}": 0 for number in range(5000)} | {"nul\x00": 1, "x" * 500: 1}
    session = parsed(result)
    assert len(session.contract_violations) <= 100
    assert all(violation.isprintable() and len(violation) < 120 for violation in session.contract_violations)


@pytest.mark.parametrize("state", [None, 7, "", "A\x00"])
def test_a_session_without_a_usable_state_is_never_final(state: Any):
    result = session_result()
    result["session"]["state"] = state
    session = parsed(result)
    assert session.state == "UNKNOWN"
    assert session.contract_violations


IMPOSSIBLE: list[tuple[str, Any]] = [
    ("result", None),
    ("result", []),
    ("result", "text"),
    ("session", None),
    ("session", []),
    ("id", None),
    ("id", ""),
    ("id", 20260307140211),
    ("id", "nul\x00"),
    ("id", "\ud800"),
    ("id", "x" * 5000),
    ("start_time", None),
    ("start_time", "yesterday"),
    ("start_time", "2026-03-07T14:02:11"),
    ("user_id", "somebody else"),
    ("user_id", None),
]


@pytest.mark.parametrize(("where", "value"), IMPOSSIBLE)
def test_a_session_without_identity_or_place_in_time_is_malformed(where: str, value: Any):
    """It could be stored under no key or in no month; a human has to look, at the raw answer."""
    result: Any = session_result()
    if where == "result":
        result = value
    elif where in {"session", "user_id"}:
        result[where] = value
    else:
        result["session"][where] = value

    with pytest.raises(Malformed) as caught:
        parsed(result)

    assert caught.value.raw
    assert "yesterday" not in str(caught.value)
    assert "somebody" not in str(caught.value)


def test_the_hash_ignores_order_and_the_webhooks_user_id():
    """Webhook and read must agree, or every event would look like a change."""
    result = session_result()
    turned = {name: result[name] for name in reversed(result)} | {"user_id": USER}
    turned["stat"] = {name: result["stat"][name] for name in reversed(result["stat"])}

    assert parsed(turned).payload_hash == parsed(result).payload_hash
    assert len(parsed(result).payload_hash) == 16


def test_the_hash_sees_every_value():
    """The hash is how a second analysis is noticed."""
    hashes = {parsed(session_result()).payload_hash}
    for place, name in (("session", "sleep_stages"), ("stat", "snoring_count"), ("session", "end_time")):
        result = session_result()
        result[place][name] = None
        hashes.add(parsed(result).payload_hash)
    assert len(hashes) == 4


def test_the_raw_result_is_kept_whole():
    """What the typed columns cannot hold must still be there."""
    result = session_result() | {"mood": {"deep": [1, None, "ü"]}}
    assert json.loads(parsed(result).raw) == result


def test_answers_that_only_some_servers_write_are_still_read():
    """NaN, half a surrogate pair and 70-digit numbers are not JSON for everybody; one night must not be lost."""
    body = json.dumps({"result": session_result() | {"a": float("nan"), "b": "\ud83d", "c": 10**70}}).encode()

    session = parsed(decode(body)["result"])

    kept = orjson.loads(session.raw.replace(rb"\ud83d", b"?"))
    assert kept["a"] is None
    assert kept["session"]["id"] == SESSION


def test_a_page_of_rows_is_read():
    row = list_row()
    (listed,) = parse_session_list({"timezone": "UTC", "sleep_session_list": [row]})
    assert (listed.session_id, listed.state, listed.time_in_bed) == (SESSION, "COMPLETE", 2417)
    assert listed.session_start_time == datetime(2026, 3, 7, 14, 2, 11, tzinfo=UTC)
    assert listed.last_received_seq_num == 79
    assert listed.contract_violations == ()


def test_a_page_that_ignores_the_limit_is_read_up_to_a_bound():
    """A user's whole history in one response must not exhaust the memory of the process."""
    rows = [list_row() | {"session_id": f"s{number}"} for number in range(MAX_ROWS + 1)]

    assert len(parse_session_list({"sleep_session_list": rows[:-1]})) == MAX_ROWS
    with pytest.raises(Malformed, match="1001 rows on one page, more than 1000") as refused:
        parse_session_list({"sleep_session_list": rows})
    assert len(refused.value.raw or b"") < 2000, "the response is not kept"


def test_an_odd_row_is_kept_and_recorded():
    row = list_row() | {"time_in_bed": "long", "session_end_time": "later", "rank": 1, "state": None}
    (listed,) = parse_session_list({"sleep_session_list": [row]})
    assert (listed.time_in_bed, listed.session_end_time, listed.state) == (None, None, "UNKNOWN")
    assert len(listed.contract_violations) == 4


@pytest.mark.parametrize(
    "result",
    [
        {},
        {"sleep_session_list": None},
        {"sleep_session_list": {}},
    ],
)
def test_what_is_no_list_is_malformed(result: Any):
    """It must not look like a user without sessions."""
    with pytest.raises(Malformed):
        parse_session_list(result)


@pytest.mark.parametrize("bad", [None, [], {}, list_row() | {"session_id": None}, list_row() | {"session_id": 7}])
def test_a_row_without_identity_keeps_its_place_and_is_recorded(bad: Any):
    """Pages are by offset: a row left out would make a full page look like the last one."""
    first, second, third = parse_session_list({"sleep_session_list": [list_row(), bad, bad]})

    assert first.problem is None
    assert second.problem is not None
    assert second.session_id == third.session_id != first.session_id


def test_a_row_without_a_readable_start_is_a_row_all_the_same():
    """The session in full may have it."""
    (listed,) = parse_session_list({"sleep_session_list": [list_row() | {"session_start_time": "?"}]})

    assert (listed.session_id, listed.session_start_time, listed.problem) == (SESSION, None, None)
    assert listed.contract_violations == ("session_start_time: not a timestamp",)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
PLACES = [
    ("result",),
    *((name,) for name in session_result()),
    *(("session", name) for name in session_result()["session"]),
    *(("stat", name) for name in stat()),
]


@settings(deadline=None)
@given(spoiled=st.lists(st.tuples(st.sampled_from(PLACES), JSON), min_size=1, max_size=4))
def test_no_value_anywhere_breaks_the_door(spoiled: list[tuple[tuple[str, ...], Any]]):
    """Whatever a field holds: a record that Postgres can store, or `Malformed`; never another error."""
    result: Any = copy.deepcopy(session_result())
    for place, value in spoiled:
        if place == ("result",) or not isinstance(result, dict):
            result = value
        elif len(place) == 1:
            result[place[0]] = value
        elif isinstance(result.get(place[0]), dict):
            result[place[0]][place[1]] = value
    try:
        session = parsed(result)
    except Malformed:
        return
    texts = [session.session_id, session.state, session.created_timezone or "", *(session.peculiarities or ())]
    texts += [session.stat.breathing_pattern or ""] if session.stat else []
    assert all("\x00" not in text and text.encode() is not None for text in texts)
    for value in session.stat or ():
        if isinstance(value, int):
            assert -(2**31) <= value < 2**31
        if isinstance(value, float):
            assert abs(value) <= 1e15
    for array in (session.sleep_stages, session.breath_stages, session.snoring_stages):
        assert all(type(element) is int and -(2**15) <= element < 2**15 for element in array or ())


@pytest.mark.parametrize("error", [RecursionError(), OverflowError("20260307140211_q7x4m"), KeyError("id")])
def test_whatever_a_parser_raises_is_malformed_and_quotes_nothing(error: Exception):
    """Each concerns one response; unnamed, it would stop the run of all users."""

    class Result(dict[str, Any]):
        def get(self, *_: Any) -> Any:
            raise error

    with pytest.raises(Malformed) as caught:
        parse_session_list(Result())
    assert str(caught.value) == f"the response could not be read ({type(error).__name__})"
    assert caught.value.__context__ is None
