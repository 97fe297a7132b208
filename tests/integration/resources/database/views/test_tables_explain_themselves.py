"""Every table, view and column has a comment, and the generated pages hold the same comments."""

import os
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, make_url, text

from tools.data_dictionary import DBT_SOURCES, DICTIONARY, dbt_sources, dictionary

ROOT = Path(__file__).resolve().parents[5]
DBT = ROOT / ".dbt" / "bin" / "dbt"


def test_the_data_dictionary_and_the_sources_of_dbt_equal_the_comments(connection: Connection):
    """Remedy: `make data-dictionary`."""
    assert dictionary(connection) == (ROOT / DICTIONARY).read_text("utf-8")
    assert dbt_sources(connection) == (ROOT / DBT_SOURCES).read_text("utf-8")


@pytest.mark.long
@pytest.mark.skipif(not DBT.exists(), reason="`make .dbt/installed` installs dbt, as `make long` does")
def test_dbt_parses_the_project_and_builds_its_example(
    new_database: Callable[[], AbstractContextManager[str]], tmp_path: Path
):
    """The sources are valid, and the example's columns exist."""
    with new_database() as given:
        url = make_url(given)
        environment = {
            "DBT_HOST": url.host, "DBT_PORT": str(url.port), "DBT_DATABASE": url.database, "DBT_USER": url.username,
            "DBT_PASSWORD": url.password or "none", "DBT_TARGET_PATH": str(tmp_path), "DBT_LOG_PATH": str(tmp_path),
        }  # fmt: skip
        for verb in ("parse", "run"):
            ended = subprocess.run(
                [DBT, verb, "--profiles-dir", "."],
                cwd=ROOT / DBT_SOURCES.parents[1],
                env=os.environ | environment,
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stdout
            assert "WARN" not in ended.stdout.replace("WARN=0", "")
        assert "PASS=1" in ended.stdout


def test_everything_has_a_comment(engine: Engine):
    """A user of psql must be able to find out what a column means without reading the code."""
    query = text(
        "SELECT format('%s.%s', relname, attname) FROM pg_class "
        "JOIN pg_attribute ON attrelid = pg_class.oid AND attnum > 0 AND NOT attisdropped "
        "WHERE relnamespace = 'asleep'::regnamespace AND relkind IN ('r', 'v') AND relname <> 'alembic_version' "
        "AND (col_description(pg_class.oid, attnum) IS NULL OR obj_description(pg_class.oid, 'pg_class') IS NULL)"
    )
    with engine.connect() as connection:
        assert list(connection.scalars(query)) == []
