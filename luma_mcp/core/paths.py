"""Links resolved, and folders compared as the file system compares them."""

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
    """Tell whether two paths lead to the same folder; False where one cannot be looked at."""
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def real_path(path: Path) -> Path:
    """Resolve every link in a path; one in a circle, or that cannot be resolved, stays as it is."""
    return try_resolve(path) or path


def try_resolve(path: Path) -> Path | None:
    """Resolve every link in a path; None if it is changed meanwhile."""
    try:
        return Path(os.path.realpath(path))
    except ValueError:  # it cannot be encoded, in an old locale of Linux, so there is no such file
        return path
    except OSError:
        return None
