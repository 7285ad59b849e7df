"""Files on this machine: opened without following links, published whole, never replaced; saved videos found again."""

import errno
import hashlib
import os
import shutil
import stat
import sys
import unicodedata
import uuid
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BufferedReader
from pathlib import Path
from typing import NamedTuple

from luma_mcp.core import failpoints
from luma_mcp.core.errors import OutputNotWritable, VideoUnusable
from luma_mcp.core.models import Task
from luma_mcp.core.paths import real_path
from luma_mcp.core.rename import rename_without_replacing
from luma_mcp.media.mp4 import find_flaw, is_chained
from luma_mcp.media.sources import is_on_other_machine, is_visible_in

MAX_DESCRIPTOR_PATH = 1 << 15
ROOM_HINT = "Free some space, or name a folder on another disk with LUMA_MCP_OUTPUT_DIR."
MIN_FREE_BYTES = 32 << 20  # left free for the ledger and for everything else on the disk
NO_LINK = getattr(os, "O_NOFOLLOW", 0)
PLAIN = os.O_RDONLY | NO_LINK | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def path_of_descriptor(descriptor: int) -> str:
    """Give the path of an open file with its links resolved; empty where the system or the disk does not tell."""
    try:
        if sys.platform == "win32":
            import ctypes  # noqa: PLC0415 - not every Python has it
            import msvcrt  # noqa: PLC0415 - only Windows has it

            path = ctypes.create_unicode_buffer(MAX_DESCRIPTOR_PATH)
            handle = ctypes.c_void_p(msvcrt.get_osfhandle(descriptor))
            length = ctypes.WinDLL("kernel32").GetFinalPathNameByHandleW(handle, path, MAX_DESCRIPTOR_PATH, 0)
            return without_prefix(path.value) if 0 < length < MAX_DESCRIPTOR_PATH else ""
        elif sys.platform == "darwin":  # noqa: RET505 - the type checker follows branches of platforms only
            import fcntl  # noqa: PLC0415 - Windows has none

            return os.fsdecode(fcntl.fcntl(descriptor, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0"))
        else:
            return os.readlink(f"/proc/self/fd/{descriptor}")
    except (ImportError, OSError):
        return ""


def without_prefix(path: str) -> str:
    plain = path.removeprefix("\\\\?\\")
    return "\\\\" + plain[4:] if plain[:4].upper() == "UNC\\" else plain


def is_same_path(one: str, other: str) -> bool:
    """Compare two paths without links, ignoring case where the file system does."""
    return one == other or (sys.platform in ("win32", "darwin") and fold_path(one) == fold_path(other))


def fold_path(path: str) -> str:
    return unicodedata.normalize("NFC", without_prefix(path)).casefold()


def check_writable(folder: Path, size: int = 0) -> None:
    """Raise `OutputNotWritable` unless the folder, which is made, takes files and has room for `size` bytes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe_folder(folder)
        check_free_space(folder, size)
    except OSError as error:
        raise OutputNotWritable(f"The output folder {folder} cannot be written: {error.strerror}.") from error


def probe_folder(folder: Path) -> None:
    """Make a file and remove it; raise `OSError` if the folder takes none."""
    probe = new_part(folder, str(uuid.uuid4()))
    with temporary_file(probe):
        probe.open("xb").close()  # `tempfile` tries for ever where Windows says no (gh-66305)


def new_part(folder: Path, key: str) -> Path:
    """Name a temporary file after a task's key, by which leftovers are found."""
    return folder / f".{key}-{uuid.uuid4().hex[:8]}.part"


def check_free_space(folder: Path, size: int, *, what: str = "output folder", hint: str = ROOM_HINT) -> None:
    """Raise `OutputNotWritable` if a file of `size` bytes would leave less than `MIN_FREE_BYTES` on the disk."""
    free = shutil.disk_usage(folder).free
    if free < size + MIN_FREE_BYTES:
        raise OutputNotWritable(
            f"The disk of the {what} {folder} is nearly full: {megabytes(free)} are free, and a video of"
            f" {megabytes(size)} needs {megabytes(size + MIN_FREE_BYTES)}."
            if size
            else f"The disk of the {what} {folder} is nearly full: {megabytes(free)} are free.",
            hint=hint,
        )


def megabytes(size: float) -> str:
    """Write a number of bytes in megabytes (10**6 bytes)."""
    return f"{size / 1e6:.1f} MB"


def open_regular_file(path: Path) -> BufferedReader:
    """Open a regular file for reading; a link in place of it is not followed, and a pipe is not waited for."""
    descriptor = os.open(path, PLAIN)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    raise OSError(errno.EINVAL, "it is no regular file", str(path))


def open_nofollow(path: str, flags: int) -> int:
    """Open a path without following a link at its end; an `opener` for `open`."""
    return os.open(path, flags | NO_LINK)


def open_without_links(path: Path) -> BufferedReader:
    """Open a regular file whose path has no links in it; raise `OSError` if a folder was swapped for one just now.

    Where the system does not tell where an open file lies, the path is trusted.
    """
    file = open_regular_file(path)
    place = path_of_descriptor(file.fileno())
    if not place or is_same_path(place, str(path)):
        return file
    file.close()
    raise OSError(errno.ESTALE, "it was moved while it was opened", str(path))


def is_regular_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(os.lstat(path).st_mode)
    except (OSError, ValueError):
        return False


def is_video(path: Path) -> bool:
    """Tell whether a path itself, not a link there, is a video, as far as its outermost boxes tell."""
    try:
        with open_regular_file(path) as file:
            return is_regular_file(path) and is_chained(file, os.fstat(file.fileno()).st_size)
    except (OSError, ValueError):
        return False


def remove_leftovers(folder: Path, key: str) -> None:
    for leftover in folder.glob(f".{key}*.part"):
        remove_if_free(leftover)


def remove_if_free(part: Path) -> None:
    """Remove a file, except one that Windows keeps because somebody has it open, such as a virus scanner."""
    with suppress(PermissionError):
        part.unlink(missing_ok=True)


def remove_old_leftovers(folder: Path, before: float) -> None:
    """Remove the temporary files of all tasks that were last written `before` (POSIX seconds)."""
    for leftover in folder.glob(f".{'[0-9a-f-]' * 45}.part"):
        with suppress(OSError):
            if os.lstat(leftover).st_mtime < before:
                leftover.unlink()


@contextmanager
def temporary_file(part: Path) -> Generator[None]:
    try:
        yield
    finally:
        remove_if_free(part)


class PublishedFile(NamedTuple):
    """A file under its final name."""

    path: Path
    is_new: bool  # False where the same bytes lay there before


def publish(part: Path, target: Path) -> PublishedFile:
    """Give a complete file its name, never over another file; the same bytes under that name count as done.

    Raises `VideoUnusable` for what is no whole video.
    """
    with open_regular_file(part) as file:
        if flaw := find_flaw(file, os.fstat(file.fileno()).st_size):
            raise VideoUnusable(f"What lies at the finished video's address {flaw}.")
    for candidate in [target, *(target.with_stem(f"{target.stem}-{n}") for n in range(2, 100))]:
        try:
            rename_without_replacing(part, candidate)
        except FileExistsError:
            if same_bytes(part, candidate):
                return PublishedFile(candidate, is_new=False)
            continue
        sync_folder(candidate.parent)
        failpoints.reach("download.published")
        return PublishedFile(candidate, is_new=True)
    raise FileExistsError(errno.EEXIST, "a hundred files of that name exist", str(target))


def sync_folder(folder: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def same_bytes(one: Path, other: Path) -> bool:
    """Compare two files by content; nothing equals a missing file or a link."""
    if not is_regular_file(other) or one.stat().st_size != other.stat().st_size:
        return False
    with open_regular_file(one) as left, open_regular_file(other) as right:
        return hashlib.file_digest(left, "sha256").digest() == hashlib.file_digest(right, "sha256").digest()


def copy_saved_video(existing: Path, part: Path, target: Path) -> PublishedFile:
    with temporary_file(part):
        if same_bytes(existing, target):
            return PublishedFile(target, is_new=False)
        with open_regular_file(existing) as source, part.open("xb") as copy:
            check_free_space(target.parent, os.fstat(source.fileno()).st_size)
            shutil.copyfileobj(source, copy, 1 << 18)
            copy.flush()
            os.fsync(copy.fileno())
        return publish(part, target)


def find_saved_video(task: Task, folders: Sequence[Path]) -> Path | None:
    """Give the path without links of a task's saved video, if it lies in one of the folders."""
    path = Path(task.video_path) if task.video_path else None
    if path is None or not path.is_absolute() or is_on_other_machine(path, folders):
        return None
    real = real_path(path.parent) / path.name
    kept = any(is_visible_in(real, folder, hidden=False) for folder in folders) and is_video(real)
    return real if kept else None


def drop_missing_videos(tasks: list[Task], origin: str, folders: Sequence[Path]) -> list[Task]:
    """Give tasks without paths of missing videos, and without the wish for files that another RunAPI's server saves."""
    return [drop_missing_video(task, origin, folders) for task in tasks]


def drop_missing_video(task: Task, origin: str, folders: Sequence[Path]) -> Task:
    """Do that for one task: a missing video is not being saved, nor is one that another server saves.

    A path out of the folders counts as missing: the ledger, which names it, may have been written by others.
    """
    gone = bool(task.video_path) and find_saved_video(task, folders) is None
    return replace(task, video_path="", wants_file=False) if gone or awaits_other_server(task, origin) else task


def awaits_other_server(task: Task, origin: str) -> bool:
    """Tell whether a video is still to be saved by a server that uses another RunAPI than `origin`."""
    return task.needs_saving and task.origin != origin
