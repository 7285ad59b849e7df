"""Saving finished videos on request: those not on disk, or no longer there, or under another name."""

import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp.app.losses import with_current_error
from luma_mcp.core.errors import DownloadFailed, InvalidRequest, OutputNotWritable
from luma_mcp.core.models import SANDBOX_ORIGIN, Clock, Status, Task
from luma_mcp.core.settings import Settings
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import Downloads
from luma_mcp.media.files import check_writable, drop_missing_videos
from luma_mcp.media.links import refresh_links
from luma_mcp.runapi.client import RunAPI

DISK_TIMEOUT_SECONDS = 2.0
FOLDER_SECONDS = 10.0
PREVIEW_SECONDS = 35.0  # here, because what makes previews is imported only when one is asked for
UNFINISHED = "Wait for its end with get_task, then call save_video again."
COPYING = "Call save_video again in a moment."


@dataclass(frozen=True, slots=True)
class VideoSaver:
    """Has videos saved on request, and finds where saved ones are."""

    settings: Settings
    ledger: Ledger
    downloads: Downloads
    runapi: RunAPI
    now: Clock
    saved_folders: Sequence[Path]

    async def request_save(self, task: Task, name: str) -> None:
        """Have a task's video saved by its follower, under `name` if it is not on disk yet; do nothing for a lost one.

        Raises `InvalidRequest` or `OutputNotWritable`.
        """
        check_completed(task)
        if not task.video_urls:
            task = await self._ask_again(task)
        standing = await self.current_task(task)
        if standing.video_path or standing.is_lost(self.now()):
            return
        await self._check_folder()
        if task.origin != self.runapi.origin:
            raise InvalidRequest(
                f"Task {task.task_id} was made at {task.origin}, which this server does not use.",
                hint="Call save_video in the host whose server does, or download the video from video_urls.",
            )
        await self.ledger.request_save(task, name, self.now())

    async def _ask_again(self, task: Task) -> Task:
        """Ask RunAPI once more for the links of a task that it completed without naming its video."""
        found = await refresh_links(self.runapi, task, self.now())
        if found.video_urls:
            found = replace(found, error=None)
            await self.ledger.update_video_urls(found)
        return found

    async def _check_folder(self) -> None:
        folder = self.settings.output_dir
        with anyio.move_on_after(FOLDER_SECONDS):
            return await anyio.to_thread.run_sync(check_writable, folder, abandon_on_cancel=True)
        raise OutputNotWritable(f"The output folder {folder} did not answer in {FOLDER_SECONDS:.0f} seconds.")

    async def copy_under_name(self, task: Task, name: str, seconds: float) -> Task:
        """Copy a saved video under another name; callers over HTTP get one file for each task, and no copies.

        Raises `DownloadFailed` after `seconds`.
        """
        shared = self.settings.serves_http and self.settings.names_callers
        if not (name and task.video_path) or Path(task.video_path).name == name or shared:
            return task
        with anyio.move_on_after(seconds):
            return await self.copy_into(task, self.settings.output_dir, name)
        raise DownloadFailed("The saved video is still being copied.", hint=COPYING)

    async def copy_into(self, task: Task, folder: Path, name: str) -> Task:
        """Copy a saved video into a folder, and give the task with that path: the ledger keeps the first.

        A copy may come and go. Raises `VideoNotWritten`.
        """
        copied = await self.downloads.copy(task, folder, name)
        if copied.is_new:
            await self.ledger.clear_path_elsewhere(str(copied.path), task.key)
        return replace(task, video_path=str(copied.path))

    async def current_task(self, task: Task) -> Task:
        """Give a task as of now: without its path if the file is gone, and with the error that holds now."""
        return (await self.current_tasks([task]))[0]

    async def current_tasks(self, tasks: list[Task]) -> list[Task]:
        """Do the same for several; paths stay as they are if the disk does not answer within seconds."""
        look = partial(drop_missing_videos, tasks, self.runapi.origin, self.saved_folders)
        if any(task.video_path for task in tasks):
            with anyio.move_on_after(DISK_TIMEOUT_SECONDS):
                tasks = await anyio.to_thread.run_sync(look, abandon_on_cancel=True)
        else:  # without a path no disk is asked
            tasks = look()
        return [with_current_error(task, self.now(), self.runapi.account) for task in tasks]

    async def is_own_clip(self, task: Task) -> bool:
        """Tell whether a saved result is the clip itself, which the sandbox gives back where it cannot change it."""
        if task.origin != SANDBOX_ORIGIN or not task.video_path or task.source_bytes is None:
            return False
        with anyio.move_on_after(DISK_TIMEOUT_SECONDS), suppress(OSError):
            found = await anyio.to_thread.run_sync(os.stat, task.video_path, abandon_on_cancel=True)
            return found.st_size == task.source_bytes
        return False


def check_completed(task: Task, unfinished_hint: str = UNFINISHED) -> None:
    """Raise `InvalidRequest` for a task that has no video, or none yet."""
    if task.status is Status.FAILED:
        hint = task.error.hint if task.error else ""
        raise InvalidRequest(f"Task {task.task_id} has failed, so there is no video.", hint=hint)
    if task.status is not Status.COMPLETED:
        raise InvalidRequest(f"Task {task.task_id} is still {task.status}.", hint=unfinished_hint)
