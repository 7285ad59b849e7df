"""Where paths lead: links resolved, folders compared as the file system compares them."""

import os
from pathlib import Path


def is_inside(path: Path, folder: Path) -> bool:
    """Tell whether a path without links lies in a folder.

    The file system is asked too: on macOS, names that differ in case or in how accents are written are the same.
    """
    return path.is_relative_to(folder) or any(is_same_folder(parent, folder) for parent in path.parents)


def hidden_parts(path: Path, folder: Path) -> list[str]:
    """List the names below a folder, on the way to a path in it, that are hidden on Unix: `.name`."""
    above = next(parent for parent in (path, *path.parents) if parent == folder or is_same_folder(parent, folder))
    return [part for part in path.relative_to(above).parts if part.startswith(".")]


def is_same_folder(one: Path, other: Path) -> bool:
    """Tell whether two names of folders stand for one."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path:
    """Resolve every link in a path; one that leads in a circle, or cannot be resolved, stays as it is."""
    return resolved(path) or path


def resolved(path: Path) -> Path | None:
    """Resolve every link in a path; None if somebody changes it meanwhile. A path that cannot be written is no file."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # in an old locale of Linux
        return path
    except OSError:
        return None
