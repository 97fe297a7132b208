"""The decisions of one user's sync, against every history that can be thought of; no I/O."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from assets.sync.api_requests import Endpoint, Response
from assets.sync.session_rows import SESSION_COLUMNS
from assets.sync.user_steps import UserOutcome
from assets.sync.user_sync import ListSync
from assets.sync.window import Window
from resources.asleep.errors import Malformed, SessionGone, Unavailable, UserGone
from resources.asleep.records import ListedSession, SessionList, SleepSession, UserProfile
from resources.database.sync.stored_sessions import StoredSession
from resources.database.sync.sync_state import UserToSync

USER = "G-20260301091502-AbCdEfGhIjKlMnOpQrSt"
WINDOW = Window.of_days(date(2026, 3, 10), date(2026, 3, 16))
NOW = datetime(2026, 3, 17, tzinfo=UTC)
ID, STATE, NUMBER = (SESSION_COLUMNS.index(name) for name in ("session_id", "state", "last_received_seq_num"))


def listed(session_id, day, state="COMPLETE", chunk=100):
    start = datetime(2026, 3, 1, 22, tzinfo=UTC) + timedelta(days=day)
    return ListedSession(session_id, state, start, None, None, "Asia/Seoul", chunk)


def stored(row, **changes):
    as_stored = StoredSession(
        row.session_id, USER, row.state, row.session_start_time, row.session_end_time, row.unexpected_end_time,
        row.created_timezone, row.last_received_seq_num, True, False,
    )  # fmt: skip
    return as_stored._replace(**changes)


def read(row):
    nothing = dict.fromkeys(("missing_data_ratio", "stat", "sleep_stages", "breath_stages", "snoring_stages"))
    return SleepSession(
        row.session_id, USER, row.state, row.session_start_time, None, None, row.created_timezone, (), raw=b"{}",
        payload_hash=b"0" * 16, contract_violations=(), asked_at=NOW, **nothing,
    )  # fmt: skip


def user(**changes):
    return UserToSync(USER, False, (), (), None, None)._replace(**changes)


class Api:
    """What the API knows of one user: rows by id, and answers that go wrong when asked for the n-th time."""

    def __init__(self, rows, wrong=()):
        self.rows = {row.session_id: row for row in rows}
        self.wrong = dict(wrong)
        self.asked = []

    def answer(self, request):
        self.asked.append((request.endpoint, request.session_id))
        if (error := self.wrong.pop(len(self.asked), None)) is not None:
            return error
        if request.endpoint is Endpoint.LIST_SESSIONS:
            first, last = request.window.days_to_list
            rows = [row for row in self.rows.values() if first <= row.session_start_time.date() <= last]
            return SessionList(tuple(sorted(rows, key=lambda row: row.session_start_time)), 1)
        if request.endpoint is Endpoint.READ_SESSION:
            row = self.rows.get(request.session_id)
            return read(row) if row else SessionGone()
        return UserProfile(USER, to_be_deleted=False)


def run(api, stored, of=None, between=lambda _number: None):
    """Sync one user to the end; the outcome, its rows by session, and the sessions called deleted."""
    outcome = UserOutcome(of or user(), WINDOW)
    steps = ListSync(outcome, {s.session_id: s for s in stored}).steps()
    todo = list(next(steps))
    while True:
        request = todo.pop(0)
        between(len(api.asked))
        try:
            todo += steps.send(Response(request, NOW, api.answer(request)))
        except StopIteration:
            break
        assert len(api.asked) < 200, "this never ends"
    assert not todo, "it ended although a request was open"
    return outcome, {row[ID]: row for row in outcome.rows}, {deletion.session_id for deletion in outcome.deletions}


def counted(api, endpoint):
    return sum(asked is endpoint for asked, _ in api.asked)


SESSIONS = st.builds(
    listed,
    session_id=st.sampled_from([f"s{number}" for number in range(12)]),
    day=st.integers(0, 19),
    state=st.sampled_from(["OPEN", "CLOSED", "COMPLETE"]),
    chunk=st.sampled_from([None, 5, 100]),
)
WORLDS = st.lists(SESSIONS, max_size=10, unique_by=lambda row: row.session_id)
ERRORS = st.sampled_from([Unavailable(), Malformed(), SessionGone(), UserGone()])


def known_before(rows):
    """What the database hands to a sync: sessions of the stretch listed, and older ones that are not final."""
    return [stored(row) for row in rows if row.session_start_time in WINDOW.listed or row.state != "COMPLETE"]


@given(before=WORLDS, now=WORLDS)
@settings(max_examples=400, deadline=None)
def test_whatever_changed_the_result_is_what_the_api_has(before, now):
    """Any history: what is stored afterwards, inside the window and of old running ones, equals the API."""
    api = Api(now)
    outcome, rows, deleted = run(api, known_before(before))

    assert not outcome.failures
    kept = {s.session_id: s for s in known_before(before) if s.session_id not in deleted}
    for session_id, row in api.rows.items():
        if session_id in rows:
            assert rows[session_id][STATE] == row.state
        elif row.session_start_time in WINDOW.listed or session_id in kept:
            assert kept[session_id].state == row.state
            assert kept[session_id].session_start_time == row.session_start_time
            assert (
                row.last_received_seq_num in (None, kept[session_id].last_received_seq_num) or row.state == "COMPLETE"
            )
    assert not deleted & api.rows.keys()
    assert kept.keys() <= api.rows.keys()


@given(world=WORLDS)
@settings(max_examples=200, deadline=None)
def test_a_second_sync_with_nothing_new_reads_nothing(world):
    """One list for the window, one for each day on which an old session still runs; no session is read."""
    api = Api(world)
    known = known_before(world)
    run(api, known)

    old_days = {s.session_start_time.date() for s in known if s.session_start_time not in WINDOW.listed}
    assert counted(api, Endpoint.LIST_SESSIONS) == 1 + len(old_days)
    assert counted(api, Endpoint.READ_SESSION) == counted(api, Endpoint.READ_USER) == 0


@given(before=WORLDS, now=WORLDS, wrong=st.dictionaries(st.integers(1, 20), ERRORS, max_size=4))
@settings(max_examples=600, deadline=None)
def test_whatever_goes_wrong_is_a_failure_or_does_not_show(before, now, wrong):
    """Never success over a hole: without a failure the result is the API's, whatever was answered on the way."""
    api = Api(now, wrong)
    outcome, rows, deleted = run(api, known_before(before))
    if outcome.failures or outcome.gone:
        return
    if any(isinstance(error, SessionGone) for error in wrong.values()):
        return  # a false 404 for a session that the list lacks is accepted: those are two looks
    for session_id, row in api.rows.items():
        if row.session_start_time in WINDOW.listed:
            assert session_id in rows or session_id in {s.session_id for s in known_before(before)}
    assert not deleted & api.rows.keys()


