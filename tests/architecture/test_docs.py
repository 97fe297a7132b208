"""Docs that lead nowhere are worse than none."""

import re
import subprocess
from pathlib import Path

import pytest

from pipelines.cli.main import main

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
COMMAND = re.compile(r"\basleep-sync ([a-z]+)\b")


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_every_link_leads_somewhere(page):
    """A reader who follows a link finds a page."""
    broken = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert broken == []


def test_every_command_named_in_the_docs_exists():
    """What a page tells to type can be typed."""
    named = {name for page in PAGES for name in COMMAND.findall(page.read_text("utf-8"))}
    prose = {"is", "stores", "and", "the", "in", "on", "daemon", "webserver", "run"}
    assert named - prose <= set(main.commands)


def test_every_make_target_named_in_the_readme_exists():
    """The two commands first of all."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    readme = (ROOT / "README.md").read_text("utf-8") + (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    named = set(re.findall(r"(?:^ {4}|`)make ([a-z-]+)", readme, re.MULTILINE))
    assert {"demo", "test"} <= named <= targets


def test_the_data_of_others_keep_their_licences():
    """Who copies this project copies their terms with their nights."""
    tracked = subprocess.run(
        ["git", "ls-files", "simulator/nights"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout
    present = {path.name for path in (ROOT / "simulator" / "nights").iterdir()}
    assert {"LICENSE-dod.txt", "README.md", "boas_128_nights.csv", "dod_80_nights.csv"} <= present
    assert not tracked or "simulator/nights/LICENSE-dod.txt" in tracked
