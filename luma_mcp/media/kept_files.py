"""Where the saved videos of tasks lie now: people move, delete and replace files."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from luma_mcp.core.models import Task
from luma_mcp.core.paths import real_path
from luma_mcp.media.files import is_video
from luma_mcp.media.sources import is_elsewhere, is_open


def kept_at(task: Task, folders: Sequence[Path]) -> Path | None:
    """Find the saved video of a task, by a path without links, if it lies in one of the folders where it may."""
    path = Path(task.video_path) if task.video_path else None
    if path is None or not path.is_absolute() or is_elsewhere(path, folders):
        return None
    real = real_path(path.parent) / path.name
    kept = any(is_open(real, folder, hidden=False) for folder in folders) and is_video(real)
    return real if kept else None


def as_they_lie(tasks: list[Task], origin: str, folders: Sequence[Path]) -> list[Task]:
    """Give tasks without the paths of videos that are gone, and without the hope for those of another RunAPI."""
    return [as_it_lies(task, origin, folders) for task in tasks]


def as_it_lies(task: Task, origin: str, folders: Sequence[Path]) -> Task:
    """Tell of a task what is there: a video that is gone is not being saved, nor is one that another server saves.

    A path that leads out of the folders is nobody's video: the ledger, which names it, may have been written by others.
    """
    gone = bool(task.video_path) and kept_at(task, folders) is None
    return replace(task, video_path="", wants_file=False) if gone or is_foreign(task, origin) else task


def is_foreign(task: Task, origin: str) -> bool:
    """Tell whether a video is still to be saved by a server that uses another RunAPI than `origin`."""
    return task.awaits_file and task.origin != origin
