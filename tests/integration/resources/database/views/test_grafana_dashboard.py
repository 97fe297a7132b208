"""The ready dashboard: each of its questions runs on our views with an analyst's rights.

Grafana itself does not run here; the form of the file follows its documentation.
"""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Connection, text

from assets.metrics.monthly_summary import summarise
from tests.warehouse_sessions import session, slept, store

DASHBOARD = json.loads((Path(__file__).resolve().parents[5] / "deploy" / "grafana" / "sleep.json").read_text("utf-8"))
PANELS = {panel["title"]: panel for panel in DASHBOARD["panels"] if panel["type"] != "row"}
VARIABLES = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
START = datetime(2026, 5, 10, 14, tzinfo=UTC)
VALUES = {"month": "2026-05-01", "user": "one"}


def asked(connection: Connection, query: str) -> list[dict[str, object]]:
    """The answer, with Grafana's variables put in."""
    for name, value in VALUES.items():
        query = query.replace("${" + name + "}", value)
    assert "$" not in query
    return [dict(row) for row in connection.exec_driver_sql(query).mappings()]


@pytest.fixture
def analyst(connection: Connection) -> Connection:
    """Two months of one user with one nap, read with an analyst's rights."""
    for month in (4, 5):
        for day in range(10, 16):
            start = START.replace(month=month, day=day)
            store(connection, [session("one", start, slept(sleep_time=start), sleep_stages=[0, 1, 2, -1, 3])])
    store(connection, [session("one", START + timedelta(hours=15), slept(time_in_sleep=3600))])
    summarise(connection)
    connection.execute(text("GRANT asleep_analyst TO current_user"))
    connection.execute(text("SET LOCAL ROLE asleep_analyst"))
    return connection


@pytest.mark.parametrize("title", PANELS)
def test_a_panels_question_is_answered(analyst: Connection, title: str):
    """A renamed column would leave an empty box on somebody's wall."""
    for target in PANELS[title]["targets"]:
        assert asked(analyst, target["rawSql"])


@pytest.mark.parametrize("name", ["month", "user"])
def test_a_variable_offers_choices(analyst: Connection, name: str):
    """What can be chosen is what the panels are asked with."""
    rows = asked(analyst, VARIABLES[name]["query"])

    assert VALUES[name] in {row.get("__value", row.get("user_id")) for row in rows}


def test_a_nap_adds_to_the_sleep_of_its_date(analyst: Connection):
    """A mean per session would tell somebody who naps that they sleep less."""
    hours = (6 * 26400 + 3600) / 6 / 3600

    def first(title: str) -> list[object]:
        return list(asked(analyst, PANELS[title]["targets"][0]["rawSql"])[0].values())

    assert first("Asleep per date") == [pytest.approx(hours * 3600)]
    assert first("Sleep by user") == [pytest.approx(hours)]
    assert first("Largest changes in sleep")[2:4] == [pytest.approx(hours), pytest.approx(10)]
    assert first("Months")[2] == pytest.approx(hours)


def test_the_hypnogram_fills_its_box_whatever_the_time_range(analyst: Connection):
    """In a dashboard of a year a night on the clock is a sliver: it is drawn by hours since its start instead."""
    panel = PANELS["Hypnogram of the newest night of the month"]
    rows = asked(analyst, panel["targets"][0]["rawSql"])
    across = panel["options"]["xField"]
    stage = next(over for over in panel["fieldConfig"]["overrides"] if over["matcher"]["options"] == "Stage")
    names = next(each["value"] for each in stage["properties"] if each["id"] == "mappings")[0]["options"]

    assert panel["type"] == "trend"
    assert [float(str(row[across])) for row in rows] == pytest.approx([0, 1 / 120, 2 / 120, 3 / 120, 4 / 120])
    assert [None if row["Stage"] is None else names[str(row["Stage"])]["text"] for row in rows] == [
        "Awake", "Light", "Deep", None, "REM",
    ]  # fmt: skip


def test_every_panel_reads_the_chosen_database():
    """The file must work with any data source, whatever its id."""
    sources = [panel["datasource"]["uid"] for panel in PANELS.values()]
    sources += [target["datasource"]["uid"] for panel in PANELS.values() for target in panel["targets"]]

    assert set(sources) == {"${database}"}
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
