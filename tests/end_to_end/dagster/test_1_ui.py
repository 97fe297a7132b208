"""The real UI in headless Chromium: what a person clicks, and what the person then sees."""

import os
import re
import shutil
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.end_to_end.dagster.conftest import Early, artefact, days_back, months_back
from tests.end_to_end.dagster.running import RunningDagster

SECONDS = 120_000
CHROMIUM = next(filter(None, (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    """A page of the distribution's own Chromium."""
    if CHROMIUM is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no Chromium on a machine of CI: `make chromium` installs it")
        pytest.skip("no Chromium here: `make chromium` installs it")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1400, "height": 1000})
        page.set_default_timeout(60_000)
        expect.set_options(timeout=30_000)
        yield page
        browser.close()


def launch(page: Page, dagster: RunningDagster, asset: str, partitions: list[str]) -> str:
    """Ask for a range of partitions in the dialog of the asset's page; returns the backfill's id as the UI tells it."""
    page.goto(f"{dagster.url}/assets/{asset}?view=partitions")
    page.get_by_role("button", name="Materialize…").click()
    confirm = page.get_by_role("button", name="Confirm")
    explained = page.get_by_text("Backfills all partitions in a single run.")
    expect(confirm.or_(explained)).to_be_visible()
    if confirm.is_visible():  # nothing upstream was materialised yet, as in a new organisation
        confirm.click()
    dialog = page.get_by_role("dialog").last
    expect(dialog.get_by_text("Backfills all partitions in a single run.")).to_be_visible()
    everything = dialog.get_by_text("Show all partitions")
    if everything.is_visible():
        everything.click()
    field = dialog.get_by_placeholder(re.compile("^ex: "))
    field.fill(f"[{partitions[0]}...{partitions[-1]}]")
    field.press("Enter")
    expect(dialog.get_by_text(f"{len(partitions)} partitions", exact=True)).to_be_visible()
    page.screenshot(path=artefact(f"backfill-{asset}-dialog.png"))
    dialog.get_by_role("button", name="Launch backfill").click()
    told = page.get_by_text(re.compile(r"Created backfill \w+")).inner_text()
    return told.split()[-1]


def test_backfills_launched_in_the_ui_end_green(page: Page, dagster: RunningDagster, early: Early):
    """Ninety days of sessions and twelve months of averages are what a new organisation clicks first."""
    sessions = launch(page, dagster, "sleep_sessions", days_back(90))
    averages = launch(page, dagster, "monthly_averages", months_back(12))

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
