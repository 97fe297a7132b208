"""The cookbook's questions, run as an analyst on 200,000 sessions: they answer, by an index, reading what they must.

Timing does not belong here: rows read and the way to them do not depend on the machine.
"""

import json
import re
import secrets
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Engine, make_url, text

from assets.metrics.monthly_summary import summarise
from assets.metrics.sleep_metrics import compute_metrics
from resources.asleep.records import SleepSession
from resources.database.engine import make_engine
from tests.warehouse_sessions import session, slept, store

ROOT = Path(__file__).resolve().parents[5]
COOKBOOK = (ROOT / "docs" / "how-to" / "cookbook.md").read_text("utf-8")
GENERATOR = (ROOT / "benchmarks" / "warehouse_sessions.sql").read_text("utf-8")
NO_STAGES = "CREATE TEMPORARY TABLE night_pool (number integer, sleep_stages smallint[], snoring_stages smallint[])"
EVERYBODY = "SELECT DISTINCT user_id, 'import' FROM asleep.sleep_sessions"
USERS, DAYS, SOME = 1000, 200, 40
PERSON = "G-20260101000000-xxxxxxxxxxxxxxxxxxxb"
NAPPER = "naps after lunch"
LARGE = {"sleep_sessions", "monthly_averages", "sleep_metrics"}

STAGES = """
UPDATE asleep.sleep_sessions
SET sleep_stages = array_fill(1::smallint, ARRAY[700])
WHERE user_id = :user AND night_month = '2026-05-01' AND slept AND sleep_stages IS NULL
"""
SOME_PERIODS = """
INSERT INTO asleep.stale_periods (user_id, period, period_start)
SELECT user_id, period, period_start
FROM (SELECT user_id FROM asleep.users ORDER BY user_id <> :user, user_id LIMIT :users) AS chosen
CROSS JOIN (
    VALUES ('month', date '2026-05-01'), ('week', '2026-05-04'), ('week', '2026-05-11'), ('week', '2026-05-18')
) AS periods (period, period_start)
"""

RECIPES = {int(number): (title, sql) for number, title, sql in re.findall(
    r"^## (\d+)\. (.+?)\n.*?^```sql\n(.+?);\n```", COOKBOOK, flags=re.MULTILINE | re.DOTALL
)}  # fmt: skip

ROWS_NEEDED = {
    1: 30,  # thirty nights
    2: 2 * 8,  # a user's months, and the month before each
    3: USERS + 1,  # the month's users, and who naps
    4: 2 * USERS + USERS * 8,  # two months' users, and the months before: all are read at once while they are few
    5: USERS * 8,  # all months are wanted; there are eight
    6: 2 * USERS,  # two days of everybody
    7: 1,
    8: 3 + USERS // 10,  # the newest of three kinds, and what is not final
    9: USERS // 10,  # what is not final
    10: 14 * USERS + 25,  # what was written in the last days, and the naps
    11: 0,
    12: 7,
    13: 1,
    14: 33,  # a month's sessions
    15: 4 * SOME,  # all metrics: read at once while they are few
    16: 4 * SOME,
    17: 4 * SOME,
    18: 31,
    19: 2 * DAYS + 2,  # the calendar begins with the first of the user's sessions
    20: 4 * SOME + USERS + 1,  # all metrics, and the registry
}
"""The most rows of the large tables that an answer needs, with this many users and nights."""


def naps() -> Iterator[SleepSession]:
    """One nap of a user among many, and a user who sleeps short nights and a nap on each of twelve dates in May."""
    lunch = datetime(2026, 5, 25, 5, tzinfo=UTC)
    yield session(PERSON, lunch, slept(time_in_sleep=2400), session_end_time=lunch + timedelta(hours=1))
    for day in range(1, 13):
        lunch = datetime(2026, 5, day, 5, tzinfo=UTC)
        yield session(NAPPER, lunch, slept(time_in_sleep=6000), session_end_time=lunch + timedelta(hours=2))
        yield session(NAPPER, lunch - timedelta(hours=15), slept(time_in_sleep=21000))


