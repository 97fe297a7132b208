"""Every body that Asleep may send, and many that it should not, lead to a harmless action."""

import copy
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets.webhooks.events import Action, Chunk, decide, read_event
from resources.database.sync.stored_sessions import KnownSession

USER, SESSION = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt", "20260307140211_q7x4m"
RESULT: dict[str, Any] = {
    "timezone": "UTC",
    "peculiarities": ["NO_BREATHING_STABILITY"],
    "missing_data_ratio": 0.0,
    "session": {
        "id": SESSION,
        "state": "COMPLETE",
        "start_time": "2026-03-07T14:02:11+00:00",
        "end_time": "2026-03-07T14:42:28+00:00",
        "unexpected_end_time": None,
        "created_timezone": "Asia/Seoul",
        "sleep_stages": [0, 1],
        "breath_stages": None,
        "snoring_stages": [0, 0],
    },
    "stat": {"sleep_index": 58},
}
V3 = {"event": "SESSION_COMPLETE", "version": "V3", "data": {"user_id": USER, **RESULT}}
V2 = {
    "callback_event": "SESSION_COMPLETE",
    "callback_version": "V2",
    "callback_data": {"user_id": USER, "session_id": SESSION, "sleep_data": RESULT},
}
V2_MIXED = {"event": "SESSION_COMPLETE", "version": "V2", "data": V2["callback_data"]}
FLAT = {"event": "SESSION_COMPLETE", "version": "V3", "user_id": USER, "timestamp": "2026-03-07 14:43", **RESULT}
V1 = {
    "event": "SESSION_COMPLETE",
    "version": "V1",
    "data": {
        "user_id": USER,
        "session": {"id": SESSION, "state": "COMPLETE", "stage_list": [0], "osa_stages": [0]},
        "validity": "VALID",
        "stat": {},
    },
}
FINAL = KnownSession(USER, is_final=True, is_deleted=False)


def event_of(value: Any, **headers: str):
    return read_event(orjson.dumps(value), {name.replace("_", "-"): text for name, text in headers.items()})


def changed(path: str, value: Any) -> dict[str, Any]:
    """V3 with one field changed, or removed when the value is `...`."""
    body = copy.deepcopy(V3)
    *parents, last = path.split(".")
    place: Any = body
    for name in parents:
        place = place[name]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return body


@pytest.mark.parametrize("body", [V3, V2, V2_MIXED, FLAT], ids=["V3", "V2", "V2 mixed", "flat"])
def test_a_whole_night_is_stored_from_its_event(body: dict[str, Any]):
    """This is what makes a night cost no request."""
    event = event_of(body)
    assert (event.name, event.user_id, event.session_id) == ("SESSION_COMPLETE", USER, SESSION)
    assert event.result == RESULT
    assert decide(event, known=None, user_is_erased=False) is Action.STORE_BODY


def test_unknown_fields_of_the_result_are_kept():
    """Asleep may add fields at any time; the raw result is kept whole."""
    assert event_of(changed("data.new_field", 1)).result == {**RESULT, "new_field": 1}


@pytest.mark.parametrize(
    "body",
    [
        V1,
        changed("data.session.state", "CLOSED"),
        changed("data.session.end_time", None),
        changed("data.session.sleep_stages", ...),
        changed("data.stat", ...),
        changed("data.stat", []),
        changed("data.timezone", ...),
        changed("data.peculiarities", ...),
        changed("event", "SESSION_RENAMED"),
        changed("event", ["SESSION_COMPLETE"]),
        {"event": "SESSION_COMPLETE", "data": {"user_id": USER, "session_id": SESSION}},
    ],
)
def test_what_is_not_whole_is_fetched(body: dict[str, Any]):
    """Half a night in the tables would look like a whole one."""
    event = event_of(body)
    assert (event.user_id, event.session_id, event.result) == (USER, SESSION, None)
    assert decide(event, known=None, user_is_erased=False) is Action.FETCH_SESSION


