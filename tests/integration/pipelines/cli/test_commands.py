"""What people type, and what they are told: exit codes, words, and nothing half-done."""

import hashlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, text

from resources.database.advisory_lock import advisory_lock
from resources.database.checkpoints import Checkpoint
from resources.database.service.inbox import Inbox, IncomingEvent
from resources.database.sync import sync_state
from resources.database.users.erase import Erasures
from resources.pseudonyms import pseudonym
from tests.integration.pipelines.cli.conftest import Type

DAY, ONE_DAY = datetime(2026, 3, 7, tzinfo=UTC), timedelta(days=1)


@pytest.fixture(autouse=True)
def empty(engine: Engine) -> Iterator[None]:
    """No users, and none left."""
    yield
    with engine.begin() as connection:
        connection.execute(
            text(
                "TRUNCATE asleep.users, asleep.erasures, asleep.sync_failures, asleep.webhook_events, "
                "asleep.sync_batches, asleep.sync_ledger CASCADE"
            )
        )


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
    assert "neither UTF-8 nor UTF-16 text" in result.output
    assert users(engine) == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--from", "2199-01-01"), "--from 2199-01-01 lies in the future"),
        (("--to", "2199-01-01"), "--to 2199-01-01 lies in the future"),
        (("--from", "2026-03-02", "--to", "2026-03-01"), "swap them"),
        (("--from", "2001-01-01"), "too early"),
        (("--from", "yesterday"), "'yesterday' is no date: write it as YYYY-MM-DD"),
        (("--to", "0001-01-01"), "--to 0001-01-01 is too early"),
        (("--to", "2020-12-31"), "--to 2020-12-31 is too early"),
        (("--user", "G-nobody"), "not registered: G-nobody"),
        (("--user", "[/x]"), "not registered: [/x]."),
        (("--user", ":zzz:[bold]"), "not registered: :zzz:[bold]."),
        (("--user", " "), "a user id is not blank"),
        (("--user", "G-\udcff"), "a user id is text"),
    ],
)
def test_invalid_options_of_a_sync_are_refused_before_any_request(typed: Type, arguments: tuple[str, ...], told: str):
    """One sentence that names the argument and the remedy."""
    result = typed("sync", *arguments)

    assert result.exit_code == 2
    assert told in result.output


def test_status_lists_missing_data_and_users_never_synced(typed: Type, engine: Engine):
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


def test_sessions_that_failed_for_one_reason_are_one_row_and_nothing_is_cut_off(typed: Type, engine: Engine):
    """A pseudonym that ends in "…" cannot be searched for, and twenty equal rows hide the others."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    reason = "the Asleep API refused the request with status 422"
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.sync_failures (user_id, session_id, kind, message) "
                "SELECT 'G-1', n::text, 'request_refused', :reason FROM generate_series(1, 30) AS n "
                "UNION ALL SELECT 'G-2', NULL, 'malformed', 'not JSON'"
            ),
            {"reason": reason},
        )

    said = typed("status").output.partition("Missing: 31 users or sessions")[2]

    [one, other] = [line for line in said.splitlines() if line.startswith("  ")]
    assert one.startswith(f"  {pseudonym('G-1')}, request_refused, {reason} (30 sessions; attempts: 1; since 20")
    assert other.startswith(f"  {pseudonym('G-2')}, malformed, not JSON (attempts: 1; ")


def test_status_begins_with_the_database_and_the_account_in_use(typed: Type, engine: Engine):
    """Figures of another database, or of the Test environment, look like any others."""
    status = typed("status")
    head = status.output.partition("Stored")[0]
    assert f"{engine.url.database} at {engine.url.host}:{engine.url.port}, as {engine.url.username}" in head
    assert "http://127.0.0.1:9" in head
    assert f"{hashlib.sha256(b'a-key').hexdigest()[:16]} (first digits of its SHA-256)" in head
    assert "a-key" not in status.output


def cover(engine: Engine, start: datetime, end: datetime) -> None:
    """Note every user as synced from `start` to `end`."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO asleep.sync_ledger AS l (user_id, window_start, window_end, listed_at, detail, covered) "
                "SELECT user_id, :start, :end, now(), 'full', tstzmultirange(tstzrange(:start, :end)) "
                "FROM asleep.users "
                "ON CONFLICT (user_id) DO UPDATE SET covered = l.covered + excluded.covered"
            ),
            {"start": start, "end": end},
        )


