"""The order in which the containers start, done for real: logins, migration as owner, roles, then each program."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from serving import KEY, Service
from sqlalchemy import make_url

from resources.embedded_postgres import server as embedded
from resources.embedded_postgres.programs import find_program

ROOT = Path(__file__).resolve().parents[4]
PASSWORDS = {f"{role}_PASSWORD": f"made-up-{role}" for role in ("OWNER", "PIPELINE", "RECEIVER")}


def test_each_program_works_with_the_login_of_its_role(
    start_service: Callable[..., Service], tmp_path_factory: pytest.TempPathFactory
):
    """As compose, Kubernetes and systemd have them: no program but the migration is an owner, and none a superuser."""
    directory = tmp_path_factory.mktemp("containers")
    try:
        server = embedded.start(directory)
        psql(server.superuser_dsn, "deploy/postgres/logins.sql")
        command(server, "asleep_owner", "OWNER", "migrate")
        for _ in range(2):
            psql(server.superuser_dsn, "deploy/postgres/roles.sql")
        assert "1 new" in command(server, "pipeline_1", "PIPELINE", "users", "import", "-", stdin="G-1\n")
        assert "Erased" in command(server, "pipeline_1", "PIPELINE", "forget", "G-1", "--yes")
        assert "asleep" in command(server, "pipeline_1", "PIPELINE", "exec", "--", "dagster", "instance", "info")
        service = start_service(url_of(server, "receiver_1", "RECEIVER"), SERVICE_API_KEYS="read")
        assert service.get("/ready").status_code == 200
        assert service.event(b"{}", x_api_key=KEY).json() == {"status": "stored"}
        assert service.get("/api/users/G-1/sessions", "read").status_code == 404
        assert "\nasleep_sync_missing_data 0.0\n" in service.get("/metrics").text
    finally:
        embedded.destroy(directory)


@pytest.mark.long
def test_a_worker_that_starts_slowly_is_not_replaced(
    start_service: Callable[..., Service], database_url: str, tmp_path: Path
):
    """A busy machine must not keep the service from starting: uvicorn replaces a worker that is silent for 5 s."""
    slow = "import sys, time\nif '--multiprocessing-fork' in sys.orig_argv:\n    time.sleep(8)\n"
    (tmp_path / "sitecustomize.py").write_text(slow, "utf-8")
    service = start_service(database_url, workers=2, PYTHONPATH=f"{tmp_path}{os.pathsep}{ROOT}")

    assert service.get("/ready").status_code == 200


def url_of(server: embedded.EmbeddedPostgres, login: str, role: str) -> str:
    url = make_url(server.url).set(drivername="postgresql", username=login, password=PASSWORDS[f"{role}_PASSWORD"])
    return url.render_as_string(hide_password=False)


def psql(dsn: str, file: str) -> None:
    program = [find_program("psql"), "-X", "-v", "ON_ERROR_STOP=1", "-d", f"{dsn} dbname=asleep", "-f", ROOT / file]
    ended = subprocess.run(program, env={**os.environ, **PASSWORDS}, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr


def command(server: embedded.EmbeddedPostgres, login: str, role: str, *arguments: str, stdin: str = "") -> str:
    ended = subprocess.run(
        [sys.executable, "-m", "pipelines.cli.main", *arguments],
        env={**os.environ, "DATABASE_URL": url_of(server, login, role)},
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