@pytest.fixture(scope="module")
def filled(engine: Engine) -> dict[str, str]:
    """A database with 200,000 sessions without stages, but for one night; the values the questions are asked with."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TEMPORARY TABLE night_pool (number integer, sleep_stages smallint[], snoring_stages smallint[])"
            )
        )
        connection.execute(text(GENERATOR), {"users": USERS, "days": DAYS, "until": "2026-05-31"})
        connection.execute(text(f"INSERT INTO asleep.users (user_id, source) {EVERYBODY}"))
        connection.execute(
            text("INSERT INTO asleep.stale_months SELECT DISTINCT user_id, night_month FROM asleep.sleep_sessions")
        )
        store(connection, naps())
        summarise(connection)
        night = connection.scalar(
            text(
                "UPDATE asleep.sleep_sessions SET sleep_stages = '{0,1,2,3,-1}', snoring_stages = '{0,0,1,1}' "
                "WHERE user_id = :user AND night_date = '2026-05-20' RETURNING session_id"
            ),
            {"user": PERSON},
        )
        connection.execute(text(STAGES), {"user": PERSON})
        connection.execute(text("DELETE FROM asleep.stale_periods"))
        connection.execute(text(SOME_PERIODS), {"user": PERSON, "users": SOME})
    compute_metrics(engine, date(2026, 6, 1))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("VACUUM ANALYZE"))
    return {"user": PERSON, "month": "2026-05-01", "day": "2026-05-20", "session": str(night)}


@pytest.fixture(scope="module")
def analyst(engine: Engine) -> Iterator[Engine]:
    """A login of its own that is a member of asleep_analyst, as the cookbook's first page makes it."""
    name, password = f"analyst_{secrets.token_hex(4)}", secrets.token_hex(8)
    with engine.begin() as connection:
        connection.execute(text(f"CREATE ROLE {name} LOGIN PASSWORD '{password}' IN ROLE asleep_analyst"))
    url = make_url(engine.url.render_as_string(hide_password=False)).set(username=name, password=password)
    theirs = make_engine(url, application_name="analyst")
    yield theirs
    theirs.dispose()
    with engine.begin() as connection:
        connection.execute(text(f"DROP ROLE {name}"))


@pytest.fixture
def asking(analyst: Engine) -> Iterator[Connection]:
    """A connection of the analyst."""
    with analyst.connect() as connection:
        yield connection


def recipe(number: int, values: dict[str, str]) -> str:
    """A question's statement with psql's variables put in."""
    return re.sub(r":'(\w+)'", lambda found: f"'{values[found[1]]}'", RECIPES[number][1])


def answer(connection: Connection, number: int, values: dict[str, str]) -> list[dict[str, Any]]:
    """The rows of the answer."""
    return [dict(row) for row in connection.exec_driver_sql(recipe(number, values)).mappings()]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A plan's nodes from the top."""
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explained(connection: Connection, number: int, values: dict[str, str]) -> list[dict[str, Any]]:
    """The nodes of the plan, with what they really did."""
    found = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {recipe(number, values)}").scalar()
    plan = json.loads(found) if isinstance(found, str) else found
    return list(nodes(plan[0]["Plan"]))


def test_the_book_is_read_whole():
    """A recipe that the pattern misses would never be run."""
    assert list(RECIPES) == list(range(1, COOKBOOK.count("```sql") + 1)) == list(ROWS_NEEDED)


@pytest.mark.parametrize("number", RECIPES)
def test_a_recipe_answers(asking: Connection, filled: dict[str, str], number: int):
    """What stands in the cookbook works as printed, for the role it is meant for."""
    assert answer(asking, number, filled)


