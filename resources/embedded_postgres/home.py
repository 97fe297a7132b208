"""The files of one embedded Postgres server: paths, modes, locks and passwords.

An ordinary user's server lives in the directory that the caller names. Root's lives below `/var/lib/asleep-sync`, where
the account that runs it can reach it; the directory then holds only a pointer, the file `cluster`.
"""

import fcntl
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from resources.embedded_postgres import programs
from resources.embedded_postgres.programs import EmbeddedPostgresError


class Home:
    """Where one server keeps its files."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = root / "data"
        """Postgres' own data directory; it exists only when it is complete."""
        self.log = root / "server.log"
        self.passwords = root / "pgpass"
        """Passwords by role, in the form that psql reads; the first file written."""
        self.port = root / "port"
        self.alive = root / "alive"
        """Locked by every process of the server until the last of them ended, however it ended: a postmaster.pid left
        behind may name a zombie or a stranger."""

    def password_of(self, role: str) -> str:
        """Return the password of a role of this server."""
        lines = (line.split(":") for line in self.passwords.read_text().splitlines())
        return {owner: password for *_, owner, password in lines}[role]

    def prepare_log(self) -> None:
        """Create an empty log that only the server's account may write."""
        os.close(os.open(self.log, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600))
        programs.hand_over(self.log)

    def prepare_data(self) -> Path:
        """Return an empty directory for a new cluster, to be renamed to `data` when it is complete."""
        shutil.rmtree(new := _unfinished(self.data), ignore_errors=True)
        new.mkdir(mode=0o700)
        programs.hand_over(new)
        return new

    def remove(self, directory: Path) -> None:
        """Remove the files of a server that does not run, and nothing else."""
        for path in (self.data, self.log, self.port, self.alive, self.passwords, directory / "cluster"):
            for each in (path, _unfinished(path)):
                shutil.rmtree(each) if each.is_dir() else each.unlink(missing_ok=True)
        if self.root != directory.resolve():
            self.root.rmdir()


def find_home(directory: Path) -> Home | None:
    """Return the home of the server of `directory`, complete or not; None when no server was ever begun there."""
    home = Home(directory.resolve())
    if programs.account() is not None:
        pointer = directory / "cluster"
        name = pointer.read_text() if pointer.exists() else "none-yet-here"
        if re.fullmatch(r"\w+-[\w-]{8}", name) is None:
            raise EmbeddedPostgresError(f"{pointer} names no server of ours: remove it to start afresh")
        home = Home(programs.SHARED_BY_ROOT / name)
    return home if home.passwords.exists() else None


@contextmanager
def open_home(directory: Path) -> Iterator[Home]:
    """Make the home of a server of `directory` if there is none, and keep other processes from using it meanwhile."""
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        held = lock(directory / "lock", wait=True)
    except PermissionError as error:
        words = "belongs to another user: set DATABASE_URL, or work as the user who created it"
        raise EmbeddedPostgresError(f"{error.filename} {words}") from error
    assert held is not None  # noqa: S101 it was waited for
    with held:
        if programs.account() is None:
            yield Home(directory.resolve())
        elif (home := find_home(directory)) is not None:
            yield home
        else:
            root = programs.make_shared_directory("server")
            replace_file(directory / "cluster", root.name)
            yield Home(root)


def replace_file(path: Path, text: str) -> None:
    """Replace a file in one step; only its owner may read it.

    Args:
        path: the file.
        text: its new content.
    """
    (new := _unfinished(path)).unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
    new.replace(path)


def _unfinished(path: Path) -> Path:
    return path.with_name(f"{path.name}.new")


def lock(path: Path, *, wait: bool = False) -> IO[str] | None:
    """Lock a file until it is closed.

    Args:
        path: the file; it is created when there is none.
        wait: until another process has released the lock.

    Returns:
        The open file; None when another process holds the lock and we do not wait.
    """
    file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT, 0o600), "r+")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        file.close()
        return None
    return file
