"""Where the saved videos of tasks lie now: people move, delete and replace files."""

from dataclasses import replace
from pathlib import Path

from luma_mcp.file_names import readable_name
from luma_mcp.models import Task
from luma_mcp.saved_files import is_video


def kept_at(task: Task, folder: Path) -> Path | None:
    """Find the video of a task where it was saved last, or in the output folder under the name it gets by itself."""
    if not task.video_path:
        return None
    places = (Path(task.video_path), folder / readable_name(task))
    return next((path for path in places if is_video(path)), None)


def as_they_lie(tasks: list[Task], folder: Path) -> list[Task]:
    """Give tasks with the paths where their videos are; one whose file is gone has none, and is not being saved."""
    return [as_it_lies(task, folder) for task in tasks]


def as_it_lies(task: Task, folder: Path) -> Task:
    """Give a task with the path where its video is."""
    if not task.video_path:
        return task
    path = kept_at(task, folder)
    return replace(task, video_path=str(path)) if path else replace(task, video_path="", wants_file=False)
