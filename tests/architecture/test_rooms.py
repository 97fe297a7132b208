"""The rules of the house that no linter knows."""

import ast
import importlib.metadata
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

from resources.database import bookkeeping, service_tables, tables
from resources.database.metadata import SCHEMA, metadata

ROOT = Path(__file__).resolve().parent.parent.parent
ROOMS = ("pipelines", "assets", "resources")
MODULES = sorted(
    path for room in (*ROOMS, "simulator") for path in (ROOT / room).rglob("*.py") if "versions" not in path.parts
)
MOST_LINES = 250
MOST_LINES_OF_A_FUNCTION = 40


def _named(paths):
    return [pytest.param(path, id=str(path.relative_to(ROOT))) for path in paths]


@pytest.mark.parametrize("package", ROOMS)
def test_package_name_belongs_to_us_alone(package):
    """A stranger's package of the same name would shadow ours silently."""
    assert set(importlib.metadata.packages_distributions()[package]) == {"asleep-sync"}


@pytest.mark.parametrize("path", _named(MODULES))
def test_module_says_what_lives_in_it(path):
    """A change that does not fit its purpose is in the wrong place."""
    assert ast.get_docstring(ast.parse(path.read_text("utf-8")))


@pytest.mark.parametrize("path", _named(MODULES))
def test_module_and_its_functions_are_small(path):
    """What fits on few screens is read before it is changed."""
    source = path.read_text("utf-8")
    assert len(source.splitlines()) <= MOST_LINES
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            documentation = node.body[0] if ast.get_docstring(node) else None
            length = (node.end_lineno or 0) - node.lineno + 1
            if documentation is not None:
                length -= (documentation.end_lineno or 0) - documentation.lineno + 1
            assert length <= MOST_LINES_OF_A_FUNCTION, f"{node.name} has {length} lines"


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
    assert readers <= {"pipelines/settings.py", "pipelines/cli_programs.py", "pipelines/database_url.py"}


def test_tables_and_migrations_agree(engine):
    """`tables.py` is the author; a column that only one of them knows would be lost or missing."""
    assert tables.sleep_sessions.metadata is bookkeeping.sync_ledger.metadata is metadata
    assert service_tables.__doc__
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
