"""Average-stats: as a cheap way to sync, and as a comparison that finds what a list cannot show."""

from collections.abc import Callable, Iterator
from datetime import date
from typing import Any

import pytest
from sqlalchemy import text

from assets.sync.sync_batch import Mode
from simulator.expected_tables import expected_row, zone_of_session
from simulator.fields import FIELDS
from tests.conftest import Simulator
from tests.integration.assets.sync.conftest import CONFIRMING_LIST
from tests.truth import differences

NOW = "2026-11-22T09:00:00Z"
FIRST, LAST = date(2026, 9, 24), date(2026, 11, 22)
USERS = 24


@pytest.fixture(scope="module")
def api(simulate: Callable[..., Any]) -> Iterator[Simulator]:
    with simulate("--users", str(USERS), "--days", "60", "--seed", "11", "--now", NOW) as simulator:
        yield simulator


@pytest.fixture
def sync(api, syncing):
    sync = syncing(api.url)
    sync.register(api.ask("users"))
    api.reset()
    return sync


def _sessions_of(api):
    """Finished sessions of the truth by id, with whether sleep was found, those of the window."""
    found = {}
    for user in api.ask("truth")["users"]:
        for session in user["sessions"]:
            row = expected_row(session, user["user_id"], zone_of_session(session, user["sessions"], None))
            if FIRST <= row["session_start_time"].date() <= LAST:
                found[row["session_id"]] = (row, session)
    return found


def test_statistics_of_sixty_days_cost_two_requests_a_user(api, sync, engine):
    """An organisation that needs averages only spends a fifteenth of the requests, and misses no session."""
    counts = sync(FIRST, LAST, mode=Mode.STATISTICS)

    least = api.ask("least_requests?from=2026-09-23&to=2026-11-23")
    unanalysed = api.requests()["read_session"]
    lists = least["list_sessions"] + CONFIRMING_LIST
    assert api.requests() == {"average_stats": USERS, "list_sessions": lists, "read_session": unanalysed}
    assert unanalysed < USERS
    assert counts["failures"] == 0
    with engine.connect() as connection:
        stored = {r.session_id: r for r in connection.execute(text("SELECT * FROM asleep.sleep_sessions"))}
    analysed = {
        i: row for i, (row, s) in _sessions_of(api).items() if s["result"]["stat"] and row["state"] == "COMPLETE"
    }
    assert set(stored) >= {session["row"]["session_id"] for _, session in _sessions_of(api).values()}
    assert all(row.created_timezone for row in stored.values() if "NEVER_SLEPT" in (row.peculiarities or ()))
    for session_id, row in analysed.items():
        if "NEVER_SLEPT" in row["peculiarities"]:
            continue
        got = stored[session_id]
        assert {f: getattr(got, f) for f in FIELDS if getattr(got, f) is not None} == {
            f: row[f] for f in FIELDS if getattr(got, f) is not None
        }
        assert (got.time_in_sleep, got.sleep_efficiency) == (row["time_in_sleep"], row["sleep_efficiency"])
        assert got.session_start_time == row["session_start_time"]
        assert got.local_date == row["local_date"]


def test_a_second_pass_over_statistics_writes_nothing(api, sync, engine):
    """What is equal is not rewritten, whichever way it came."""
    with engine.connect() as connection:
        before = connection.execute(text("SELECT xmin, session_id FROM asleep.sleep_sessions ORDER BY 2")).all()
    counts = sync(FIRST, LAST, mode=Mode.STATISTICS)
    with engine.connect() as connection:
        after = connection.execute(text("SELECT xmin, session_id FROM asleep.sleep_sessions ORDER BY 2")).all()

    assert before == after
    assert counts["sessions_inserted"] == counts["sessions_updated"] == 0
    least = api.ask("least_requests?from=2026-09-23&to=2026-11-23")
    assert api.requests() == {"average_stats": USERS, "list_sessions": least["list_sessions"] + CONFIRMING_LIST}


def test_stages_are_filled_in_later_with_one_reading_a_session(api, sync, engine):
    """Nothing is asked twice: what statistics told is not listed again."""
    with engine.connect() as connection:
        pending = connection.scalar(text("SELECT count(*) FROM asleep.sleep_sessions WHERE payload_hash IS NULL"))
    counts = sync(FIRST, LAST, mode=Mode.FILL)

    assert api.requests() == {"read_session": pending}
    assert counts["sessions_updated"] == pending
    api.reset()
    sync(FIRST, LAST, mode=Mode.FILL)
    assert api.requests() == {}


def test_a_full_sync_after_that_reads_nothing(api, sync, engine):
    """Statistics, list and stages together are all there is."""
    sync(FIRST, LAST)

    least = api.ask("least_requests?from=2026-09-23&to=2026-11-23")
    assert api.requests() == {
        "list_sessions": least["list_sessions"] + CONFIRMING_LIST,
    }
    assert differences(engine, api.ask("truth"), FIRST, LAST) == []


def test_reconciliation_of_an_agreeing_world_reads_nothing(api, sync, engine):
    """The weekly look costs one request a user when all is well, and notes when sessions were analysed."""
    counts = sync(FIRST, LAST, mode=Mode.RECONCILE)

    assert counts["failures"] == 0
    assert api.requests() == {"average_stats": USERS}
    truth = _sessions_of(api)
    with engine.connect() as connection:
        noted = connection.execute(
            text("SELECT session_id, completed_time FROM asleep.sleep_sessions WHERE completed_time IS NOT NULL")
        ).all()
    assert len(noted) > 500
    assert all(
        r.completed_time.isoformat() == truth[r.session_id][1]["completed_time"] for r in noted if r.session_id in truth
    )


def test_a_session_analysed_again_is_found_and_read_again(api, sync, engine):
    """Nothing in a list shows it: same id, same times, other result."""
    sessions = [i for i, (row, s) in _sessions_of(api).items() if s["result"]["stat"] and not s["tags"]]
    again = sorted(sessions)[10:13]
    for session_id in again:
        api.ask(f"sessions/{session_id}/reanalyse", {})
    sync(FIRST, LAST)
    assert len(differences(engine, api.ask("truth"), FIRST, LAST)) > 0, "a list cannot show it"
    api.reset()
    counts = sync(FIRST, LAST, mode=Mode.RECONCILE)

    assert api.requests() == {"average_stats": USERS, "read_session": len(again)}
    assert counts["sessions_updated"] == len(again)
    assert differences(engine, api.ask("truth"), FIRST, LAST) == []
    api.reset()
    sync(FIRST, LAST, mode=Mode.RECONCILE)
    assert api.requests() == {"average_stats": USERS}


def test_a_session_deleted_at_the_source_is_found_by_reconciliation_too(api, sync, engine):
    """Outside the daily window nothing else would notice."""
    session_id = sorted(i for i, (_, s) in _sessions_of(api).items() if s["result"]["stat"] and not s["tags"])[40]
    api.ask(f"sessions/{session_id}", method="DELETE")
    counts = sync(FIRST, LAST, mode=Mode.RECONCILE)

    assert counts["sessions_deleted"] == 1
    assert differences(engine, api.ask("truth"), FIRST, LAST) == []