def begin(engine: Engine, run_id: str, batch: int = 0, *, of: int = 1, users: int | None = None) -> None:
    """A batch over two days that began, and ended if it counts users."""
    with engine.begin() as connection:
        record = sync_state.BatchRecord(run_id, batch)
        record.begin(connection, (DAY, DAY + 2 * ONE_DAY), of=of)
        record.note(connection, {"users": 2 if users is None else users}, finished=users is not None)


def test_a_sync_that_stopped_keeps_status_at_one_until_one_of_all_users_has_ended(typed: Type, engine: Engine):
    """It once said that nothing is missing after a run that had stored nothing, exit code 0."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    cover(engine, DAY, DAY + 2 * ONE_DAY)

    begin(engine, "killed", of=2, users=1)
    begin(engine, "killed", batch=1, of=2)
    stopped = typed("status")
    assert stopped.exit_code == 1
    assert "stopped before its end (run killed)" in stopped.output
    assert "`asleep-sync sync --from 2026-03-07 --to 2026-03-08`" in stopped.output
    assert "No data are missing" not in stopped.output
    with advisory_lock(engine, "asleep-sync batch 1 of 2"):
        assert typed("status").exit_code == 0, "the batch is being synced"
    begin(engine, "of one user", users=1)
    assert typed("status").exit_code == 1
    begin(engine, "half of it", of=2, users=2)
    assert typed("status").exit_code == 1
    begin(engine, "whole", users=2)
    assert typed("status").exit_code == 0


def test_days_of_a_sync_that_stopped_stay_missing_until_every_user_is_synced_for_them(typed: Type, engine: Engine):
    """A killed backfill of a year was forgotten once the daily sync of three days had ended."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    cover(engine, DAY + ONE_DAY, DAY + 2 * ONE_DAY)
    begin(engine, "killed backfill")
    begin(engine, "daily sync", users=2)

    assert typed("status").exit_code == 1
    typed("users", "import", "-", stdin="G-3\n")
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.users SET last_synced_at = now()"))
    cover(engine, DAY, DAY + ONE_DAY)
    begin(engine, "next daily sync", users=3)
    with engine.begin() as connection:
        connection.execute(text("DELETE FROM asleep.sync_ledger WHERE user_id = 'G-3'"))
    assert typed("status").exit_code == 0, "the third user was not registered when the backfill began"


def test_a_sync_that_stopped_between_two_batches_is_noticed(typed: Type, engine: Engine):
    """No batch of it looks unfinished: the second one never began."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    cover(engine, DAY, DAY + 2 * ONE_DAY)
    begin(engine, "killed", of=2, users=1)
    assert typed("status").exit_code == 0, "the next batch begins within moments"

    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.sync_batches SET finished_at = now() - interval '16 minutes'"))
    assert "stopped before its end (run killed)" in typed("status").output


def test_an_interrupted_reshape_is_no_sync_that_stopped(typed: Type, engine: Engine):
    """`status` asked for a sync, which cannot end a reshape."""
    with engine.begin() as connection:
        Checkpoint(connection, "reshape").write("20260307120000_abcde")

    assert typed("status").exit_code == 0


def test_a_user_not_synced_a_day_after_registration_makes_status_one(typed: Type, engine: Engine):
    """A registry that grows and a sync that does not run look well otherwise."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    for hours, code in ((25, 0), (27, 1)):
        with engine.begin() as connection:
            connection.execute(
                text("UPDATE asleep.users SET registered_at = now() - make_interval(hours => :hours)"), {"hours": hours}
            )
        status = typed("status")
        assert status.exit_code == code, status.output
    assert "2 users were registered more than 26 hours ago and have not been synced since" in status.output


