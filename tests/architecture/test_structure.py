"""Rules about the structure of the code that no linter checks."""

import ast
import importlib.metadata
import re
from collections import Counter
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from resources.database.schema import bookkeeping, metrics_table, tables
from resources.database.schema.metadata import SCHEMA, metadata
from tests.conftest import misplaced

ROOT = Path(__file__).resolve().parent.parent.parent
PACKAGES = ("pipelines", "assets", "resources")
MODULES = sorted(
    path
    for package in (*PACKAGES, "simulator")
    for path in (ROOT / package).rglob("*.py")
    if "versions" not in path.parts
)
MAX_LINES = 400
MAX_FUNCTION_LINES = 40
MAX_MODULES_PER_FOLDER = 12
KNOWN_LARGE_FOLDERS = {"simulator"}


def _named(paths):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@pytest.mark.parametrize("package", PACKAGES)
def test_package_name_belongs_to_us_alone(package):
    """A stranger's package of the same name would shadow ours silently."""
    assert set(importlib.metadata.packages_distributions()[package]) == {"asleep-sync"}


def test_every_module_states_its_purpose():
    """A reader decides by the first sentence whether a change belongs in the module."""
    silent = [str(path) for path in MODULES if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []


def test_a_folder_has_one_subject():
    """A folder with more modules than this holds more than one subject: split it."""
    modules = Counter(str(path.parent.relative_to(ROOT)) for path in MODULES if path.name != "__init__.py")
    too_many = {folder: count for folder, count in modules.items() if count > MAX_MODULES_PER_FOLDER}
    assert too_many.keys() <= KNOWN_LARGE_FOLDERS, too_many


def test_pipelines_hold_no_sql():
    """A statement lies beside the tables it reads, in `resources` or `assets`; commands and jobs call it."""
    statement = re.compile(r"\b(FROM|INTO|UPDATE|JOIN)\s+asleep\.\w")
    found = [str(path.relative_to(ROOT)) for path in MODULES if statement.search(path.read_text("utf-8"))]
    assert [path for path in found if path.startswith("pipelines/")] == []
    assert list((ROOT / "pipelines").rglob("*.sql")) == []


def test_sql_lies_beside_the_module_that_runs_it():
    """A file that no module of its folder names is dead, or is run by another package."""
    apart = {"resources/database/views"}
    unused = [
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.sql")
        if str(path.parent.relative_to(ROOT)) not in apart and not path.stem.startswith("check_")
        if not any(f'"{path.stem}"' in module.read_text("utf-8") for module in path.parent.glob("*.py"))
    ]
    assert unused == []


def test_statements_of_several_lines_lie_in_files():
    """The linter of SQL checks files; a statement inside Python is read by nothing but Postgres."""
    long = re.compile(r'text\(\s*"""\n(?:[^"\n]*\n){4,}')
    assert [str(path.relative_to(ROOT)) for path in MODULES if long.search(path.read_text("utf-8"))] == []


def test_assets_at_the_top_are_one_asset_each():
    """One asset per file, the partitions, and assets that others write; what else they need has a folder of its own."""
    modules = {path.name for path in (ROOT / "assets").glob("*.py")} - {"__init__.py", "partitions.py", "external.py"}
    assets = {name for name in modules if "@dg." in (ROOT / "assets" / name).read_text("utf-8")}
    assert modules == assets


@pytest.mark.parametrize(
    ("path", "fixtures", "marks", "reason"),
    [
        ("unit/test_it.py", ["tmp_path", "engine"], [], "is a unit test and uses engine: move it to tests/integration"),
        ("unit/test_it.py", [], ["long"], "is marked long: a test of unit takes milliseconds"),
        ("somewhere/test_it.py", [], [], "lies in none of unit, architecture, integration, end_to_end"),
        ("unit/test_it.py", ["tmp_path"], [], None),
        ("integration/test_it.py", ["engine"], ["long"], None),
    ],
)
def test_a_test_in_the_wrong_tier_is_rejected(path, fixtures, marks, reason):
    """`make unit` must stay quick, and prove what it says without a server."""
    assert misplaced(ROOT / "tests" / path, fixtures, marks) == reason


def test_tests_mirror_the_packages():
    """Who changes a module finds its tests under the same path."""
    folders = {
        path.parent.relative_to(ROOT / "tests" / tier)
        for tier in ("unit", "integration")
        for path in (ROOT / "tests" / tier).rglob("test_*.py")
    }
    assert [str(folder) for folder in sorted(folders) if not (ROOT / folder).is_dir()] == []


@pytest.mark.parametrize("path", _named(MODULES))
def test_module_and_its_functions_are_small(path):
    """What fits on few screens is read before it is changed."""
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= MAX_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documentation = node.body[0] if ast.get_docstring(node) else None
            length = (node.end_lineno or 0) - node.lineno + 1
            if documentation is not None:
                length -= (documentation.end_lineno or 0) - documentation.lineno + 1
            assert length <= MAX_FUNCTION_LINES, f"{node.name} has {length} lines"


@pytest.mark.parametrize("path", _named(p for p in MODULES if p.name == "__init__.py"))
def test_packages_hold_a_docstring_and_nothing_else(path):
    """A re-export is a second name for one thing."""
    assert len(ast.parse(path.read_text("utf-8")).body) == 1


@pytest.mark.parametrize("path", _named(MODULES))
def test_annotations_are_not_postponed(path):
    """Postponed annotations break the annotated contexts of Dagster."""
    assert "from __future__ import annotations" not in path.read_text("utf-8")


def test_only_settings_read_the_environment():
    """One place to look for what can be configured; commands only hand variables on to programs they start."""
    readers = {
        str(path.relative_to(ROOT))
        for path in MODULES
        if any(word in path.read_text("utf-8") for word in ("os.environ.get(", "os.getenv(", "environ["))
    }
    assert readers <= {
        *("pipelines/settings.py", "pipelines/cli/programs.py", "pipelines/runtime/dagster_environment.py"),
        "pipelines/service/program.py",  # for its workers
    }


def test_tables_and_migrations_agree(engine):
    """`tables.py` is the author; a column that only one of them knows would be lost or missing."""
    assert tables.users.metadata is metrics_table.sleep_metrics.metadata is bookkeeping.sync_ledger.metadata is metadata
    with engine.connect() as connection:
        connection.execute(text("SET search_path = public"))
        connection.dialect.default_schema_name = "public"  # a role named as the schema would hide the schema's name
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table_schema": SCHEMA,
                "include_schemas": True,
                "include_name": lambda name, kind, _parents: kind != "schema" or name == SCHEMA,
                "compare_type": True,
                "compare_server_default": True,
            },
        )
        assert compare_metadata(context, metadata) == []


