"""PgBouncer between us and Postgres: session mode works, the others are refused in one line."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dagster as dg
import pytest
from sqlalchemy import URL, text

from pipelines.runtime.dagster_environment import APPLICATION_NAME
from resources.database.advisory_lock import advisory_lock
from resources.database.engine import database_url, make_engine
from resources.database.migrate import migrate
from resources.database.session_settings import DatabaseUnsuitable
from resources.embedded_postgres import server as embedded
from tests.databases import create_database, drop_database
from tests.integration.pipelines.service.serving import await_truth, free_port

ROOT = Path(__file__).resolve().parents[4]
PROGRAM = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

pytestmark = [pytest.mark.long, pytest.mark.skipif(PROGRAM is None, reason="PgBouncer is not installed")]


@pytest.fixture
def pooled(postgres: embedded.EmbeddedPostgres) -> Iterator[Callable[[str], URL]]:
    """`pooled(mode)`: an empty database behind a PgBouncer in that mode."""
    with ExitStack() as stack:

        def start(mode: str) -> URL:
            name = f"pooled_{mode}"
            url = database_url(create_database(postgres, name))
            stack.callback(drop_database, postgres, name)
            directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            directory.chmod(0o755)
            port = free_port()
            (directory / "users.txt").write_text(f'"{url.username}" "{url.password}"\n')
            (directory / "pgbouncer.ini").write_text(
                f"[databases]\n{name} = host={url.host} port={url.port}\n[pgbouncer]\nlisten_addr = 127.0.0.1\n"
                f"listen_port = {port}\npool_mode = {mode}\nauth_type = plain\nauth_file = {directory}/users.txt\n"
                "unix_socket_dir =\n"
            )
            command = [str(PROGRAM), *(["-u", "nobody"] if os.geteuid() == 0 else []), str(directory / "pgbouncer.ini")]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
            await_truth(lambda: listens(port))
            return url.set(port=port)

        yield start


def listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def test_session_mode_works(pooled: Callable[[str], URL], tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Migration, locks, settings and Dagster's own tables: what a plain connection can do."""
    url = pooled("session")
    engine = make_engine(url, application_name="tests")
    migrate(engine, other_schemas=("dagster",))
    with engine.connect() as one, engine.connect() as two, advisory_lock(engine, "a lock"):
        for connection in (one, two):
            assert connection.scalar(text("SHOW TimeZone")) == "UTC"
    engine.dispose()
    storage = url.update_query_dict({"application_name": APPLICATION_NAME})
    monkeypatch.setenv("DAGSTER_STORAGE_URL", storage.render_as_string(hide_password=False))
    monkeypatch.setenv("DAGSTER_LOCAL_DIR", str(tmp_path))
    (tmp_path / "dagster.yaml").write_text((ROOT / "dagster.yaml").read_text("utf-8"), "utf-8")
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        instance.report_runless_asset_event(dg.AssetMaterialization("a", partition="1"))
    with engine.connect() as connection:
        tables = text("SELECT DISTINCT schemaname FROM pg_tables WHERE tablename IN ('runs', 'event_logs')")
        assert connection.scalars(tables).all() == ["dagster"]
    engine.dispose()


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_other_modes_are_refused_in_one_line(pooled: Callable[[str], URL], mode: str):
    """Locks and settings get lost there, without an error: two migrations would run at once."""
    engine = make_engine(pooled(mode), application_name="tests")
    with pytest.raises(DatabaseUnsuitable, match=r"shares connections.* pool_mode = session") as refused:
        engine.connect()
    assert "\n" not in str(refused.value)
    engine.dispose()
