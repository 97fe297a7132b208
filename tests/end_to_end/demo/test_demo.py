"""The first hour, as a newcomer types and clicks it: the demo twice, then `dev`, in a folder of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest
import requests
from playwright.sync_api import expect
from sqlalchemy import text

from pipelines.cli.demo import BATCHES
from pipelines.cli.development.simulated_api import Size
from resources.database.engine import make_engine
from resources.database.service.inbox import Inbox, IncomingEvent
from resources.embedded_postgres import server as embedded
from tests.conftest import ROOT, running_simulator
from tests.end_to_end.clicks import artefact, launch_backfill
from tests.end_to_end.dagster.conftest import days_back
from tests.end_to_end.dagster.running import BIN, RunningDagster, free_port
from tests.expected_nights import Assigned, Recorded, expected_nights
from tests.integration.pipelines.service.serving import answers, await_truth
from tests.truth import differences

USERS, DAYS = 12, 60
COMMAND = [sys.executable, "-m", "pipelines.cli.main"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    yield folder
    embedded.destroy(folder / "postgres")


def _environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ASLEEP_", "DAGSTER_"))}
    return kept | {"DATA_DIRECTORY": str(folder), "DATABASE_URL": "", "COLUMNS": "120"}


def _demo(folder: Path) -> str:
    ended = subprocess.run(
        [*COMMAND, "demo", "--users", str(USERS), "--days", str(DAYS)],
        cwd=folder,
        env=_environment(folder),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
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
    size = Size(USERS, DAYS)
    with running_simulator(*size.options, "--state-file", str(size.state_file(folder))) as api:
        truth = api.ask("truth")
    moving = {
        session["row"]["session_id"]
        for user in truth["users"]
        for session in user["sessions"]
        if session["completed_time"] is None
    }  # recorded just now, so they have gone on since the demo read them
    found = differences(engine, truth, today - timedelta(days=DAYS - 2), today)
    assert [line for line in found if not any(session in line for session in moving)] == []
    assert len(moving) < USERS


def _recorded(user_id: str, result: dict[str, Any]) -> Recorded | None:
    """What the rules of nights look at, from an answer of the simulator; None when its zone is unknown."""
    own, stat = result["session"], result["stat"] or {}
    try:
        zone = ZoneInfo(own["created_timezone"])
    except (ZoneInfoNotFoundError, ValueError):
        return None

    def moment(text: str | None) -> datetime | None:
        return None if text is None else datetime.fromisoformat(text)

    start = moment(own["start_time"])
    assert start is not None
    return Recorded(
        session_id=own["id"],
        user_id=user_id,
        start=start,
        end=moment(own["end_time"]),
        slept=own["state"] == "COMPLETE"
        and bool(stat.get("time_in_sleep"))
        and "NEVER_SLEPT" not in result["peculiarities"],
        time_in_sleep=stat.get("time_in_sleep"),
        sleep_time=moment(stat.get("sleep_time")),
        wake_time=moment(stat.get("wake_time")),
        peculiarities=tuple(result["peculiarities"]),
        to_local=lambda moment: moment.astimezone(zone),
    )


def test_the_demos_nights_follow_from_the_simulators_truth(folder, engine):
    """Plain Python gives the same nights, naps and sessions set aside; a night that begins in the evening is no nap."""
    size = Size(USERS, DAYS)
    with running_simulator(*size.options, "--state-file", str(size.state_file(folder))) as api:
        truth = api.ask("truth")
    with engine.connect() as connection:
        rows = connection.execute(text("SELECT * FROM asleep.sleep_sessions WHERE deleted_at IS NULL")).all()
    stored = {row.session_id: Assigned(row.night_date, row.episode_id, row.night_role) for row in rows}
    compared = 0
    for user in truth["users"]:
        known = [session for session in user["sessions"] if session["row"]["session_id"] in stored]
        recorded = [_recorded(user["user_id"], session["result"]) for session in known]
        if any(session["completed_time"] is None for session in known) or None in recorded:
            continue  # recorded just now, or in a zone that its neighbours lend
        expected = expected_nights(each for each in recorded if each is not None)
        assert {name: stored[name] for name in expected} == expected
        compared += len(expected)
    naps_at_night = [
        row for row in rows
        if row.night_role == "nap" and row.time_in_sleep >= 10800 and not 4 <= row.session_start_local.hour < 20
    ]  # fmt: skip

    assert compared > 100
    assert len(naps_at_night) <= 12


def test_the_demo_prints_what_it_stored_and_the_next_commands(first, engine):
    """A newcomer sees numbers that are true and commands that can be typed."""
    with engine.connect() as connection:
        sessions = connection.scalar(text("SELECT count(*) FROM asleep.sleep_sessions"))
        months = connection.scalar(text("SELECT count(*) FROM asleep.monthly_averages"))
    assert f"{USERS} users, {sessions} sessions" in first
    assert f"{months} user-months" in first
    assert "make dev" in first
    requests = re.search(r"requests\s+\d+ \((\d+) lists, \d+ sessions, 0 throttled\)", first)
    assert requests is not None
    assert int(requests[1]) == USERS + 1, "one each, and one for all batches that confirms the page size"


def _as_duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min"


def _tiles(page: str) -> dict[str, str]:
    """The figures of a report that are read first."""
    return dict(re.findall(r"<span>([^<]+)</span><b>([^<]+)</b>", page))


def _report(folder: Path, month: date, *arguments: str) -> dict[str, str]:
    page = folder / "report.html"
    code, said = _typed(folder, "report", "--month", f"{month:%Y-%m}", "--out", str(page), *arguments)
    assert code == 0, said
    return _tiles(page.read_text("utf-8"))


def _cookbook(engine, number: int, **values: object) -> list[dict[str, Any]]:
    page = (ROOT / "docs" / "how-to" / "cookbook.md").read_text("utf-8")
    query = re.search(rf"(?ms)^## {number}\. .*?^```sql\n(.+?);\n```", page)[1]
    with engine.connect() as connection:
        return [
            dict(row)
            for row in connection.exec_driver_sql(
                re.sub(r":'(\w+)'", lambda name: f"'{values[name[1]]}'", query)
            ).mappings()
        ]


def _grafana(engine, title: str, **values: object) -> dict[str, Any]:
    """The first row of a panel of the dashboard."""
    dashboard = json.loads((ROOT / "deploy" / "grafana" / "sleep.json").read_text("utf-8"))
    query = next(panel["targets"][0]["rawSql"] for panel in dashboard["panels"] if panel["title"] == title)
    for name, value in values.items():
        query = query.replace("${" + name + "}", str(value))
    with engine.connect() as connection:
        return dict(connection.exec_driver_sql(query).mappings().first())


def _summary(folder: Path, engine, user_id: str) -> dict[str, Any]:
    """What the read API answers about the user's newest months."""
    port = free_port()
    settings = {
        "DATABASE_URL": engine.url.render_as_string(hide_password=False),
        "ASLEEP_API_KEY": "one", "SERVICE_API_KEYS": "read",
    }  # fmt: skip
    with subprocess.Popen(
        [*COMMAND, "serve", "--port", str(port)], cwd=folder, env=_environment(folder) | settings
    ) as service:
        try:
            await_truth(lambda: answers(f"http://127.0.0.1:{port}"))
            found = requests.get(
                f"http://127.0.0.1:{port}/api/users/{user_id}/summary", headers={"x-api-key": "read"}, timeout=30
            )
            assert found.status_code == 200, found.text
            return {month["month"]: month for month in found.json()["months"]}
        finally:
            service.terminate()