@pytest.mark.parametrize(
    ("body", "headers"),
    [(V3, {"x_user_id": "G-other"}), (changed("data.session_id", "other"), {})],
    ids=["user in the header", "session beside the session"],
)
def test_an_event_that_contradicts_itself_is_fetched(body: dict[str, Any], headers: dict[str, str]):
    """Two names for one thing: only the API knows."""
    event = event_of(body, **headers)
    assert event.user_id == USER
    assert decide(event, known=None, user_is_erased=False) is Action.FETCH_SESSION


@pytest.mark.parametrize(
    ("known", "action"),
    [
        (KnownSession(USER, is_final=False, is_deleted=False), Action.STORE_BODY),
        (FINAL, Action.FETCH_SESSION),
        (KnownSession(USER, is_final=False, is_deleted=True), Action.FETCH_SESSION),
        (KnownSession("G-other", is_final=False, is_deleted=False), Action.FETCH_SESSION),
    ],
    ids=["running", "final", "deleted", "somebody else's"],
)
def test_a_late_event_never_overrules_the_api(known: KnownSession, action: Action):
    """An old body must not undo a re-analysis or bring back a deleted session."""
    event = event_of(V3)
    assert decide(event, known=known, user_is_erased=False) is action
    chunk = Chunk({1: event}, {SESSION: known}, frozenset(), {1: Action.FETCH_SESSION})
    assert chunk.questions() == {(known.user_id, SESSION): [1]}


def test_a_running_night_is_kept_as_an_event_only():
    """Preliminary stages are never stored as final."""
    body = {"event": "INFERENCE_COMPLETE", "version": "V3", "data": {"user_id": USER, "session_id": SESSION}}
    assert decide(event_of(body), known=None, user_is_erased=False) is Action.KEEP


def test_the_header_names_the_user_when_the_body_does_not():
    """V1 bodies are not documented; the header is."""
    event = event_of(changed("data.user_id", ...), x_user_id=USER)
    assert event.user_id == USER
    assert event.result == RESULT


@pytest.mark.parametrize(
    ("body", "known", "action"),
    [
        ({"event": "SESSION_COMPLETE", "data": {"user_id": USER}}, None, Action.LIST_USER),
        ({"event": "SESSION_COMPLETE", "data": {"session_id": SESSION}}, FINAL, Action.FETCH_SESSION),
        ({"event": "SESSION_COMPLETE", "data": {"session_id": SESSION}}, None, Action.PARK),
        ({}, None, Action.PARK),
    ],
)
def test_as_much_is_done_as_the_event_names(body: dict[str, Any], known: KnownSession | None, action: Action):
    """Half a name is still a hint."""
    assert decide(event_of(body), known=known, user_is_erased=False) is action


def test_an_erased_user_s_event_is_dropped():
    """We promised to keep nothing of them."""
    assert decide(event_of(V3), known=None, user_is_erased=True) is Action.DROP


@pytest.mark.parametrize("bad", ["", " ", "..", "a\x00b", "a\nb", "사용자", "x" * 501, 5, None, ["G"]])
def test_an_id_that_cannot_be_one_is_no_id(bad: Any):
    """Postgres refuses NUL in text; one such id would fail its whole batch."""
    event = event_of(changed("data.user_id", bad))
    assert event.user_id is None
    assert event.result is None or event.user_id is not None


@pytest.mark.parametrize("odd", ["x" * 500, "G|1;2", "a/b", "G 1", "käufer", "'='", "[1]"])
def test_an_unusual_id_is_still_an_id(odd: str):
    """Ids are opaque: only what no header can carry is none. A header loses the blanks around it."""
    assert event_of(changed("data.user_id", f" {odd} ")).user_id == odd


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
NAMES = st.sampled_from(["event", "version", "data", "callback_data", "sleep_data", "session", "user_id", "session_id"])


@given(body=st.dictionaries(NAMES, JSON | st.dictionaries(NAMES, JSON)), header=st.text())
def test_no_body_breaks_the_reader(body: dict[str, Any], header: str):
    """The reader runs on what strangers send."""
    event = read_event(orjson.dumps(body), {"x-user-id": header})
    assert isinstance(decide(event, known=None, user_is_erased=False), Action)


@given(body=st.binary())
def test_no_bytes_break_the_reader(body: bytes):
    """Not even those that are not JSON."""
    assert read_event(body, {}).result is None
