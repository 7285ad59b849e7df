"""Saving finished videos because somebody asks: those that are not on disk, or no longer, or under another name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp.app.losses import as_it_stands
from luma_mcp.core.errors import InvalidRequest
from luma_mcp.core.models import Clock, Status, Task
from luma_mcp.core.settings import Settings
from luma_mcp.core.storage_errors import DownloadFailed, OutputNotWritable
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.files import check_writable
from luma_mcp.media.kept_files import as_they_lie
from luma_mcp.media.links import renewed
from luma_mcp.runapi.client import RunAPI

LOOK_SECONDS = 2.0
FOLDER_SECONDS = 10.0
UNFINISHED = "Wait for its end with get_task, then call save_video again."
COPYING = "Call save_video again in a moment."


@dataclass(frozen=True, slots=True)
class Saving:
    """Has videos saved on request."""

    settings: Settings
    ledger: Ledger
    downloads: Downloads
    runapi: RunAPI
    now: Clock
    kept_in: Sequence[Path]

    async def begin(self, task: Task, name: str) -> None:
        """See to it that a task's video is on disk or on its way there, under a name if it is not there yet.

        Raises `InvalidRequest` or `OutputNotWritable` if that cannot be; what is lost stays so.
        """
        check_completed(task)
        if not task.video_urls:
            task = await self._ask_again(task)
        standing = await self.as_it_is(task)
        if standing.video_path or standing.is_lost(self.now()):
            return
        await self._check_folder()
        if task.origin != self.runapi.origin:
            raise InvalidRequest(
                f"Task {task.task_id} was made at {task.origin}, which this server does not use.",
                hint="Call save_video in the host whose server does, or download the video from video_urls.",
            )
        await self.ledger.want_file(task, name, self.now())

    async def _ask_again(self, task: Task) -> Task:
        """Ask RunAPI once more for a video that it never named."""
        found = await renewed(self.runapi, task, self.now())
        if found.video_urls:
            found = replace(found, error=None)
            await self.ledger.relink(found)
        return found

    async def _check_folder(self) -> None:
        folder = self.settings.output_dir
        with anyio.move_on_after(FOLDER_SECONDS):
            return await anyio.to_thread.run_sync(check_writable, folder, abandon_on_cancel=True)
        raise OutputNotWritable(f"The output folder {folder} did not answer in {FOLDER_SECONDS:.0f} seconds.")

    async def under_name(self, task: Task, name: str, seconds: float) -> Task:
        """Copy a saved video under another name if it has another; callers from elsewhere get one file a task.

        The ledger keeps the first path: a copy may come and go.
        """
        if not (name and task.video_path) or Path(task.video_path).name == name or self.settings.callers:
            return task
        with anyio.move_on_after(seconds):
            copied = await self.downloads.copy(task, name)
            if copied.is_new:
                await self.ledger.take_path(str(copied.path), task.key)
            return replace(task, video_path=str(copied.path))
        raise DownloadFailed("The saved video is still being copied.", hint=COPYING)

    async def as_it_is(self, task: Task) -> Task:
        """Give a task with the path where its video lies now, none if it was moved or deleted, and what that means."""
        return (await self.as_they_are([task]))[0]

    async def as_they_are(self, tasks: list[Task]) -> list[Task]:
        """Give tasks with the paths where their videos lie now; a slow disk is no missing file."""
        with anyio.move_on_after(LOOK_SECONDS):
            look = partial(as_they_lie, tasks, self.runapi.origin, self.kept_in)
            tasks = await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
        account = (self.runapi.origin, self.runapi.key_id)
        return [as_it_stands(task, self.now(), account) for task in tasks]


def check_completed(task: Task) -> None:
    """Raise `InvalidRequest` for a task that has no video."""
    if task.status is Status.FAILED:
        hint = task.error.hint if task.error else ""
        raise InvalidRequest(f"Task {task.task_id} has failed, so there is no video.", hint=hint)
    if task.status is not Status.COMPLETED:
        raise InvalidRequest(f"Task {task.task_id} is still {task.status}.", hint=UNFINISHED)
