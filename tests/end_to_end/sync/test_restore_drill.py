"""A restored backup becomes the truth again, by the steps of docs/how-to/backup-and-restore.md."""

import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import make_url

from resources.database.engine import make_engine
from resources.embedded_postgres import server as embedded
from resources.embedded_postgres.programs import find_program
from tests.databases import create_database, drop_database
from tests.end_to_end.sync.conftest import Deployment


@pytest.fixture
def restore(postgres: embedded.EmbeddedPostgres) -> Iterator[Callable[[Path], str]]:
    """`restore(dump)`: the URL of a new database into which the dump was restored."""
    name = "restored"

    def into_new(dump: Path) -> str:
        url = create_database(postgres, name)
        program("pg_restore", "--no-owner", "--exit-on-error", "--single-transaction", f"--dbname={libpq(url)}", dump)
        return url

    yield into_new
    drop_database(postgres, name)


def program(name: str, *arguments: object) -> None:
    ended = subprocess.run([find_program(name), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def libpq(url: str) -> str:
    return make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)


def test_a_restored_backup_becomes_the_truth_again_without_the_people_erased_since(
    deployment: Deployment, restore: Callable[[Path], str], tmp_path: Path
):
    """A backup that was never restored is a hope; one that brings erased people back is a breach."""
    erased, changed = (user["user_id"] for user in deployment.api.ask("users")[:2])
    assert deployment.run()[0] == 0
    dump, record = tmp_path / "asleep.dump", tmp_path / "erasures.csv"
    program("pg_dump", "--format=custom", "--no-owner", f"--file={dump}", libpq(deployment.url))
    assert deployment.run("forget", erased, "--yes")[0] == 0
    code, said = deployment.run("erasures", "export")
    assert code == 0, said
    record.write_text("".join(f"{line}\n" for line in said.splitlines() if not line.startswith("{")))
    deployment.api.ask(f"users/{erased}/delete", {})
    theirs = next(user for user in deployment.api.ask("truth")["users"] if user["user_id"] == changed)
    deployment.api.ask(f"sessions/{theirs['sessions'][-1]['row']['session_id']}", method="DELETE")

    url = restore(dump)
    restored = replace(deployment, url=url, engine=make_engine(url, application_name="tests"))
    assert restored.rows("SELECT count(*) FROM asleep.sleep_sessions WHERE user_id = :id", id=erased) != [(0,)]
    for step in (["migrate"], ["erasures", "apply", str(record)], []):
        code, said = restored.run(*step)
        assert code == 0, said

    assert restored.wrong() == []
    for table in ("users", "sleep_sessions", "monthly_averages", "sync_ledger"):
        assert restored.rows(f"SELECT count(*) FROM asleep.{table} WHERE user_id = :id", id=erased) == [(0,)]
    restored.engine.dispose()
