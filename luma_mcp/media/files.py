"""Files on this machine: opened without following links, given room, published whole, and never replaced."""

import errno
import hashlib
import os
import shutil
import stat
import uuid
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from luma_mcp.core import failpoints
from luma_mcp.core.rename import rename_without_replacing
from luma_mcp.core.storage_errors import NoVideoThere, OutputNotWritable
from luma_mcp.media.file_places import is_same_place, place_of
from luma_mcp.media.films import flaw_in, is_chained

SPARE_BYTES = 32 << 20  # left free for the ledger and for everything else on the disk
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
PLAIN = os.O_RDONLY | NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def check_writable(folder: Path, size: int = 0) -> None:
    """Prove that the output folder takes files, and has room for one of `size` bytes; raise `OutputNotWritable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe_folder(folder)
        check_room(folder, size)
    except OSError as error:
        raise OutputNotWritable(f"The output folder {folder} cannot be written: {error.strerror}.") from error


def probe_folder(folder: Path) -> None:
    """Make a file and remove it; raise `OSError` if the folder takes none."""
    probe = new_part(folder, str(uuid.uuid4()))
    with temporary(probe):
        probe.open("xb").close()  # `tempfile` tries for ever where Windows says no (gh-66305)


def new_part(folder: Path, key: str) -> Path:
    """Make a temporary name for a file that belongs to a key, by which it is found if it is left behind."""
    return folder / f".{key}-{uuid.uuid4().hex[:8]}.part"


def check_room(folder: Path, size: int) -> None:
    """Raise `OutputNotWritable` if a file of `size` bytes would leave too little free on the disk."""
    free = shutil.disk_usage(folder).free
    if free < size + SPARE_BYTES:
        raise OutputNotWritable(
            f"The disk of the output folder {folder} is nearly full: {megabytes(free)} are free, and a video of"
            f" {megabytes(size)} needs {megabytes(size + SPARE_BYTES)}."
            if size
            else f"The disk of the output folder {folder} is nearly full: {megabytes(free)} are free.",
            hint="Free some space, or name a folder on another disk with LUMA_MCP_OUTPUT_DIR.",
        )


def megabytes(size: float) -> str:
    """Write bytes as people read them."""
    return f"{size / 1e6:.1f} MB"


def open_plain(path: Path) -> BufferedReader:
    """Open a regular file for reading; a link in place of it is not followed, and a pipe is not waited for."""
    descriptor = os.open(path, PLAIN)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def open_itself(path: str, flags: int) -> int:
    """Open what lies at a path, not what a link there leads to; an `opener`."""
    return os.open(path, flags | NO_LINK)


def open_real(path: Path) -> BufferedReader:
    """Open a regular file whose path has no links in it; one that lies elsewhere, behind a folder just swapped, is not.

    Where the system does not tell where an open file lies, the path is trusted.
    """
    file = open_plain(path)
    place = place_of(file.fileno())
    if not place or is_same_place(place, str(path)):
        return file
    file.close()
    raise OSError(errno.ESTALE, "it was moved while it was opened", str(path))


def is_plain(path: Path) -> bool:
    """Tell whether a regular file lies at a path itself, not behind a link."""
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_video(path: Path) -> bool:
    """Tell whether a video lies at a path itself, not behind a link, as far as its outermost boxes tell."""
    try:
        with open_plain(path) as file:
            return is_plain(path) and is_chained(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return False


def remove_leftovers(folder: Path, key: str) -> None:
    """Remove what earlier downloads of a task left behind when they were killed."""
    for leftover in folder.glob(f".{key}*.part"):
        remove_if_free(leftover)


def remove_if_free(part: Path) -> None:
    """Remove a temporary file; Windows keeps one that somebody has open, such as a virus scanner, for the next time."""
    with suppress(PermissionError):
        part.unlink(missing_ok=True)


def remove_old_leftovers(folder: Path, before: float) -> None:
    """Remove what nobody has written to since a moment (POSIX seconds), of whatever task."""
    for leftover in folder.glob(f".{'[0-9a-f-]' * 45}.part"):
        with suppress(OSError):
            if os.lstat(leftover).st_mtime < before:
                leftover.unlink()


@contextmanager
def temporary(part: Path) -> Generator[None]:
    """Let a temporary name be free afterwards, or as soon as nobody has the file open."""
    try:
        yield
    finally:
        remove_if_free(part)


@dataclass(frozen=True, slots=True)
class Published:
    """Where a file lies now, and whether it is a new one or was there before with the same bytes."""

    path: Path
    is_new: bool


def publish(part: Path, target: Path) -> Published:
    """Give a complete file its name, never over another file; the same bytes under that name count as done.

    Raises `NoVideoThere` for what is no whole video.
    """
    with open_plain(part) as file:
        if flaw := flaw_in(file, os.fstat(file.fileno()).st_size):
            raise NoVideoThere(f"What lies at the finished video's address {flaw}.")
    for candidate in [target, *(target.with_stem(f"{target.stem}-{n}") for n in range(2, 100))]:
        try:
            rename_without_replacing(part, candidate)
        except FileExistsError:
            if same_bytes(part, candidate):
                return Published(candidate, is_new=False)
            continue
        sync_folder(candidate.parent)
        failpoints.reach("download.published")
        return Published(candidate, is_new=True)
    raise FileExistsError(errno.EEXIST, "a hundred files of that name exist", str(target))


def sync_folder(folder: Path) -> None:
    """Bring a new name to the disk, where the system can do that."""
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def same_bytes(one: Path, other: Path) -> bool:
    """Compare two files by content; what is not there, or is a link, equals nothing."""
    if not is_plain(other) or one.stat().st_size != other.stat().st_size:
        return False
    with open_plain(one) as left, open_plain(other) as right:
        return hashlib.file_digest(left, "sha256").digest() == hashlib.file_digest(right, "sha256").digest()


def copy_published(existing: Path, part: Path, target: Path) -> Published:
    """Make a copy of a saved video under another name, as whole as a download."""
    with temporary(part):
        if same_bytes(existing, target):
            return Published(target, is_new=False)
        with open_plain(existing) as source, part.open("xb") as copy:
            check_room(target.parent, os.fstat(source.fileno()).st_size)
            shutil.copyfileobj(source, copy, 1 << 18)
            copy.flush()
            os.fsync(copy.fileno())
        return publish(part, target)
