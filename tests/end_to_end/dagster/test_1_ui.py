"""The real UI in headless Chromium: what a person clicks, and what the person then sees."""

import re

from playwright.sync_api import Page, expect

from tests.end_to_end.clicks import artefact, launch_backfill
from tests.end_to_end.dagster.conftest import Early, days_back, months_back
from tests.end_to_end.dagster.running import RunningDagster

SECONDS = 120_000


def test_backfills_launched_in_the_ui_end_green(page: Page, dagster: RunningDagster, early: Early):
    """Ninety days of sessions and twelve months of averages are what a new organisation clicks first."""
    sessions = launch_backfill(page, dagster.url, "sleep_sessions", days_back(90))
    averages = launch_backfill(page, dagster.url, "monthly_averages", months_back(12))

    page.goto(f"{dagster.url}/runs?view=backfills")
    for backfill_id in (sessions, averages, early.sessions, early.averages):
        expect(page.get_by_role("link", name=backfill_id)).to_be_visible()
    expect(page.get_by_text("Success", exact=True)).to_have_count(4, timeout=SECONDS)
    page.screenshot(path=artefact("backfills-green.png"))

    (run,) = dagster.backfill(sessions)["runs"]
    page.goto(f"{dagster.url}/runs/{run['runId']}")
    expect(page.get_by_text("Success", exact=True).first).to_be_visible()
    expect(page.get_by_text(re.compile(r"^Succeeded \(\d+\)$"))).to_be_visible()
    page.screenshot(path=artefact("run-with-batches.png"))


def test_an_analyst_finds_meaning_and_columns_on_the_assets_page(page: Page, dagster: RunningDagster):
    """The page of an asset is the table's manual: what a row is, every column, how fresh it is."""
    page.goto(f"{dagster.url}/assets/sleep_sessions?view=overview")
    expect(page.get_by_text("Every sleep session of the registered users, one row per session")).to_be_visible()
    expect(page.get_by_text("Calendar date of the session's start in local time").first).to_be_visible()
    expect(page.get_by_text("Fails if more than 36 hours since last materialization")).to_be_visible()
    page.screenshot(path=artefact("asset-sleep-sessions.png"))
    page.goto(f"{dagster.url}/automation")
    expect(page.get_by_text("recompute_stale_months")).to_be_visible()
    page.screenshot(path=artefact("automation.png"))
