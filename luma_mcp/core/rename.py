"""Giving a complete file its name, never over another file."""

import os
import stat
import sys
from pathlib import Path


def rename_without_replacing(part: Path, target: Path) -> None:
    """Give `part` the name `target`; raise `FileExistsError` if a file has it.

    Windows renames like that by itself, on every file system. Elsewhere a hard link is refused where a file exists, and
    so is a reserved empty file where the file system has no links. The name `part` may remain, and a process that is
    killed then leaves the name reserved.
    """
    if sys.platform == "win32":
        part.rename(target)
    else:
        link_without_replacing(part, target)


def link_without_replacing(part: Path, target: Path) -> None:
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        target.touch(exist_ok=False)
        part.replace(target)


def is_empty_file(path: Path) -> bool:
    """Tell whether an empty file lies at a path: it reserves a name, perhaps for a process that was killed."""
    try:
        found = os.lstat(path)
    except OSError:
        return False
    return stat.S_ISREG(found.st_mode) and not found.st_size