def test_the_usual_window_never_begins_before_the_first_day(typed: Type, monkeypatch: pytest.MonkeyPatch):
    """RECENT_DAYS=3000 is allowed; an argument that nobody gave must not be refused."""
    monkeypatch.setenv("RECENT_DAYS", "3000")
    monkeypatch.setenv("ASLEEP_API_KEY", "")

    told = typed("sync").output

    assert "--from" not in told
    assert "ASLEEP_API_KEY" in told


def test_a_command_says_that_it_does_not_use_the_executor(typed: Type, monkeypatch: pytest.MonkeyPatch):
    """An operator with Celery workers would look for its steps there."""
    monkeypatch.setenv("DAGSTER_EXECUTOR", "multiprocess")

    assert "DAGSTER_EXECUTOR=multiprocess is for the runs that Dagster launches" in typed("sync").output


def test_status_prints_what_happened_as_it_was_written(typed: Type, engine: Engine):
    """Square brackets in an answer of the API are no markup."""
    with engine.begin() as connection:
        connection.execute(
            text("INSERT INTO asleep.sync_failures (user_id, kind, message) VALUES ('G-1', 'malformed', '[/x] [b]')")
        )

    result = typed("status")

    assert result.exit_code == 1
    assert "[/x]" in result.output
    assert "[b]" in result.output


def erasures(engine: Engine) -> int:
    with engine.connect() as connection:
        return connection.scalar(text("SELECT count(*) FROM asleep.erasures")) or 0


def test_forget_prints_what_was_erased_and_confirms_an_unknown_id(typed: Type, engine: Engine):
    """A mistyped id must not look like an erasure, neither to who typed it nor in the record."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")

    refused = typed("forget", "G-1", stdin="n\n")
    erased = typed("forget", "G-1", "--yes")
    unknown = typed("forget", "G-3", "--yes")

    assert refused.exit_code == 2, "1 would say that data are missing"
    assert "nothing was changed" in refused.output
    assert (erased.exit_code, erased.output) == (0, "Erased: 1 users.\n")
    assert unknown.exit_code == 2
    assert "nothing is stored of this user" in unknown.output
    assert "Is the id right?" in unknown.output
    assert erasures(engine) == 1
    assert users(engine) == [("G-2", None)]


def test_forgetting_again_prints_the_date_of_the_erasure(typed: Type, engine: Engine):
    """Whoever repeats it after a restore, or to be sure, did nothing wrong."""
    typed("users", "import", "-", stdin="G-1\n")
    typed("forget", "G-1", "--yes")
    with engine.begin() as connection:
        connection.execute(text("UPDATE asleep.erasures SET erased_at = '2026-03-01 09:15:02+00'"))

    again = typed("forget", "G-1", "--yes")

    assert again.exit_code == 0
    assert "was already erased on 2026-03-01 09:15:02 (UTC)" in again.output
    assert erasures(engine) == 1


@pytest.mark.parametrize("blank", ["", " ", "\t"])
def test_forgetting_an_empty_id_erases_nothing(typed: Type, engine: Engine, blank: str):
    """An unset variable in a script once erased the events and failures that name nobody, which may be anybody's."""
    with engine.begin() as connection:
        Inbox(connection).put([IncomingEvent(b'{"event": "X", "note": ""}', {"x-user-id": blank})])
        connection.execute(
            text("INSERT INTO asleep.sync_failures (user_id, kind, message) VALUES (:id, 'malformed', 'x')"),
            {"id": blank},
        )

    result = typed("forget", blank, "--yes")
    with engine.connect() as connection, pytest.raises(ValueError, match="blank id"):
        Erasures(connection).erase(blank, "requested")

    assert result.exit_code == 2
    assert "a user id is not blank" in result.output
    with engine.connect() as connection:
        left = "SELECT (SELECT count(*) FROM asleep.webhook_events) + (SELECT count(*) FROM asleep.sync_failures)"
        assert connection.scalar(text(left)) == 2
    assert erasures(engine) == 0


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


