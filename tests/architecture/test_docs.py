"""Docs that lead nowhere are worse than none."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli.main import main
from pipelines.definitions import build_definitions
from pipelines.settings import Settings

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.md")])
LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)")
COMMAND = re.compile(r"\basleep-sync ([a-z]+)\b")


@pytest.mark.parametrize("page", [pytest.param(p, id=str(p.relative_to(ROOT))) for p in PAGES])
def test_every_link_leads_somewhere(page):
    """A reader who follows a link finds a page."""
    broken = [link for link in LINK.findall(page.read_text("utf-8")) if not (page.parent / link).exists()]
    assert broken == []


def test_the_site_builds_with_every_command_and_setting(tmp_path):
    """`make docs` stops at a broken link or anchor; its references are made from the code and have no empty meaning."""
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", tmp_path],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    commands = (tmp_path / "reference" / "commands.html").read_text("utf-8")
    assert all(f'id="asleep-sync-{name}"' in commands for name in main.commands)
    settings = (tmp_path / "reference" / "settings.html").read_text("utf-8")
    rows = re.findall(r"<tr>\s*<td><code>([A-Z_]+)</code></td>.*?<td>([^\n]*)</td>\s*</tr>", settings, re.DOTALL)
    assert {name for name, meaning in rows if meaning} == {name.upper() for name in Settings.model_fields}


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


def test_the_page_about_dagster_names_everything_that_its_ui_lists():
    """Two checks once failed in the demo, and no page explained them."""
    definitions = build_definitions(Settings())
    graph = definitions.resolve_asset_graph()
    listed = {
        *(key.to_user_string() for key in graph.get_all_asset_keys()),
        *(key.name for key in graph.asset_check_keys),
        *(each.name for each in [*(definitions.schedules or []), *(definitions.sensors or [])]),
        *(definitions.resources or {}),
    }
    page = (ROOT / "docs" / "how-to" / "dagster.md").read_text("utf-8")
    assert [name for name in sorted(listed) if f"`{name}`" not in page] == []
