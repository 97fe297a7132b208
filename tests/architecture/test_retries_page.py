"""The page of retries, pauses and time-outs names every one of them, with its value and the constant that holds it."""

import ast
import importlib
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = (ROOT / "docs/reference/retries.md").read_text("utf-8")
PACKAGES = ("pipelines", "assets", "resources")
MODULES = [path for package in PACKAGES for path in (ROOT / package).rglob("*.py") if "versions" not in path.parts]

POLICY = re.compile(
    r"seconds|_ms$|timeout|attempts|_tries|retries|doublings|pause|lease|within$|interval|grace|after_failure|after_first|alert_after|after_refusal|changes_age",
    re.IGNORECASE,
)
NO_POLICY = re.compile(
    r"assets\.(metrics|report)\.|:(DAY_SECONDS|EPOCH_SECONDS|_RELEASE|_SECONDS)$|:_Progress\."
    r"|:InboxOptions\.|:Batch\.|pipelines\.runtime\.resources:"
)
"""Lengths of a day, an epoch or a chart; counters; options whose default is off; fields that show a setting."""
ROW = re.compile(r"^\| [^|]+ \| (?P<value>[^|]+) \| \[`(?P<name>[\w.]+:[\w.]+)`\]\((?P<link>[^)]+)\) \|$", re.MULTILINE)
YAML_ROW = re.compile(r"^\| [^|]+ \| (?P<value>[^|]+) \| `(?P<name>[\w.]+)` \|$", re.MULTILINE)
NAMES = {"d": "days", "h": "hours", "min": "minutes", "s": "seconds"}
TIMED_CALLS = {"sleep", "wait", "join", "timeout"}


def constants() -> Iterator[str]:
    """`module:NAME` or `module:Class.field` of each constant whose name says waiting, giving up or trying again."""
    for path in MODULES:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for name in _assigned(ast.parse(path.read_text("utf-8")).body):
            if POLICY.search(name.rpartition(".")[2]) and not NO_POLICY.search(f"{module}:{name}"):
                yield f"{module}:{name}"


def _assigned(body: list[ast.stmt], prefix: str = "") -> Iterator[str]:
    for node in body:
        if isinstance(node, ast.ClassDef):
            yield from _assigned(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign):
            yield from (prefix + target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, ast.AnnAssign) and node.value is not None and isinstance(node.target, ast.Name):
            yield prefix + node.target.id


def value_of(name: str) -> Any:
    """The constant's value; of a dataclass's or model's field, its default."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    *owners, last = path.split(".")
    for owner in owners:
        found = getattr(found, owner)
    for fields in ("__dataclass_fields__", "model_fields"):
        if last in getattr(found, fields, {}):
            return getattr(found, fields)[last].default
    return getattr(found, last)


def shown(name: str, value: Any) -> str:
    """A value as the page shows it, with the unit that the constant's name gives."""
    if isinstance(value, timedelta):
        for unit, size in (
            ("d", timedelta(days=2)),
            ("h", timedelta(hours=1)),
            ("min", timedelta(minutes=1)),
            ("s", timedelta()),
        ):
            if value >= size:
                return f"{value / timedelta(**{NAMES[unit]: 1}):g} {unit}"
    if isinstance(value, str):
        return value
    numbers = value if isinstance(value, tuple) else (value,)
    units = {"milliseconds": "ms", "_ms": "ms", "seconds": "s", "_timeout": "s", "days": "d"}
    last = name.rpartition(".")[2].lower()
    unit = next((unit for part, unit in units.items() if part in last), "")
    return " ".join([" to ".join(f"{number:,g}" for number in numbers), unit]).strip()


def test_the_page_names_every_constant_and_no_other():
    """A time-out that is not on the page surprises the person on call; a page of old names misleads."""
    assert sorted(row["name"] for row in ROW.finditer(PAGE)) == sorted(constants())


def test_the_page_gives_the_values_in_force():
    """Nobody compares a page with the code by hand."""
    wrong = {
        row["name"]: (row["value"], expected)
        for row in ROW.finditer(PAGE)
        if row["value"] != (expected := shown(row["name"], value_of(row["name"])))
    }
    assert wrong == {}


def test_each_constant_is_linked_to_its_file():
    """One click from the page to the place where a value is changed."""
    rows = list(ROW.finditer(PAGE))
    files = [f"../../{row['name'].partition(':')[0].replace('.', '/')}.py" for row in rows]
    assert [row["link"] for row in rows] == files


def test_the_page_gives_the_values_of_dagster_yaml():
    """Dagster's own retries are set there and not in code."""
    settings = yaml.safe_load((ROOT / "dagster.yaml").read_text("utf-8"))
    rows = list(YAML_ROW.finditer(PAGE))
    assert len(rows) > 3
    for row in rows:
        value: Any = settings
        for part in row["name"].split("."):
            value = value[part]
        assert row["value"] == shown(row["name"], value), row["name"]


def test_no_time_out_is_a_bare_number():
    """A number in the middle of a function is found by nobody who looks for it."""
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and _has_bare_seconds(node)
    ]
    assert found == []


def _has_bare_seconds(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    timed = [keyword.value for keyword in call.keywords if keyword.arg and "timeout" in keyword.arg]
    timed += call.args if name in TIMED_CALLS else []
    return any(isinstance(v, ast.Constant) and isinstance(v.value, int | float) and v.value > 0 for v in timed)