def test_an_invalid_environment_is_reported_by_name(typed: Type, monkeypatch: pytest.MonkeyPatch):
    """Not by a traceback, and not one at a time."""
    monkeypatch.setenv("REQUEST_TIMEOUT", "soon")
    monkeypatch.setenv("MAX_CONNECTIONS", "-1")

    result = typed("status")

    assert result.exit_code == 2
    assert "REQUEST_TIMEOUT" in result.output
    assert "MAX_CONNECTIONS" in result.output
    assert "soon" not in result.output


def test_a_program_that_is_not_there_is_named(typed: Type):
    assert typed("exec", "--", "no-such-program").output == "asleep-sync: program not found: no-such-program.\n"


@pytest.fixture
def powerless(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of the role in DATABASE_URL, which may log in and nothing else."""
    with engine.begin() as connection:
        connection.execute(text("CREATE ROLE powerless LOGIN PASSWORD 'powerless'"))
    url = engine.url.set(**dict.fromkeys(("username", "password"), "powerless"))
    monkeypatch.setenv("DATABASE_URL", url.render_as_string(hide_password=False))
    yield "powerless"
    with engine.begin() as connection:
        connection.execute(text("REVOKE ALL ON ALL TABLES IN SCHEMA asleep FROM powerless"))
        connection.execute(text("REVOKE ALL ON ALL FUNCTIONS IN SCHEMA asleep FROM powerless"))
        connection.execute(text("REVOKE ALL ON SCHEMA asleep FROM powerless"))
        connection.execute(text("DROP ROLE powerless"))


@pytest.mark.parametrize("command", ["status", "users import -", "migrate", "forget G-1 --yes", "sync"])
def test_a_role_without_rights_is_reported_with_the_right_it_lacks(typed: Type, powerless: str, command: str):
    """The grants were forgotten: one line, without the statement and its values."""
    result = typed(*command.split(), stdin="G-1\n")

    assert result.exit_code == 2
    assert "InsufficientPrivilege 42501: permission denied" in result.output
    assert "SELECT" not in result.output
    assert "G-1" not in result.output
    assert f"{powerless}:" not in result.output
    assert len(result.output.splitlines()) == 1


def test_a_failed_statement_is_reported_by_its_kind_only(typed: Type, engine: Engine):
    """What a server says of other errors may quote a row."""
    with engine.begin() as connection:
        connection.execute(text("ALTER TABLE asleep.users ADD CONSTRAINT odd CHECK (user_id <> 'G-odd') NOT VALID"))
    try:
        result = typed("users", "import", "-", stdin="G-odd\n")
    finally:
        with engine.begin() as connection:
            connection.execute(text("ALTER TABLE asleep.users DROP CONSTRAINT odd"))

    assert result.exit_code == 2
    assert result.output == "asleep-sync: the database refused a statement (CheckViolation 23514).\n"


@pytest.mark.parametrize("command", ["sync", "exec -- no-such-program"])
@pytest.mark.parametrize("home", ["dagster", "/no/such/folder"])
def test_a_dagster_home_that_dagster_would_refuse_is_named(
    typed: Type, monkeypatch: pytest.MonkeyPatch, command: str, home: str
):
    """Dagster takes an absolute folder only."""
    typed("users", "import", "-", stdin="G-1\n")
    Path("dagster").mkdir()
    monkeypatch.setenv("DAGSTER_HOME", home)

    result = typed(*command.split())

    assert result.exit_code == 2
    assert "DAGSTER_HOME: must be the absolute path" in result.output


def test_a_refusal_by_dagster_is_reported_in_one_line(typed: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A typo in a `dagster.yaml` of one's own."""
    typed("users", "import", "-", stdin="G-1\n")
    (tmp_path / "dagster.yaml").write_text("no_such_section: 1\n")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    result = typed("sync")

    assert result.exit_code == 2
    assert "dagster.yaml in DAGSTER_HOME is not valid" in result.output
    assert len(result.output.splitlines()) == 1


def test_a_role_without_access_to_dagsters_schema_is_reported(typed: Type, engine: Engine, powerless: str):
    """Dagster's own tables are in the same database, and so are its errors."""
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-1', 'import')"))
        connection.execute(text(f"GRANT USAGE ON SCHEMA asleep TO {powerless}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA asleep TO {powerless}"))
        connection.execute(text(f"GRANT EXECUTE ON FUNCTION asleep.pseudonym(text) TO {powerless}"))

    result = typed("sync")

    assert result.exit_code == 2
    assert "no schema has been selected to create in). Does the role of DATABASE_URL" in result.output
    assert len(result.output.splitlines()) == 1


def test_unreachable_tables_of_dagster_are_reported_in_one_line(
    typed: Type, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Dagster's storage may be elsewhere: then our own database says nothing of its trouble."""
    typed("users", "import", "-", stdin="G-1\n")
    (tmp_path / "dagster.yaml").write_text(
        "storage: {postgres: {postgres_url: 'postgresql+psycopg2://127.0.0.1:1/away'}}\n"
    )
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))

    result = typed("sync")

    assert result.exit_code == 2
    assert "Dagster cannot be used: " in result.output
    assert len(result.output.splitlines()) == 1


