"""Giving a complete file its name, never over another file."""

from pathlib import Path


def rename_without_replacing(part: Path, target: Path) -> None:
    """Give `part` the name `target`; raise `FileExistsError` if a file has it.

    A hard link is refused where a file exists, and so is a reserved empty file where the file system has no links. The
    name `part` may remain.
    """
    try:
        target.hardlink_to(part)
    except FileExistsError:
        raise
    except OSError:
        target.touch(exist_ok=False)
        part.replace(target)
