"""Small files that have a say in what this program does: read whole, never waited for, and bounded."""

import errno
import os
import stat
import sys
from pathlib import Path

MAX_SMALL_FILE_BYTES = 1 << 18
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_TOUCH = stat.S_IRWXG | stat.S_IRWXO
NONBLOCKING_READ = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_small(path: Path, *, refused_bits: int = 0) -> bytes:
    """Read a regular file of at most `MAX_SMALL_FILE_BYTES`, behind whatever links lead to it; raise `OSError`.

    With `refused_bits` it must belong to this user or to root, and must grant none of these permissions. Windows knows
    no such bits: a user's folder is closed to others there.
    """
    descriptor = os.open(path, NONBLOCKING_READ)  # which does not wait for whoever writes to a pipe
    try:
        check_file(os.fstat(descriptor), refused_bits)
    except OSError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(MAX_SMALL_FILE_BYTES + 1)
    if len(content) > MAX_SMALL_FILE_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {MAX_SMALL_FILE_BYTES >> 10} KiB")
    return content


def check_file(found: os.stat_result, refused_bits: int) -> None:
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if refused_bits and is_owned_by_other(found):
        raise OSError(errno.EPERM, "it belongs to another user")
    if sys.platform != "win32" and found.st_mode & refused_bits:
        raise OSError(errno.EPERM, f"other users may {'write' if refused_bits == OTHERS_WRITE else 'open'} it")


def is_owned_by_other(found: os.stat_result) -> bool:
    """Tell whether something belongs to neither this user nor root; on Windows, profiles are closed to others."""
    return sys.platform != "win32" and found.st_uid not in (os.geteuid(), 0)