def test_tables_of_a_newer_release_are_named_as_such(typed: Type, engine: Engine):
    """After a roll-back of the program, but not of the database."""
    change = "UPDATE asleep.alembic_version SET version_num = {}"
    with engine.begin() as connection:
        connection.execute(text(change.format("'newer' || version_num")))
    try:
        result = typed("migrate")
    finally:
        with engine.begin() as connection:
            connection.execute(text(change.format("substr(version_num, 6)")))

    assert result.exit_code == 2
    assert "which this program does not have" in result.output
    assert len(result.output.splitlines()) == 1


@pytest.mark.parametrize("command", ["sync", "exec -- no-such-program"])
def test_a_data_directory_that_cannot_be_made_is_named(
    typed: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    """In a container most folders are read-only."""
    typed("users", "import", "-", stdin="G-1\n")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATA_DIRECTORY", str(tmp_path / "file"))

    result = typed(*command.split())

    assert result.exit_code == 2
    assert f"DATA_DIRECTORY: {tmp_path}/file cannot be made (File exists)" in result.output


def test_a_report_that_cannot_be_written_is_reported_in_one_line(typed: Type, monkeypatch: pytest.MonkeyPatch):
    """In a container the folder of the program is read-only."""
    monkeypatch.setattr("assets.report.monthly_report.render_report", lambda *_: "a page")

    result = typed("report", "--out", "no/such/folder/report.html")

    assert result.exit_code == 2
    assert result.output.startswith("asleep-sync: no/such/folder/report.html cannot be written (No such file")


def test_an_export_of_a_month_without_data_is_refused(typed: Type, tmp_path: Path):
    """A mistyped month would look like a month without sleep."""
    result = typed("export", "--to", str(tmp_path), "--month", "2031-10")

    assert result.exit_code == 2
    assert "nothing is stored for 2031-10" in result.output


def test_the_record_of_erasures_is_applied_to_a_restored_backup(typed: Type, engine: Engine):
    """What is written out can be read in; a file of something else erases nobody."""
    typed("users", "import", "-", stdin="G-1\nG-2\n")
    typed("forget", "G-1", "--yes")
    record = typed("erasures", "export").output
    assert "G-1" not in record
    with engine.begin() as connection:  # as it was before
        connection.execute(text("DELETE FROM asleep.erasures"))
        connection.execute(text("INSERT INTO asleep.users (user_id, source) VALUES ('G-1', 'import')"))

    assert "1 erasures on record, 1 users erased now" in typed("erasures", "apply", "-", stdin=record).output
    assert users(engine) == [("G-2", None)]
    assert (
        typed("users", "import", "-", stdin="G-1\n").output.splitlines()[-1].endswith("Use --again if they came back.")
    )
    assert users(engine) == [("G-2", None)]
    refused = typed("erasures", "apply", "-", stdin="user_id\nG-2\n")
    assert (refused.exit_code, users(engine)) == (2, [("G-2", None)])
    typed("users", "import", "--again", "-", stdin="G-1\n")
    assert users(engine) == [("G-1", None), ("G-2", None)]


def test_ctrl_c_ends_a_command_with_one_line_and_the_code_of_a_shell(typed: Type, monkeypatch: pytest.MonkeyPatch):
    """1 would say that data are missing."""

    def interrupted(*_: object) -> bool:
        raise KeyboardInterrupt

    monkeypatch.setattr("pipelines.cli.status.show_status", interrupted)
    result = typed("status")
    assert (result.exit_code, result.output) == (130, "\nasleep-sync: stopped.\n")


@pytest.mark.parametrize("command", ["serve", "ui", "dev", "simulate"])
def test_a_port_that_does_not_exist_is_refused(command: str):
    """The simulated API once took another one, and `ui` proposed port 100000."""
    refused = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", command, "--port", "99999"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert refused.returncode == 2
    assert "99999 is not in the range" in refused.stderr


@pytest.mark.parametrize("content", [b"\xff\xfeG-1", b'user_pseudonym,reason,erased_at\n"x\x00\n', b"", b"a,b,c\nd\n"])
def test_a_file_that_is_no_record_of_erasures_is_refused_in_one_line(typed: Type, tmp_path: Path, content: bytes):
    """A file saved in another encoding, or a backup's archive, ended in a traceback."""
    (tmp_path / "erasures.csv").write_bytes(content)

    refused = typed("erasures", "apply", str(tmp_path / "erasures.csv"))

    assert (refused.exit_code, len(refused.output.splitlines())) == (2, 1)
    assert "Nothing was erased." in refused.output


@pytest.mark.parametrize("command", ["serve", "ui"])
def test_a_port_that_is_taken_is_named(typed: Type, command: str):
    """The next thing to type is in the line."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = typed(command, "--port", str(port))
    assert result.exit_code == 2
    assert f"port {port} of 127.0.0.1 cannot be used (Address already in use)" in result.output
    assert f"asleep-sync {command} --port {port + 1}" in result.output


@pytest.mark.parametrize("command", ["status", "demo", "demo --remove"])
def test_a_data_directory_without_room_for_a_database_is_named(
    typed: Type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
):
    """The embedded Postgres is the first that writes to it."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DATA_DIRECTORY", str(tmp_path / "file"))
    monkeypatch.delenv("DATABASE_URL")
    result = typed(*command.split())
    assert result.exit_code == 2
    assert f"DATA_DIRECTORY: {tmp_path}/file/postgres cannot be used (Not a directory)" in result.output


def test_an_unknown_name_and_another_encoding_of_the_env_file_are_reported(typed: Type, tmp_path: Path):
    """A misspelt variable, or a file that Windows' Notepad wrote as UTF-16, would change nothing, without a word."""
    (tmp_path / ".env").write_text("RECENT_DAY=3\n", "utf-8")
    assert "no variable of asleep-sync: RECENT_DAY (did you mean RECENT_DAYS?)" in typed("status").output
    (tmp_path / ".env").write_text("RECENT_DAYS=3\n", "utf-16")
    result = typed("status")
    assert result.exit_code == 2
    assert ".env: not UTF-8 text. Save the file as UTF-8." in result.output
