"""What people type, and what they are told: exit codes, words, and nothing half-done."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from sqlalchemy import Engine, text

from pipelines.cli import main
from pipelines.settings import Settings

Type = Callable[..., Result]


@pytest.fixture
def typed(engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Type:
    """`typed("users", "import", "-", stdin="…")`, in a folder of its own, over the module's database."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("DATABASE_URL", engine.url.render_as_string(hide_password=False))
    monkeypatch.setenv("ASLEEP_API_KEY", "a-key")
    monkeypatch.setenv("ASLEEP_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)

    def typed(*arguments: str, stdin: str = "") -> Result:
        result = CliRunner().invoke(main, arguments, input=stdin)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result

    return typed


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> Iterator[None]:
    """No users, and none left."""
    yield
    with engine.begin() as connection:
        connection.execute(text("TRUNCATE asleep.users, asleep.erasures, asleep.sync_failures"))


def users(engine: Engine) -> list[tuple[str, str | None]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("SELECT user_id, timezone FROM asleep.users ORDER BY 1"))]


def test_importing_users_twice_changes_nothing(typed: Type, engine: Engine):
    """A nightly job may send the whole list."""
    table = "user_id,timezone\nG-1,Asia/Seoul\nG-2,\n"

    first, again = (typed("users", "import", "-", stdin=table) for _ in range(2))

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert first.output == "2 users: 2 new, 0 updated, 0 unchanged.\n"
    assert again.output == "2 users: 0 new, 0 updated, 2 unchanged.\n"
    assert users(engine) == [("G-1", "Asia/Seoul"), ("G-2", None)]


def test_one_bad_line_and_nothing_is_imported(typed: Type, engine: Engine):
    """Half a list would look like a whole one."""
    result = typed("users", "import", "-", stdin="user_id\nG-1\nG 2\n")

    assert result.exit_code == 2
    assert "line 3" in result.output
    assert users(engine) == []


def test_a_file_that_is_no_text_is_refused(typed: Type, engine: Engine):
    """A spreadsheet saved as such."""
    Path("users.xlsx").write_bytes(b"PK\x03\x04\xff\xfe")

    result = typed("users", "import", "users.xlsx")

    assert result.exit_code == 2
    assert "users.xlsx is not UTF-8 text" in result.output
    assert users(engine) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--from", "2199-01-01"), "--from 2199-01-01 lies in the future"),
        (("--to", "2199-01-01"), "--to 2199-01-01 lies in the future"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "swap them"),
        (("--from", "2001-01-01"), "too early"),
        (("--from", "yesterday"), "yesterday"),
        (("--user", "G-nobody"), "not registered: G-nobody"),
    ],
)
def test_a_sync_that_makes_no_sense_is_refused_before_anything_is_asked(
    typed: Type, arguments: tuple[str, ...], told: str
):
    """One sentence that names the argument and the remedy."""
    result = typed("sync", *arguments)

    assert result.exit_code == 2
    assert told in result.output


def test_status_tells_what_is_missing_and_of_whom_nothing_is_known_yet(typed: Type, engine: Engine):
    """A monitor looks at the exit code; a person reads whom it concerns, by pseudonym."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    fine = typed("status")
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO asleep.sync_failures (user_id, kind, message) VALUES ('G-1', 'malformed', 'not JSON')")
        )
    bad = typed("status")

    assert fine.exit_code == 0
    assert "2 users were never synced" in fine.output
    assert bad.exit_code == 1
    assert "Missing: 1" in bad.output
    assert "G-1" not in bad.output


def test_forgetting_says_what_went_and_asks_about_an_id_that_nobody_has(typed: Type, engine: Engine):
    """A mistyped id must not look like an erasure."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")

    refused = typed("forget", "G-1", stdin="n\n")
    erased = typed("forget", "G-1", "--yes")
    unknown = typed("forget", "G-3", "--yes")

    assert refused.exit_code == 1
    assert (erased.exit_code, erased.output) == (0, "Erased: 1 users.\n")
    assert unknown.exit_code == 0
    assert "Is the id right?" in unknown.output
    assert users(engine) == [("G-2", None)]


def test_a_month_without_sleep_has_no_report(typed: Type):
    """An empty page would be taken for a finding."""
    result = typed("report", "--month", "2020-01")

    assert result.exit_code == 2
    assert "no sleep is stored for 2020-01" in result.output
    assert list(Path().iterdir()) == []


def test_migrating_twice_is_the_same_as_once(typed: Type):
    """Every deployment begins with it."""
    first, again = typed("migrate"), typed("migrate")

    assert (first.exit_code, again.exit_code) == (0, 0)
    assert "as before" in again.output


def test_a_wrong_environment_is_told_by_name(typed: Type, monkeypatch: pytest.MonkeyPatch):
    """Not by a traceback, and not one at a time."""
    monkeypatch.setenv("REQUEST_TIMEOUT", "soon")
    monkeypatch.setenv("MAX_CONNECTIONS", "-1")

    result = typed("status")

    assert result.exit_code == 2
    assert "REQUEST_TIMEOUT" in result.output
    assert "MAX_CONNECTIONS" in result.output
    assert "soon" not in result.output


def test_a_program_that_is_not_there_is_named(typed: Type):
    assert typed("exec", "--", "no-such-program").output == "asleep-sync: there is no program no-such-program.\n"
