"""Where the saved videos of tasks lie now: people move, delete and replace files."""

from dataclasses import replace
from pathlib import Path

from luma_mcp.models import Task
from luma_mcp.saved_files import is_video


def kept_at(task: Task) -> Path | None:
    """Find the saved video of a task, if it is where it was saved."""
    path = Path(task.video_path) if task.video_path else None
    return path if path and is_video(path) else None


def as_they_lie(tasks: list[Task], origin: str) -> list[Task]:
    """Give tasks without the paths of videos that are gone, and without the hope for those of another RunAPI."""
    return [as_it_lies(task, origin) for task in tasks]


def as_it_lies(task: Task, origin: str) -> Task:
    """Tell of a task what is there: a video that is gone is not being saved, nor is one that another server saves."""
    gone = bool(task.video_path) and kept_at(task) is None
    return replace(task, video_path="", wants_file=False) if gone or is_foreign(task, origin) else task


def is_foreign(task: Task, origin: str) -> bool:
    """Tell whether a video is still to be saved by a server that uses another RunAPI than `origin`."""
    return task.awaits_file and task.origin != origin
