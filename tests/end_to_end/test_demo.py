"""The demo, as a newcomer runs it: twice, in a folder of its own."""

import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from resources.database.engine import make_engine
from resources.embedded_postgres import server as embedded
from tests.conftest import ROOT, running_simulator
from tests.truth import differences

USERS, DAYS = 12, 60
COMMAND = [sys.executable, "-m", "pipelines.cli.main", "demo", "--users", str(USERS), "--days", str(DAYS)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    embedded.destroy(folder / "postgres")


def _demo(folder: Path) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("ASLEEP_", "DAGSTER_"))}
    environment |= {"DATA_DIRECTORY": str(folder), "DATABASE_URL": "", "COLUMNS": "120"}
    ended = subprocess.run(COMMAND, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    return ended.stdout


def _rows(engine, table):
    with engine.connect() as connection:
        return connection.execute(text(f"SELECT xmin, * FROM asleep.{table} ORDER BY 2, 3")).all()


@pytest.fixture(scope="module")
def first(folder):
    return _demo(folder)


@pytest.fixture(scope="module")
def engine(folder, first):
    engine = make_engine(embedded.start(folder / "postgres").url, application_name="tests")
    assert first
    yield engine
    engine.dispose()


def test_the_demo_fills_the_tables_with_what_the_api_answers(folder, engine):
    """Every field of every session, against a simulator that is started anew on the same history."""
    today = datetime.now(UTC).date()
    state = next(folder.glob("simulated-*"))
    with running_simulator("--users", str(USERS), "--days", str(DAYS + 40), "--state-file", str(state)) as api:
        truth = api.ask("truth")
    assert differences(engine, truth, today - timedelta(days=DAYS - 2), today) == []


def test_the_demo_says_what_landed_and_where_to_look(first, engine):
    """A newcomer sees numbers that are true and commands that can be typed."""
    with engine.connect() as connection:
        sessions = connection.scalar(text("SELECT count(*) FROM asleep.sleep_sessions"))
        months = connection.scalar(text("SELECT count(*) FROM asleep.monthly_averages"))
    assert f"{USERS} users, {sessions} sessions" in first
    assert f"{months} user-months" in first
    assert "make dev" in first
    told = re.search(r"requests\s+\d+ \((\d+) lists, \d+ sessions, 0 throttled\)", first)
    assert told is not None
    assert USERS <= int(told[1]) <= USERS + 3, "one each, and one more where a page looks as if it were capped"


def test_psql_opens_with_the_command_that_the_demo_prints(first):
    """Typed as printed."""
    command = next(line.strip() for line in first.splitlines() if "psql" in line)
    shown = subprocess.run(
        f'{command} -At -c "SELECT count(*) FROM asleep.users"',
        shell=True,  # as a person would type it
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout.strip() == str(USERS)


def test_a_second_demo_fetches_nothing_that_it_has_and_rewrites_no_row(folder, engine):
    """What is stored is never fetched again."""
    before = _rows(engine, "sleep_sessions"), _rows(engine, "monthly_averages")
    second = _demo(folder)
    assert re.search(r"requests\s+\d+ \(\d+ lists, 0 sessions, 0 throttled\)", second)
    assert (_rows(engine, "sleep_sessions"), _rows(engine, "monthly_averages")) == before


def test_the_demo_is_recorded_in_dagster(engine):
    """The UI shows the demo's runs and the partitions they materialised."""
    dagster = create_engine(engine.url)
    with dagster.connect() as connection:
        runs = dict(
            tuple(row)
            for row in connection.execute(text("SELECT pipeline_name, count(*) FROM dagster.runs GROUP BY 1"))
        )
    dagster.dispose()
    assert runs["sync_sleep_sessions"] >= 1
    assert runs["summarise_months"] >= 1
