"""Backfills, launched as the UI does it by GraphQL, through the real webserver and daemon."""

from typing import Any

import pytest
from sqlalchemy import Engine, text

from tests.end_to_end.dagster.conftest import USERS, Early, days_back, months_back, numbers
from tests.end_to_end.dagster.running import RunningDagster, until


@pytest.fixture(scope="module")
def sessions(dagster: RunningDagster, early: Early) -> Any:
    """The backfill of 90 days, once it has ended."""
    return dagster.finished_backfill(early.sessions)


def test_a_backfill_of_90_days_is_one_run_that_lists_each_user_once(
    dagster: RunningDagster, early: Early, sessions: Any
):
    """Ninety runs, or ninety lists a user, would cost ninety times the requests."""
    assert sessions["status"] == "COMPLETED_SUCCESS", sessions
    (run,) = sessions["runs"]
    events = dagster.events(run["runId"])
    shown = numbers(events, "sleep_sessions")
    assert sorted(shown) == early.days
    assert USERS <= shown[early.days[-1]]["requests_list_sessions"] <= 2 * USERS, "a page holds 100 sessions"
    assert {e["stepKey"] for e in events if e["eventType"] == "STEP_SUCCESS"} >= {
        f"sleep_sessions.sync_users[b{number:04d}_of_0003]" for number in range(3)
    }


def test_the_rows_shown_for_each_day_are_those_of_that_day(
    dagster: RunningDagster, engine: Engine, early: Early, sessions: Any
):
    """A run over many days once showed its sum on every one of them."""
    shown = numbers(dagster.events(sessions["runs"][0]["runId"]), "sleep_sessions")

    by_day = _counts(
        engine,
        "SELECT (session_start_time AT TIME ZONE 'UTC')::date::text, count(*) FROM asleep.sleep_sessions "
        "WHERE deleted_at IS NULL GROUP BY 1",
    )
    assert {day: shown[day]["dagster/partition_row_count"] for day in early.days} == {
        day: by_day.get(day, 0) for day in early.days
    }
    assert "requests" not in shown[early.days[0]], "requests belong to the run, so they stand on one day only"


def test_the_months_touched_follow_without_anyone_asking(engine: Engine, sessions: Any):
    """The running month included: analysts look at it every morning. `eager()` would wait for its last day."""
    touched = sorted({day[:8] + "01" for day in days_back(90)})

    def all_there() -> bool:
        found = _counts(engine, "SELECT month::text, count(*) FROM asleep.monthly_averages GROUP BY 1")
        waiting = _counts(engine, "SELECT 'all', count(*) FROM asleep.stale_months")
        return found.keys() >= set(touched) and waiting["all"] == 0

    assert sessions["status"] == "COMPLETED_SUCCESS"
    until("averages of every month touched", all_there)


def test_a_backfill_of_12_months_of_averages_is_one_run(dagster: RunningDagster, early: Early):
    """Analysts ask for the whole year; a month without sessions is empty, and no error."""
    backfill = dagster.finished_backfill(early.averages)

    assert backfill["status"] == "COMPLETED_SUCCESS", backfill
    (run,) = backfill["runs"]
    shown = numbers(dagster.events(run["runId"]), "monthly_averages")
    assert sorted(shown) == months_back(12)
    assert {"dagster/partition_row_count", "written", "unchanged", "removed"} <= shown[months_back(1)[0]].keys()


@pytest.mark.parametrize(
    ("job", "key", "message"),
    [
        ("sync_sleep_sessions", "2199-01-01", "2199-01-01 lies in the future: the last day that can be synced"),
        ("summarise_months", "2199-01-01", "2199-01 lies in the future: the last month with sessions"),
    ],
)
def test_a_partition_in_the_future_is_refused_in_one_sentence(
    dagster: RunningDagster, job: str, key: str, message: str
):
    """Dagster runs any partition that a tag names; a day to come must not be recorded as done."""
    launched = dagster.launch(job, tags={"dagster/partition": key})

    run_id = launched["run"]["runId"]
    assert dagster.finished(run_id)["status"] == "FAILURE"
    events = dagster.events(run_id)
    messages = [e["failureMetadata"]["description"] for e in events if e.get("failureMetadata")]
    assert len(messages) == 1, "once: no retry makes the future come sooner"
    assert messages[0].startswith(message)
    assert not numbers(events, "sleep_sessions")
    assert not numbers(events, "monthly_averages")


def _counts(engine: Engine, query: str) -> dict[str, int]:
    with engine.connect() as connection:
        return {row[0]: row[1] for row in connection.execute(text(query))}
