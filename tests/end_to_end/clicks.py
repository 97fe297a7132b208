"""What a person clicks in Dagster's UI, and pictures of it for people to look at."""

import re
from pathlib import Path

from playwright.sync_api import Page, expect


def artefact(name: str) -> Path:
    """A file kept after the tests."""
    directory = Path(__file__).resolve().parents[2] / "artefacts"
    directory.mkdir(exist_ok=True)
    return directory / name


def launch_backfill(page: Page, url: str, asset: str, partitions: list[str]) -> str:
    """Ask for a range of partitions in the dialog of the asset's page; returns the backfill's id as the UI shows it."""
    page.goto(f"{url}/assets/{asset}?view=partitions")
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
    field = dialog.get_by_placeholder(re.compile("^(ex: |No matching partitions)"))
    field.fill(f"[{partitions[0]}...{partitions[-1]}]")
    field.press("Enter")
    expect(dialog.get_by_text(f"{len(partitions)} partitions", exact=True)).to_be_visible()
    page.screenshot(path=artefact(f"backfill-{asset}-dialog.png"))
    dialog.get_by_role("button", name="Launch backfill").click()
    told = page.get_by_text(re.compile(r"Created backfill \w+")).inner_text()
    return told.split()[-1]
