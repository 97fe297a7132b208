"""`--help` of every verb: quick, and enough to type the command."""

import json
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pipelines.cli.main import main

HEAVY = ("sqlalchemy", "dagster", "pandas", "matplotlib", "alembic", "fastapi")
SHOW_LOADED = """
import json, sys
from pipelines.cli.main import main
try:
    main(sys.argv[1:])
except SystemExit:
    print("LOADED", json.dumps([name for name in sys.modules if "." not in name]))
"""


def _verbs(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found: list[tuple[str, ...]] = []
    for name, command in group.commands.items():
        found.append((*path, name))
        if isinstance(command, click.Group):
            found.extend(_verbs(command, (*path, name)))
    return found


def _command(verb: tuple[str, ...]) -> click.Command:
    command: click.Command = main
    for name in verb:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    return command


VERBS = [verb for verb in _verbs(main) if verb not in {("simulate",), ("exec",)}]


@pytest.mark.parametrize("arguments", [(), ("sync",), ("users", "import")], ids=" ".join)
def test_help_loads_no_heavy_library(arguments: tuple[str, ...]):
    """A second of imports before the first word of help is a second too much."""
    shown = subprocess.run(
        [sys.executable, "-c", SHOW_LOADED, *arguments, "--help"], capture_output=True, text=True, check=True
    )
    loaded = json.loads(shown.stdout.rpartition("LOADED ")[2])
    assert not set(HEAVY) & set(loaded)


def test_a_sync_loads_what_it_needs_only():
    """Drawing and exporting take half a second to import, and a sync does neither."""
    code = "import json, sys, pipelines.cli.sync_command; print(json.dumps(list(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"matplotlib", "pandas", "pyarrow", "numpy", "fastapi"} & set(json.loads(shown.stdout))


@pytest.mark.parametrize("verb", VERBS, ids=" ".join)
def test_help_describes_the_verb_and_gives_an_example_of_its_arguments(verb: tuple[str, ...]):
    """A verb with arguments shows how they look."""
    command = _command(verb)
    result = CliRunner().invoke(main, [*verb, "--help"])
    assert result.exit_code == 0
    assert len(command.get_short_help_str()) > 10
    if any(isinstance(parameter, click.Argument) for parameter in command.params):
        assert f"asleep-sync {' '.join(verb)} " in result.output


def test_the_list_of_verbs_cuts_no_description_off():
    """On a terminal of 80 columns."""
    groups = [verb for verb in [(), *VERBS] if isinstance(_command(verb), click.Group)]
    lists = [CliRunner().invoke(main, [*verb, "--help"], terminal_width=80).output for verb in groups]
    assert len(lists) == len(groups) > 1
    assert not [line for each in lists for line in each.partition("Commands:")[2].splitlines() if "..." in line]


@pytest.mark.parametrize("command", ["report", "export"])
def test_a_wrong_month_is_refused_with_the_right_form(command: str):
    """Click's own message shows a format of strptime."""
    result = CliRunner().invoke(main, [command, "--month", "2026-13"])

    assert result.exit_code == 2
    assert "'2026-13' is no month: write it as YYYY-MM" in result.output