def test_everything_that_shows_a_month_shows_one_number_for_one_thing(folder, first, engine):
    """The demo's printed table, cookbook, report, dashboard and read API: readers compare them."""
    month = (datetime.now(UTC).date() - timedelta(days=1)).replace(day=1)
    [printed] = [
        [cell.strip() for cell in line.split("│")] for line in first.splitlines() if f" {month:%Y-%m} │" in line
    ]
    with engine.connect() as connection:
        user_id = connection.scalar(
            text(
                "SELECT user_id FROM asleep.monthly_averages WHERE month = :month "
                "ORDER BY naps > 0 DESC, valid_nights DESC, user_id LIMIT 1"
            ),
            {"month": month},
        )
    report, [book] = _report(folder, month), _cookbook(engine, 5, month=month)[-1:]
    panels = {
        title: next(iter(_grafana(engine, title, month=month).values()))
        for title in ("Asleep per date", "Efficiency", "Falls asleep", "Wakes up")
    }
    assert printed[2:5] == [report[name] for name in ("Nights", "Asleep per date", "Efficiency")]
    assert report["Asleep per date"] == _as_duration(panels["Asleep per date"])
    assert report["Efficiency"] == f"{panels['Efficiency'] * 100:.1f} %"
    assert [report[name] for name in ("Falls asleep", "Wakes up")] == [panels["Falls asleep"], panels["Wakes up"]]
    assert float(book["hours_asleep_per_date"]) == round(panels["Asleep per date"] / 3600, 2)
    assert float(book["efficiency"]) == round(panels["Efficiency"], 3)
    assert f"{book['falls_asleep']:%H:%M}" == report["Falls asleep"]

    report = _report(folder, month, "--user", user_id)
    book = next(row for row in _cookbook(engine, 2, user=user_id) if row["month"] == month)
    panel, answer = _grafana(engine, "Months", user=user_id), _summary(folder, engine, user_id)[month.isoformat()]
    assert (panel["month"], panel["nights"]) == (f"{month:%Y-%m}", answer["nights"])
    assert report["Nights"] == str(answer["nights"]) == str(book["nights"])
    assert report["Asleep per date"] == _as_duration(answer["avg_time_in_sleep_of_date"])
    assert float(book["hours_asleep_per_date"]) == round(answer["avg_time_in_sleep_of_date"] / 3600, 2)
    assert panel["hours_asleep_per_date"] * 3600 == pytest.approx(answer["avg_time_in_sleep_of_date"], rel=1e-12)
    assert report["Efficiency"] == f"{answer['avg_efficiency_of_night'] * 100:.1f} %"
    assert panel["efficiency"] == answer["avg_efficiency_of_night"]
    assert float(book["efficiency"]) == round(answer["avg_efficiency_of_night"], 3)
    for name, shown, column in (
        ("Falls asleep", "falls_asleep", "avg_onset_of_night"),
        ("Wakes up", "wakes_up", "avg_wake_of_night"),
    ):
        assert report[name] == panel[shown] == f"{book[shown]:%H:%M}" == answer[column][:5]


