"""The built wheel works where there is no checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from resources.embedded_postgres import server as embedded
from tests.conftest import ROOT
from tests.end_to_end.dagster.running import free_port, until

UV = ROOT / ".uv" / "bin" / "uv"
_JOBS = "{ repositoriesOrError { ... on RepositoryConnection { nodes { jobs { name } } } } }"


@dataclass(frozen=True)
class Installed:
    """A virtual environment with the wheel, and an empty folder to work in."""

    environment: Path
    work: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.environment / "bin" / "asleep-sync", *arguments],
            cwd=self.work, env=self._variables, capture_output=True, text=True, timeout=240, check=False,
        )  # fmt: skip

    @contextmanager
    def running(self, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """A program that runs until the block ends; what it prints is in `running.log`."""
        with (self.work / "running.log").open("wb") as log:
            program = subprocess.Popen(
                [self.environment / "bin" / "asleep-sync", *arguments],
                cwd=self.work, env=self._variables, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            yield program
        finally:
            program.terminate()
            program.wait(60)

    @property
    def _variables(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in ("HOME", "LANG", "TMPDIR") if name in os.environ}
        return {
            **kept,
            "PATH": f"{self.environment / 'bin'}{os.pathsep}{os.environ['PATH']}",
            "XDG_DATA_HOME": str(self.work / "data"),
            "PYTHONDONTWRITEBYTECODE": "1",
        }

    def files(self) -> set[str]:
        """Everything that lies in the environment."""
        return {str(path.relative_to(self.environment)) for path in self.environment.rglob("*")}


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installed]:
    """The wheel, built from this checkout; its dependencies are those of this environment, so nothing is downloaded."""
    folder = tmp_path_factory.mktemp("wheel")
    environment = folder / "venv"
    options = ("--offline", "--quiet", "--python", sys.executable)
    build = [UV, "build", "--wheel", "--no-build-isolation", *options, "--out-dir", folder / "dist", ROOT]
    (folder / "build.cfg").write_text(f"[build]\nbuild_base = {folder / 'build'}\n", "utf-8")  # not in the checkout
    settings = {**os.environ, "DIST_EXTRA_CONFIG": str(folder / "build.cfg")}
    subprocess.run(build, check=True, timeout=120, env=settings)
    subprocess.run([UV, "venv", *options, environment], check=True, timeout=60)
    (wheel,) = (folder / "dist").glob("*.whl")
    subprocess.run(
        [UV, "pip", "install", "--offline", "--quiet", "--no-deps", "--python", environment / "bin" / "python", wheel],
        check=True, timeout=60,
    )  # fmt: skip
    (site_packages,) = environment.glob("lib/python*/site-packages")
    (site_packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), "utf-8")
    work = folder / "work"
    work.mkdir()
    yield Installed(environment, work)
    embedded.destroy(work / "data" / "asleep-sync" / "postgres")


def test_the_installed_program_runs_the_demo_and_writes_nothing_beside_its_code(installed: Installed):
    """A wheel without its SQL and YAML files installs, and fails at the first command."""
    before = installed.files()

    demo = installed.run("demo", "--users", "2", "--days", "5")

    assert demo.returncode == 0, demo.stderr
    assert "users     2 " in demo.stdout
    assert "asleep-sync dev" in demo.stdout
    assert "make " not in demo.stdout
    assert installed.files() == before
    port = free_port()
    with installed.running("ui", "--port", str(port)) as ui:
        jobs = until("the UI lists the jobs", lambda: ui.poll() is not None or _jobs(port))
    printed = (installed.work / "running.log").read_text("utf-8")
    assert "sync_sleep_sessions" in str(jobs), printed
    assert "currently in" not in printed


def _jobs(port: int) -> str | None:
    """The jobs that a UI shows; None while it does not answer."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql", json.dumps({"query": _JOBS}).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as response:  # noqa: S310 loopback
            return response.read().decode()
    except urllib.error.URLError:
        return None
