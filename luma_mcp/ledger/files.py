"""The ledger's files: their path, whose they are, how they are made, and which disk they are on."""

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

from luma_mcp.core.settings import Settings
from luma_mcp.core.small_files import OTHERS_WRITE, is_owned_by_other
from luma_mcp.ledger.errors import OWN_HINT, FileRefused

LEDGER_NAME = "tasks.sqlite3"
DATABASE_SUFFIXES = ("", "-wal", "-shm", "-journal")  # SQLite's own
LOCK_SUFFIX = "-lock"
RESCUED_SUFFIX = ".rescued"
LEDGER_SUFFIXES = (*DATABASE_SUFFIXES, LOCK_SUFFIX, RESCUED_SUFFIX)  # whichever of these files exist are used
SHARED_ON_PURPOSE = stat.S_ISVTX | stat.S_ISGID
MOUNTS = Path("/proc/self/mountinfo")
REMOTE = r"afs|beegfs|ceph|cifs|davfs|glusterfs|gpfs|lustre|ncpfs|nfs4?|ocfs2|smb3|smbfs"
SHARED = r"9p|drvfs|fakeowner|fuse\..+|prl_fs|vboxsf|virtiofs|vmhgfs"
NETWORK_DISK = re.compile(f"{REMOTE}|{SHARED}")

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class LedgerPath:
    """The path of the ledger, and whether a flag or the environment named its folder."""

    path: Path
    is_configured: bool = False
    _warned: bool = field(default=False, init=False)

    def secure_files(self) -> None:
        """Make the folder if there is none, and take away what lets others write; raise `FileRefused`, or `OSError`.

        A folder that was named may be open to others, as on a disk without permissions: that is warned of, once.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        for file in list_ledger_files(self.path):
            with suppress(FileNotFoundError):  # a journal lies there only while somebody writes
                refuse_unsafe_file(file)
                revoke_write_bits(file)
        revoke_write_bits(self.path.parent, unless=SHARED_ON_PURPOSE if self.is_configured else 0)
        if (fault := describe_foreign_access(self.path)) and not self.is_configured:
            raise FileRefused(fault, OWN_HINT)
        if fault and not self._warned:
            self._warned = True
            logger.warning("The ledger %s may be changed by others: %s", self.path, fault)


def ledger_path(settings: Settings) -> LedgerPath:
    """Give the path of the ledger that the settings mean."""
    return LedgerPath(settings.tasks_dir / LEDGER_NAME, "data_dir" in settings.model_fields_set)


def list_ledger_files(path: Path) -> list[Path]:
    """List the files at the ledger's path and beside it that would be used."""
    named = (path.with_name(path.name + suffix) for suffix in LEDGER_SUFFIXES)
    return [file for file in named if os.path.lexists(file)]


def refuse_unsafe_file(file: Path) -> None:
    """Raise `FileRefused` for a link, a pipe or a folder in place of a file, and for a file of another user's."""
    found = os.lstat(file)
    if not stat.S_ISREG(found.st_mode):
        raise FileRefused(f"{file.name} is no regular file", OWN_HINT)
    if is_owned_by_other(found):
        raise FileRefused(f"{file.name} belongs to another user", OWN_HINT)


def revoke_write_bits(path: Path, *, unless: int = 0) -> None:
    """Take the write bits of group and others away where that can be done, unless one of certain bits is set."""
    mode = stat.S_IMODE(os.stat(path).st_mode)
    if sys.platform != "win32" and mode & OTHERS_WRITE and not mode & unless:
        try:
            path.chmod(mode & ~OTHERS_WRITE)
        except OSError as error:
            logger.debug("The permissions of %s stay as they are: %s", path, error.strerror)


def describe_foreign_access(path: Path) -> str:
    """Say what lets others change the ledger; empty if nothing does. Raises `OSError` if there is no folder."""
    folder = os.stat(path.parent)
    if is_owned_by_other(folder):
        return f"its folder {path.parent} belongs to another user"
    modes = {path.parent: folder.st_mode}
    for file in list_ledger_files(path):
        with suppress(FileNotFoundError):
            modes[file] = os.lstat(file).st_mode
    for place, mode in modes.items():
        if sys.platform != "win32" and mode & OTHERS_WRITE:
            return f"{place} can be written by other users"
    return ""


def create_private_file(path: Path) -> None:
    """Make an empty file that nobody else can read or write; raise `FileExistsError`."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def sidecar_path(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


@contextmanager
def exclusive_lock(path: Path) -> Generator[None]:
    """Let one process at a time replace the file itself; the lock dies with its holder. Raises `sqlite3.Error`."""
    with suppress(FileExistsError):
        create_private_file(sidecar_path(path, LOCK_SUFFIX))
    with closing(sqlite3.connect(sidecar_path(path, LOCK_SUFFIX), isolation_level=None)) as lock:
        lock.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def create_atomically(path: Path) -> Generator[Path]:
    """Give the path of a new file that is renamed to the ledger's path afterwards, unless another process was faster.

    Nothing incomplete is ever at the ledger's path, whatever the file system: it would be taken for damage.
    """
    new = sidecar_path(path, f"-{uuid.uuid4().hex[:8]}")
    try:
        create_private_file(new)
        yield new
        with exclusive_lock(path):
            if not os.path.lexists(path):
                new.rename(path)
    finally:
        new.unlink(missing_ok=True)


def inode_identity(path: Path) -> tuple[int, int] | None:
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
