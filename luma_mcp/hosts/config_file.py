"""Files of hosts: read whole, replaced whole, with a backup beside them, and left alone in doubt."""

import os
import shutil
import stat
import sys
import tempfile
from collections.abc import Generator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from luma_mcp.core.errors import LumaError

BOM = "\ufeff"
MAX_FILE_BYTES = 16 << 20  # Claude Code keeps its history in the same file


class HostFileUnusable(LumaError):
    """A host's configuration file cannot be read or changed; it is as it was."""

    code = "invalid_request"


@dataclass(frozen=True, slots=True)
class HostFile:
    """What a host's file held when it was read."""

    path: Path  # with all links followed
    text: str  # empty if there is no file
    bom: str  # what stands before the text, empty if nothing does
    exists: bool


def read_file(path: Path) -> HostFile:
    """Read a file of UTF-8 text behind whatever links lead to it; raise `HostFileUnusable`."""
    with translate_errors(path):
        path = path.expanduser().resolve()
        if not path.exists():
            return HostFile(path, "", "", exists=False)
        if not path.is_file():
            raise HostFileUnusable(f"{path} is no file.")
        try:
            text = read_limited(path).decode("utf-8")
        except UnicodeDecodeError as error:
            raise HostFileUnusable(f"{path} is not UTF-8 text, so it was left as it is.") from error
        return HostFile(path, text.removeprefix(BOM), BOM if text.startswith(BOM) else "", exists=True)


def read_limited(path: Path) -> bytes:
    """Read a file whole; raise `HostFileUnusable` for one of over `MAX_FILE_BYTES`, and for pipes and devices.

    Never waits for another program, even if the file is replaced by a pipe just now.
    """
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise HostFileUnusable(f"{path} is no file.")
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise HostFileUnusable(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB, so it was left as it is.")
    return content


def replace_file(old: HostFile, text: str) -> Path | None:
    """Replace a file's text in one step, with a backup beside it; return the backup's path, None if there was no file.

    Raises `HostFileUnusable`, also if the file is not as it was read any more; it is unchanged then.
    """
    path = old.path
    with translate_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        if old.exists:
            check_ours(path)
        with temporary_beside(path) as new, ExitStack() as undo:
            new.write_bytes((old.bom + text).encode())
            if read_file(path) != old:
                raise HostFileUnusable(f"{path} was changed by another program just now.", hint="Try again.")
            backup = back_up(path) if old.exists else None
            if backup:
                undo.callback(backup.unlink)
                shutil.copymode(path, new)
                give_to_owner_of(path, new)
            os.replace(new, path)
            undo.pop_all()
        return backup


def check_ours(path: Path) -> None:
    """Raise `HostFileUnusable` for a file that this user may not write, whatever its folder allows."""
    if not (stat.S_IMODE(path.stat().st_mode) & stat.S_IWUSR and os.access(path, os.W_OK)):
        raise HostFileUnusable(
            f"{path} is read-only, so it was left as it is.", hint="Make it writable, or change it by hand."
        )


def give_to_owner_of(path: Path, new: Path) -> None:
    """Give a new file the owner of the one that it replaces; raise `OSError` if this user may not do that."""
    before, after = path.stat(), new.stat()
    if sys.platform != "win32" and (before.st_uid, before.st_gid) != (after.st_uid, after.st_gid):
        os.chown(new, before.st_uid, before.st_gid)


def back_up(path: Path) -> Path:
    """Copy a file to a free name with the time in it, readable for its owner only: it may hold a key."""
    stem = f"{path.name}.before-luma-{datetime.now():%Y%m%d-%H%M%S}"
    for name in (stem, *(f"{stem}-{number}" for number in range(2, 100))):
        with suppress(FileExistsError):
            descriptor = os.open(path.with_name(name), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            try:
                with os.fdopen(descriptor, "wb") as copy:
                    copy.write(read_limited(path))
            except (OSError, HostFileUnusable):
                path.with_name(name).unlink()
                raise
            return path.with_name(name)
    raise HostFileUnusable(f"There are a hundred backups of {path} already.")


@contextmanager
def temporary_beside(path: Path) -> Generator[Path]:
    """Give an empty file in the same folder, for its owner only, and delete what is left of it afterwards."""
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".new", dir=path.parent)
    os.close(descriptor)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


@contextmanager
def translate_errors(path: Path) -> Generator[None]:
    """Raise `HostFileUnusable`, in one line, for what the system refuses inside."""
    try:
        yield
    except (OSError, RuntimeError, UnicodeError) as error:  # the second for links in a circle and unknown users
        cause = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise HostFileUnusable(f"{path} cannot be used: {cause}.") from error
