"""Where the ledger lies: files of this user's alone, on a disk that can be shared by processes."""

import logging
import os
import re
import sqlite3
import stat
import sys
import uuid
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from luma_mcp.ledger.errors import OWN_HINT, Refused

LEDGER_NAME = "tasks.sqlite3"
FILES = ("", "-wal", "-shm", "-journal", "-lock", ".rescued")  # whatever of these lies there is used
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
SHARED_ON_PURPOSE = stat.S_ISVTX | stat.S_ISGID
MOUNTS = Path("/proc/self/mountinfo")
REMOTE = r"afs|beegfs|ceph|cifs|davfs|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|smb3|smbfs"
SHARED = r"9p|drvfs|fakeowner|fuse\..+|prl_fs|vboxsf|virtiofs|vmhgfs"
NETWORK_DISK = re.compile(f"{REMOTE}|{SHARED}")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Place:
    """The path of the ledger, and whether a flag or the environment named its folder."""

    path: Path
    named: bool = False
    _warned: bool = field(default=False, init=False)

    def make_safe(self) -> None:
        """Make the folder if there is none, and take away what lets others write; raise `Refused`, or `OSError`.

        A folder that was named may be open to others, as on a disk without permissions: that is warned of, once.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in files_of(self.path):
            with suppress(FileNotFoundError):  # a journal lies there only while somebody writes
                refuse_foreign(file)
                close_to_others(file, {0})
        close_to_others(self.path.parent, {SHARED_ON_PURPOSE} if self.named else {0})
        if (fault := openness(self.path)) and not self.named:
            raise Refused(fault, OWN_HINT)
        if fault and not self._warned:
            self._warned = True
            logger.warning("The ledger %s may be changed by others: %s", self.path, fault)


def files_of(path: Path) -> list[Path]:
    """List what lies at the ledger's path and beside it that would be used."""
    named = (path.with_name(path.name + suffix) for suffix in FILES)
    return [file for file in named if os.path.lexists(file)]


def refuse_foreign(file: Path) -> None:
    """Raise `Refused` for a link, a pipe or a folder in place of a file, and for a file of another user's."""
    found = os.lstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise Refused(f"{file.name} is no regular file", OWN_HINT)
    if is_foreign(found):
        raise Refused(f"{file.name} belongs to another user", OWN_HINT)


def is_foreign(found: os.stat_result) -> bool:
    """Tell whether something belongs to neither this user nor root; on Windows, profiles are closed to others."""
    return sys.platform != "win32" and found.st_uid not in (os.geteuid(), 0)


def close_to_others(path: Path, unless: set[int]) -> None:
    """Take the write bits of group and others away where that can be done, except where certain bits are set."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if sys.platform != "win32" and mode & OTHERS_WRITE and not any(mode & bits for bits in unless):
        try:
            path.chmod(mode & ~OTHERS_WRITE)
        except OSError as error:
            logger.debug("The permissions of %s stay as they are: %s", path, error.strerror)


def openness(path: Path) -> str:
    """Say what lets others change the ledger, which must be made safe before; empty if nothing does."""
    folder = os.stat(path.parent)
    if is_foreign(folder):
        return f"its folder {path.parent} belongs to another user"
    modes = {path.parent: folder.st_mode}
    for file in files_of(path):
        with suppress(FileNotFoundError):
            modes[file] = os.lstat(file).st_mode
    for place, mode in modes.items():
        if sys.platform != "win32" and mode & OTHERS_WRITE:
            return f"{place} can be written by other users"
    return ""


def make_private(path: Path) -> None:
    """Make an empty file that nobody else can read or write, whatever the folder; raise `FileExistsError`."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def beside(path: Path, suffix: str) -> Path:
    """Name a file that belongs to the ledger's."""
    return path.with_name(path.name + suffix)


@contextmanager
def alone(path: Path) -> Generator[None]:
    """Let one process at a time work on the file itself; the lock dies with its holder."""
    with suppress(FileExistsError):
        make_private(beside(path, "-lock"))
    with closing(sqlite3.connect(beside(path, "-lock"), isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def newly_made(path: Path) -> Generator[Path]:
    """Give the name of a new file that gets the ledger's once it is complete, unless another process was faster.

    Nothing that is incomplete ever lies at the ledger's path, whatever the file system: it would be taken for damage.
    """
    new = beside(path, f"-{uuid.uuid4().hex[:8]}")
    try:
        make_private(new)
        yield new
        with alone(path):
            if not os.path.lexists(path):
                new.rename(path)
    finally:
        new.unlink(missing_ok=True)


def identity(path: Path) -> tuple[int, int] | None:
    """Tell which file lies at a path, whatever it is called; None if there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def network_disk(folder: Path) -> str:
    """Name the kind of network disk or shared folder that a folder is on, as far as that can be known; else empty."""
    if folder.drive.startswith("\\\\"):
        return folder.drive
    try:
        kind = disk_kind(Path(os.path.realpath(folder)), MOUNTS.read_text(encoding="utf-8", errors="replace"))
    except OSError:  # only Linux tells
        return ""
    return kind if NETWORK_DISK.fullmatch(kind) else ""


def disk_kind(folder: Path, mounts: str) -> str:
    """Find the type of the disk that a real path is on in Linux's list of mounts; of several at a place the last."""
    kind, deepest = "", -1
    for line in mounts.splitlines():
        fields, _, rest = line.partition(" - ")
        if len(fields.split()) > 4 and rest:
            point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), fields.split()[4]))
            if folder.is_relative_to(point) and len(point.parts) >= deepest:
                kind, deepest = rest.split()[0], len(point.parts)
    return kind