def test_every_table_and_column_explains_itself():
    """An analyst reads comments, not code."""
    silent = [
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if not column.comment
    ]
    assert silent == []
    assert all(table.comment for table in metadata.tables.values())


def test_every_variable_stands_in_the_example():
    """What can be configured can be found."""
    from pipelines.settings import Settings

    example = (ROOT / ".env.example").read_text("utf-8")
    missing = [name.upper() for name in Settings.model_fields if f"{name.upper()}=" not in example]
    assert missing == []


def _private_modules(path):
    """Names like `dagster._core.launcher` that a module imports."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if re.search(r"\._[a-z]", name))


@pytest.mark.parametrize("path", _named(path for path in MODULES if any(_private_modules(path))))
def test_a_use_of_a_librarys_private_module_is_a_decision_with_a_test(path):
    """A library changes private modules without notice: a decision names the module and the test that then fails."""
    name = path.relative_to(ROOT).as_posix()
    texts = [decision.read_text("utf-8") for decision in (ROOT / "docs" / "adr").glob("0*.md")]
    tests = {test for text in texts if name in text for test in re.findall(r"tests/[\w/]+(?:\.py)?", text)}
    assert tests, f"no page of docs/adr names {name} and a test"
    assert [test for test in tests if not (ROOT / test).exists()] == []