def test_psql_opens_with_the_command_that_the_demo_names(folder, first):
    """Typed as printed; `-o install` keeps make from checking the environment again."""
    assert "make psql" in first
    shown = subprocess.run(
        ["make", "-s", "-C", str(ROOT), "-o", "install", "psql", f"PYTHON={sys.executable}", f"BIN={BIN}"],
        env=_environment(folder),
        input="SELECT 'users: ' || count(*) FROM asleep.users;",
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"users: {USERS}" in shown.stdout


def test_the_report_is_private_and_at_the_printed_path(folder, first):
    """Health data: neither other users of the machine nor git get to see it."""
    report = Path(re.search(r"Monthly report: (\S+)", first)[1])
    assert report.read_text("utf-8").startswith("<!doctype html>")
    assert report.stat().st_mode & 0o077 == 0
    assert report.parent.stat().st_mode & 0o077 == 0
    for path in (*folder.rglob("*.json"), *folder.rglob("*.jsonl")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_a_second_demo_fetches_nothing_that_it_has_and_rewrites_no_row(folder, engine):
    """What is stored is never fetched again."""
    before = _rows(engine, "sleep_sessions"), _rows(engine, "monthly_averages")
    second = _demo(folder)
    assert re.search(r"requests\s+\d+ \(\d+ lists, 0 sessions, 0 throttled\)", second)
    assert (_rows(engine, "sleep_sessions"), _rows(engine, "monthly_averages")) == before


def test_the_demo_cuts_its_users_into_batches_so_that_the_chart_shows_them(engine):
    """One bar would explain nothing."""
    with engine.connect() as connection:
        batches = connection.scalar(
            text("SELECT count(*) FROM asleep.sync_batches GROUP BY run_id ORDER BY min(finished_at) LIMIT 1")
        )
    assert batches == BATCHES


@pytest.fixture(scope="module")
def dev(folder, first):
    """`asleep-sync dev` without a key, as `make dev` starts it: its address, and everything that it printed."""
    assert first
    port = free_port()
    with subprocess.Popen(
        [*COMMAND, "dev", "--port", str(port)],
        cwd=folder,
        env=_environment(folder) | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        printed = []
        while line := process.stdout.readline():
            printed.append(line)
            if "http://127.0.0.1:" in line and "UI" in line:
                break
        assert process.poll() is None, "".join(printed)
        yield Dev(process, f"http://127.0.0.1:{port}", printed)
        if process.poll() is None:
            process.kill()


@dataclass
class Dev:
    process: subprocess.Popen
    url: str
    printed: list[str]


def test_dev_without_a_key_prints_in_one_line_that_the_api_is_simulated(dev):
    """And prints the address last, so that a terminal can open it with a click."""
    assert [line for line in dev.printed if "simulated" in line] == [dev.printed[0]]
    assert f"{USERS} users" in dev.printed[0]
    assert dev.printed[-1].strip().endswith(dev.url)


def test_the_first_page_shows_the_demos_runs(dev, page):
    """An empty page is what a newcomer would take for a failure."""
    page.goto(dev.url)
    for job in ("sync_sleep_sessions", "summarise_months"):
        expect(page.get_by_role("link", name=job).first).to_be_visible()
    page.screenshot(path=artefact("first-page.png"))


def test_no_day_is_missing_after_the_demo(dev):
    """Lineage is green instead of grey: the first partition is the first day that the demo synced."""
    query = """{ assetNodes(assetKeys: [{path: ["sleep_sessions"]}]) {
      partitionStats { numPartitions numMaterialized } } }"""
    [node] = RunningDagster(dev.url, {}, Path()).ask(query)
    assert node["partitionStats"] == {"numPartitions": DAYS, "numMaterialized": DAYS}


def test_the_first_click_materialises_thirty_days(dev, page):
    """Asset page, "Materialize…", thirty days: the documented first action, on the simulated API."""
    backfill = launch_backfill(page, dev.url, "sleep_sessions", days_back(30))
    page.goto(f"{dev.url}/runs?view=backfills")
    expect(page.get_by_role("link", name=backfill)).to_be_visible()
    expect(page.get_by_text("Success", exact=True).first).to_be_visible(timeout=150_000)
    page.screenshot(path=artefact("first-backfill.png"))


def test_the_asset_page_shows_metadata_and_plots(dev, page):
    """Numbers of the run, and their course over the days."""
    page.goto(f"{dev.url}/assets/sleep_sessions?view=events")
    expect(page.get_by_text("requests_list_sessions").first).to_be_visible()
    page.goto(f"{dev.url}/asset-groups~/sleep_sessions")
    expect(page.get_by_text("Metadata plots")).to_be_visible()
    expect(page.locator("canvas").first).to_be_visible()
    page.screenshot(path=artefact("asset-plots.png"))


def test_ctrl_c_ends_dev_within_ten_seconds_without_a_trace(dev):
    """Whatever ran: no traceback, nothing more on the terminal, no process left."""
    dev.process.send_signal(signal.SIGINT)
    rest = dev.process.stdout.read()
    assert dev.process.wait(timeout=10) == 0
    assert rest == ""
    with socket.socket() as client:
        assert client.connect_ex(("127.0.0.1", int(dev.url.rpartition(":")[2]))) != 0


def _typed(folder: Path, *arguments: str, **settings: str) -> tuple[int, str]:
    ended = subprocess.run(
        [*COMMAND, *arguments],
        cwd=folder,
        env=_environment(folder) | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    return ended.returncode, ended.stdout + ended.stderr


def test_a_real_key_never_meets_the_demos_users_and_one_command_removes_them(folder, first):
    """A newcomer sets the key next; made-up users would be requested from the account, and count as gone."""
    assert "demo --remove" in first
    account = {"ASLEEP_API_KEY": "a-real-key", "ASLEEP_BASE_URL": "http://127.0.0.1:9"}
    for command in ("sync", "dev"):
        code, said = _typed(folder, command, **account)
        assert code == 2
        assert said.splitlines()[-1].endswith("asleep-sync demo --remove")

    other = make_engine(embedded.start(folder / "postgres").url, application_name="tests")
    with other.begin() as connection:
        Inbox(connection).put([IncomingEvent(b"{}", {})])
    code, said = _typed(folder, "demo", "--remove")
    assert (code, "webhook events that were not handled" in said) == (2, True), "one may be a real user's only trace"
    with other.begin() as connection:
        connection.execute(text("DELETE FROM asleep.webhook_events"))
    other.dispose()

    assert _typed(folder, "demo", "--remove")[0] == 0
    assert _typed(folder, "migrate")[0] == 0
    code, said = _typed(folder, "users", "list")
    assert (code, said.count("\n")) == (0, 1), "the heading and no user"
