"""Where an embedded Postgres keeps its files, and under which account its programs run.

An ordinary user's server lives in the directory that was asked for. Postgres refuses to run as root, and root's
directory may be closed to everyone else, so a server of root runs as `nobody` below `/var/lib/asleep-sync`, from a
copy of the programs there; the directory itself then holds only a pointer. No directory of others is opened up.

Lives here: paths, modes, accounts, locks, passwords at rest.  Not here: when a server starts or stops, SQL.
"""

import contextlib
import fcntl
import hashlib
import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SHARED_BY_ROOT = Path("/var/lib/asleep-sync")
UNPRIVILEGED = "nobody"
LOOPBACK = "127.0.0.1"
OWNER_ONLY = 0o600
PROGRAM_SECONDS = 120


class EmbeddedPostgresError(RuntimeError):
    """The embedded Postgres cannot be used: set DATABASE_URL, or mend what the message says."""


@dataclass(frozen=True, slots=True)
class Account:
    """The unprivileged account that root hands the server to."""

    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Home:
    """The files of one server."""

    root: Path
    programs: Path
    account: Account | None

    @property
    def data(self) -> Path:
        """Postgres' own data directory; exists only when it is complete."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.root / "server.log"

    @property
    def passwords(self) -> Path:
        """Passwords by role, in the form that psql reads (PGPASSFILE)."""
        return self.root / "pgpass"

    @property
    def port(self) -> Path:
        """The port of the last start, kept so that the URL stays the same."""
        return self.root / "port"

    @property
    def sign_of_life(self) -> Path:
        """Locked by every process of a running server, and by nobody else.

        The lock ends with the last of them however they end. That tells a living server from a postmaster.pid left
        behind, whose number may meanwhile belong to a zombie or to a stranger.
        """
        return self.root / "alive"

    def run(
        self, program: str, arguments: Sequence[str], *, keep_open: tuple[int, ...] = (), text: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run one of Postgres' programs to its end, out of reach of our terminal and our environment."""
        as_account: dict[str, Any] = {}
        if self.account is not None:
            as_account = {"user": self.account.uid, "group": self.account.gid, "extra_groups": []}
        with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as given:
            given.write(text)
            given.seek(0)
            # Files, not pipes: the server inherits them and would keep a pipe open for as long as it lives.
            ended = subprocess.run(  # noqa: S603 - the wheel's own programs
                [str(self.programs / program), *arguments],
                stdin=given, stdout=output, stderr=subprocess.STDOUT, cwd="/", umask=0o077,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}, pass_fds=keep_open,
                start_new_session=True, timeout=PROGRAM_SECONDS, check=False, text=True, **as_account,
            )  # fmt: skip
            output.seek(0)
            return subprocess.CompletedProcess(ended.args, ended.returncode, output.read(), None)

    def give_directory(self, path: Path) -> None:
        """Make an empty directory that only the server's account may enter."""
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(mode=0o700)
        self._give(path)

    def give_file(self, path: Path) -> None:
        """Make a file that only the server's account may read and write; keep what it holds."""
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, OWNER_ONLY))
        self._give(path)

    def _give(self, path: Path) -> None:
        if self.account is not None:
            os.chown(path, self.account.uid, self.account.gid)

    def write(self, path: Path, text: str) -> None:
        """Replace a file of ours at once, for our eyes only."""
        new = path.with_name(f"{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, OWNER_ONLY), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)

    def password(self, role: str) -> str:
        """The password of a role of this server."""
        for line in self.passwords.read_text().splitlines():
            *_, owner, password = line.split(":")
            if owner == role:
                return password
        raise EmbeddedPostgresError(f"{self.passwords} holds no password for {role}: was it edited?")

    def free_port(self) -> int:
        """The port of last time when it is free, else a new one, which is then remembered."""
        for candidate in (int(self.port.read_text()) if self.port.exists() else 0, 0):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((LOOPBACK, candidate))
                port = int(probe.getsockname()[1])
                self.write(self.port, str(port))
                return port
        raise EmbeddedPostgresError(f"no free port on {LOOPBACK}")


def find_home(directory: Path) -> Home | None:
    """The files of the server of `directory`, or None when it never had one."""
    if os.geteuid() != 0:
        home = Home(directory, _wheel() / "pginstall" / "bin", None)
    else:
        pointer = directory / "cluster"
        if not pointer.exists():
            return None
        name = pointer.read_text().strip()
        if re.fullmatch(r"[0-9a-f]{12}-\w{8}", name) is None:
            raise EmbeddedPostgresError(f"{pointer} does not name a server of ours: remove it to start afresh")
        nobody = pwd.getpwnam(UNPRIVILEGED)
        home = Home(SHARED_BY_ROOT / name, _copied_programs(), Account(nobody.pw_uid, nobody.pw_gid))
    return home if home.data.exists() else None


def make_home(directory: Path) -> Home:
    """The files of the server of `directory`, with all in place to create one. Call it under `alone`."""
    if os.geteuid() != 0:
        return Home(directory, _wheel() / "pginstall" / "bin", None)
    pointer = directory / "cluster"
    if not pointer.exists():
        ...
    raise NotImplementedError