@given(before=WORLDS, wrong=st.dictionaries(st.integers(1, 20), st.just(UserGone()), max_size=1))
@settings(max_examples=200, deadline=None)
def test_one_false_404_never_makes_a_user_gone(before, wrong):
    outcome, _, _ = run(Api(before, wrong), known_before(before))
    assert not outcome.gone


@given(before=WORLDS, now=WORLDS, flips=st.dictionaries(st.integers(0, 20), SESSIONS, max_size=5))
@settings(max_examples=400, deadline=None)
def test_sessions_that_come_and_go_during_the_sync_end_it_all_the_same(before, now, flips):
    """However the source moves: no session is read twice, the sync ends, nothing that exists is called deleted."""
    api = Api(now)
    ever_gone = {known.session_id for known in known_before(before)} - api.rows.keys()

    def flip(number):
        if (row := flips.get(number)) is not None:
            if api.rows.pop(row.session_id, None) is None:
                api.rows[row.session_id] = row
            else:
                ever_gone.add(row.session_id)

    _, _, deleted = run(api, known_before(before), between=flip)
    assert deleted <= ever_gone
    sessions = [asked for endpoint, asked in api.asked if endpoint is Endpoint.READ_SESSION]
    assert len(sessions) == len(set(sessions))


def test_what_failed_before_is_read_although_nothing_in_the_list_moved():
    """The list cannot tell that we have a hole."""
    row = listed("s1", 10)
    api = Api([row])
    run(api, [stored(row)], of=user(failed=("s1", "s0")))
    assert {asked for endpoint, asked in api.asked if endpoint is Endpoint.READ_SESSION} == {"s0", "s1"}


def test_a_list_without_the_last_chunk_causes_no_reading():
    row = listed("s1", 10)
    api = Api([replace(row, last_received_seq_num=None)])
    run(api, [stored(row)])
    assert counted(api, Endpoint.READ_SESSION) == 0


def test_a_running_session_first_seen_without_its_last_chunk_is_read_when_it_has_one():
    """Stored from a webhook while it ran: the list now knows more, so there is more."""
    row = listed("s1", 10, state="OPEN")
    api = Api([row])
    run(api, [stored(row, last_received_seq_num=None)])
    assert counted(api, Endpoint.READ_SESSION) == 1


def test_a_finished_session_first_seen_without_its_last_chunk_is_not_read_for_it():
    row = listed("s1", 10)
    api = Api([row])
    outcome, _, _ = run(api, [stored(row, last_received_seq_num=None)])
    assert counted(api, Endpoint.READ_SESSION) == 0
    assert outcome.last_chunks == [("s1", 100)]