@pytest.mark.parametrize("number", RECIPES)
def test_a_recipe_reads_no_more_than_it_must(asking: Connection, filled: dict[str, str], number: int):
    """With millions of sessions the difference between an index and none is minutes."""
    large = [node for node in explained(asking, number, filled) if node.get("Relation Name") in LARGE]
    read = sum(
        (node["Actual Rows"] + node.get("Rows Removed by Filter", 0) + node.get("Rows Removed by Index Recheck", 0))
        * node["Actual Loops"]
        for node in large
    )
    whole = [node for node in large if node["Node Type"] == "Seq Scan" and node["Relation Name"] == "sleep_sessions"]

    assert not whole
    assert read <= ROWS_NEEDED[number]


@pytest.mark.parametrize("number", RECIPES)
def test_a_recipe_touches_few_pages(asking: Connection, filled: dict[str, str], number: int):
    """An index of which most is read and thrown away touches many pages for few rows."""
    explained(asking, number, filled)
    top = explained(asking, number, filled)[0]
    pages = top["Shared Hit Blocks"] + top["Shared Read Blocks"]

    assert pages <= 4 * ROWS_NEEDED[number] + 60


def test_last_nights_are_whole(asking: Connection, filled: dict[str, str]):
    """Thirty dates, newest first; a date without sleep is missing, none comes twice."""
    dates = [row["night_date"] for row in answer(asking, 1, filled)]

    assert dates == sorted(set(dates), reverse=True)
    assert 25 <= len(dates) <= 30


def test_a_hypnogram_has_a_row_for_each_slot(asking: Connection, filled: dict[str, str]):
    """Series of unequal length end in nulls; an unknown stage is called so."""
    rows = [(row["epoch"], row["stage_name"], row["snoring_stage"]) for row in answer(asking, 7, filled)]

    assert rows == [(0, "wake", 0), (1, "light", 0), (2, "deep", 1), (3, "rem", 1), (4, "unknown", None)]


def test_who_naps_does_not_sleep_too_little(asking: Connection, filled: dict[str, str]):
    """5 h 50 min at night and 1 h 40 min after lunch: a mean per session made that less than four hours."""
    short = {row["user_id"]: row["hours_asleep_per_date"] for row in answer(asking, 3, filled)}
    own = answer(asking, 2, filled | {"user": NAPPER})

    assert NAPPER not in short
    assert [float(row["hours_asleep_per_date"]) for row in own] == [7.5]
    assert all(float(hours) <= 7 for hours in short.values())


def test_the_organisations_hours_are_the_mean_of_its_users(asking: Connection, filled: dict[str, str]):
    """The nights themselves say the same, naps included."""
    hours = asking.scalar(
        text(
            "SELECT round(avg(hours), 2) FROM (SELECT avg(time_in_sleep_of_date) / 3600 AS hours FROM asleep.nights "
            "WHERE is_valid_night AND night_date BETWEEN '2026-05-01' AND '2026-05-31' GROUP BY user_id) AS users"
        )
    )

    assert answer(asking, 5, filled)[-1]["hours_asleep_per_date"] == hours


def test_naps_are_the_sleeps_beside_the_nights(asking: Connection, filled: dict[str, str]):
    """A night among them, or a nap that is missing, would be counted as sleep of the wrong kind."""
    one, many = answer(asking, 14, filled), answer(asking, 14, filled | {"user": NAPPER})

    assert [(str(row["night_date"]), row["minutes_asleep"]) for row in one] == [("2026-05-25", 40)]
    assert [row["night_date"].day for row in many] == list(range(1, 13))


def test_a_session_is_found_by_its_id(asking: Connection, filled: dict[str, str]):
    """Naps too: the view of nights does not show them."""
    nap = answer(asking, 14, filled)[0]["session_id"]
    found = answer(asking, 13, filled | {"session": nap})

    assert [(row["user_id"], row["state"]) for row in found] == [(PERSON, "COMPLETE")]
