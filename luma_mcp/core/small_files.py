"""Small files that have a say in what this program does: read whole, never waited for, and bounded."""

import errno
import os
import stat
import sys
from pathlib import Path

LARGEST_BYTES = 1 << 18
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH
OTHERS_TOUCH = stat.S_IRWXG | stat.S_IRWXO
UNWAITING = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


def read_small(path: Path, *, refused_bits: int = 0) -> bytes:
    """Read a regular file of at most `LARGEST_BYTES`, behind whatever links lead to it; raise `OSError`.

    With `refused_bits` it must belong to this user or to root, and must grant none of these permissions; Windows, where
    the folder of a user is closed to others, knows no such bits.
    """
    descriptor = os.open(path, UNWAITING)  # which does not wait for whoever writes to a pipe
    try:
        check(os.fstat(descriptor), refused_bits)
    except OSError:
        os.close(descriptor)
        raise
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(LARGEST_BYTES + 1)
    if len(content) > LARGEST_BYTES:
        raise OSError(errno.EFBIG, f"it is larger than {LARGEST_BYTES >> 10} KiB")
    return content


def check(found: os.stat_result, refused_bits: int) -> None:
    """Raise `OSError` for what is no regular file, or what others than this user and root can have made."""
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is no regular file")
    if sys.platform != "win32" and refused_bits:
        if found.st_uid not in {0, os.geteuid()}:
            raise OSError(errno.EPERM, "it belongs to another user")
        if found.st_mode & refused_bits:
            raise OSError(errno.EPERM, f"other users may {'write' if refused_bits == OTHERS_WRITE else 'open'} it")
