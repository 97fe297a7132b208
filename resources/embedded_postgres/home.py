"""The files of one embedded Postgres server.

An ordinary user's server lives in the directory that was asked for. Root's lives below `/var/lib/asleep-sync`, where
the account that runs it can reach it; the directory then holds only a pointer, the file `cluster`.

Lives here: paths, modes, locks, passwords and the port at rest.  Not here: SQL, when a server starts or stops.
"""

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from resources.embedded_postgres.programs import (
    SHARED_BY_ROOT,
    EmbeddedPostgresError,
    Programs,
    find_programs,
    is_root,
    make_shared_directory,
)

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Home:
    """Where one server keeps what it has."""

    root: Path
    programs: Programs

    @property
    def data(self) -> Path:
        """Postgres' own data directory; it exists only when it is complete."""
        return self.root / "data"

    @property
    def log(self) -> Path:
        """What the server writes."""
        return self.root / "server.log"

    @property
    def passwords(self) -> Path:
        """Passwords by role, in the form that psql reads."""
        return self.root / "pgpass"

    @property
    def port(self) -> Path:
        """The port of the last start, kept so that the URL stays the same."""
        return self.root / "port"

    @property
    def data_unfinished(self) -> Path:
        """A data directory in the making."""
        return _unfinished(self.data)

    @property
    def secret(self) -> Path:
        """A password on its way to a program."""
        return self.root / "secret"

    @property
    def sign_of_life(self) -> Path:
        """Locked by every process of the running server, until the last of them has ended, however it ended.

        So it tells a living server from a postmaster.pid left behind, whose number may by now be a zombie's or a
        stranger's.
        """
        return self.root / "alive"

    def password_of(self, role: str) -> str:
        """The password of a role of this server."""
        for line in self.passwords.read_text().splitlines():
            *_, owner, password = line.split(":")
            if owner == role:
                return password
        raise EmbeddedPostgresError(f"{self.passwords} holds no password for {role}: was it edited?")

    def choose_port(self) -> int:
        """The port of the last start when it is free, else a new one, remembered for the next start."""
        remembered = int(self.port.read_text()) if self.port.exists() else 0
        for candidate in (remembered, 0):
            with socket.socket() as probe, contextlib.suppress(OSError):
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind((LOOPBACK, candidate))
                port = int(probe.getsockname()[1])
                write_private(self.port, str(port))
                return port
        raise EmbeddedPostgresError(f"There is no free port on {LOOPBACK}")

    def prepare_log(self) -> int:
        """Make the log writable for the server and for nobody else; its length so far."""
        descriptor = os.open(self.log, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            self.programs.hand_over(self.log)
            return os.fstat(descriptor).st_size
        finally:
            os.close(descriptor)

    def log_since(self, length: int) -> str:
        """What the server wrote since the log had that length."""
        return self.log.read_bytes()[length:].decode(errors="replace")

    @contextlib.contextmanager
    def secret_for_programs(self, secret: str) -> Iterator[Path]:
        """A file with a secret that the programs can read, for as long as they need it."""
        try:
            write_private(self.secret, secret)
            self.programs.hand_over(self.secret)
            yield self.secret
        finally:
            self.secret.unlink(missing_ok=True)

    def prepare_data(self) -> Path:
        """An empty directory for a new cluster, to be renamed to `data` when it is complete."""
        shutil.rmtree(self.data_unfinished, ignore_errors=True)
        self.data_unfinished.mkdir(mode=0o700)
        self.programs.hand_over(self.data_unfinished)
        return self.data_unfinished


def find_home(directory: Path) -> Home | None:
    """The home of the server of `directory`, complete or not, or None when no server was ever begun there."""
    root = _root_in_use(directory)
    home = None if root is None else Home(root, find_programs())
    # The passwords are the first thing to be written: a directory without them is not ours to touch.
    return home if home is not None and home.passwords.exists() else None


def make_home(directory: Path) -> Home:
    """A home for the first server of `directory`."""
    programs = find_programs()
    root = _root_in_use(directory)
    if root is None:
        make_shared_directory()
        owner = hashlib.sha256(os.fsencode(directory.resolve())).hexdigest()[:12]
        root = Path(tempfile.mkdtemp(prefix=f"{owner}-", dir=SHARED_BY_ROOT))
        write_private(_pointer(directory), root.name)
    if is_root():
        root.mkdir(exist_ok=True)
        root.chmod(0o711)
    return Home(root, programs)


def _root_in_use(directory: Path) -> Path | None:
    if not is_root():
        return directory.resolve()
    pointer = _pointer(directory)
    if not pointer.exists():
        return None
    name = pointer.read_text().strip()
    if re.fullmatch(r"[0-9a-f]{12}-\w{8}", name) is None:
        raise EmbeddedPostgresError(f"{pointer} names no server of ours: remove it to start afresh")
    return SHARED_BY_ROOT / name


def _pointer(directory: Path) -> Path:
    return directory / "cluster"


def remove_home(directory: Path, home: Home) -> None:
    """Remove the files of a server that does not run, and nothing else."""
    for tree in (home.data, home.data_unfinished):
        shutil.rmtree(tree, ignore_errors=True)
    for file in (home.log, home.port, home.secret, home.sign_of_life, home.passwords, _pointer(directory)):
        file.unlink(missing_ok=True)
        _unfinished(file).unlink(missing_ok=True)
    if home.root != directory.resolve():
        home.root.rmdir()


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it."""
    new = _unfinished(path)
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def lock_at_once(path: Path) -> IO[str] | None:
    """Lock a file until it is closed, or None when somebody else holds the lock."""
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock on a file at this moment."""
    lock = lock_at_once(path)
    if lock is not None:
        lock.close()
    return lock is None


@contextlib.contextmanager
def alone(directory: Path) -> Iterator[None]:
    """Wait until no other process creates, starts or stops the server of `directory`."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except PermissionError as error:
        raise EmbeddedPostgresError(
            f"{error.filename} belongs to another user: set DATABASE_URL, or work as the user who created it"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
