"""The video files of tasks on this machine, for whoever shows them: saved results, and the clips they were made of."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import anyio.to_thread

from luma_mcp.app.save import check_completed
from luma_mcp.core.errors import InvalidRequest, SourceNotFound
from luma_mcp.core.models import Clock, Task
from luma_mcp.media.files import find_saved_video, open_without_links
from luma_mcp.media.uploads import Uploads

WhichVideo = Literal["result", "source"]
MIME_TYPES = {".mov": "video/quicktime", ".qt": "video/quicktime"}
SAVE_HINT = "Call save_video with its task_id first, or look at the link in video_urls."
GONE_HINT = "It was paid for and is gone: its link has expired, and there is no saved file where this server looks."


class VideoFile(NamedTuple):
    """A video on this machine that its caller may look at."""

    path: Path
    size: int  # bytes
    mime_type: str

    def open(self) -> BufferedReader:
        """Open the file; raise `OSError` if a link, or another folder, was put in its place meanwhile."""
        return open_without_links(self.path)


@dataclass(frozen=True, slots=True)
class VideoFinder:
    """Finds the files of a task's videos; never a path that the ledger alone names."""

    uploads: Uploads
    saved_folders: Sequence[Path]
    now: Clock

    async def find(self, task: Task, which: str) -> VideoFile:
        """Give the saved result of a task, or the local clip that it was made of.

        Raises `InvalidRequest` for an unfinished task, and a `Source…` error where there is no file.
        """
        if which not in get_args(WhichVideo):
            raise InvalidRequest(f"which must be {' or '.join(get_args(WhichVideo))}.")
        path = await (self._result(task) if which == "result" else self.uploads.find_source_file(task))
        return await anyio.to_thread.run_sync(describe_file, path, abandon_on_cancel=True)

    async def _result(self, task: Task) -> Path:
        check_completed(task)
        path = await anyio.to_thread.run_sync(find_saved_video, task, self.saved_folders, abandon_on_cancel=True)
        if path is None:
            hint = GONE_HINT if task.is_lost(self.now()) else SAVE_HINT
            raise SourceNotFound(f"There is no saved file of task {task.task_id} on this machine.", hint=hint)
        return path


def describe_file(path: Path) -> VideoFile:
    """Tell size and type of a file; raise `SourceNotFound` if it cannot be opened."""
    try:
        with open_without_links(path) as file:
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise SourceNotFound(f"The file {path.name} cannot be read: {error.strerror}.") from error
    return VideoFile(path, size, MIME_TYPES.get(path.suffix.lower(), "video/mp4"))


def read_piece(video: VideoFile, offset: int, length: int) -> bytes:
    """Give `length` bytes from `offset`, fewer at the end; raise `SourceNotFound` if the file has changed since."""
    try:
        with video.open() as file:
            if os.fstat(file.fileno()).st_size != video.size:
                raise SourceNotFound(f"The file {video.path.name} has changed.", hint="Begin again at offset 0.")
            file.seek(offset)
            return file.read(length)
    except OSError as error:
        raise SourceNotFound(f"The file {video.path.name} cannot be read: {error.strerror}.") from error
