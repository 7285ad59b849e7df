"""Links to finished videos: whether one answers, and what RunAPI names now in place of one that does not."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import cast

import anyio
import httpx

from luma_mcp.core.errors import DownloadFailed, LinkRefused, LumaError, VideoUnusable
from luma_mcp.core.models import Clock, Status, Task
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.downloads import error_for_status, is_packed
from luma_mcp.media.mp4 import HEAD_BYTES, looks_like_video
from luma_mcp.runapi.client import RunAPI

LINK_TIMEOUT_SECONDS = 10.0
MAX_HEAD_ANSWER_BYTES = 1 << 16
LINK_TIMEOUT = httpx.Timeout(LINK_TIMEOUT_SECONDS)


async def refresh_links(runapi: RunAPI, task: Task, now: float) -> Task:
    """Ask RunAPI for a finished task again; give it with its present links, or unchanged if RunAPI names none."""
    try:
        reading = await runapi.read_task(task.task_id)
    except LumaError:
        return task
    if reading.status is not Status.COMPLETED or reading.video_urls in ((), task.video_urls):
        return task
    return replace(task, video_urls=reading.video_urls, updated_at=now)


@dataclass(frozen=True, slots=True)
class Links:
    """Finds links to finished videos that still work."""

    ledger: Ledger
    runapi: RunAPI
    now: Clock

    async def find_working_link(self, known: Task, *, alone: bool) -> str:
        """Give the link to a finished task's video; ask RunAPI for a new one where the known one does not work.

        Raises `DownloadFailed`. Where the link is the only place of the video (`alone`), the ledger notes a refusal.
        """
        task = known
        try:
            try:
                await self._try(task.video_urls[0])
            except DownloadFailed:
                task = await refresh_links(self.runapi, known, self.now())
                if task is known:
                    raise
                await self._try(task.video_urls[0])
        except DownloadFailed as failure:
            refused = alone and isinstance(failure, LinkRefused)
            await self._keep(known, task.troubled(failure.failure(), self.now()) if refused else task)
            raise
        await self._keep(known, task if task.needs_saving else replace(task, error=None))
        return task.video_urls[0]

    async def _keep(self, before: Task, after: Task) -> None:
        if after != before:
            await self.ledger.update_video_urls(after)

    async def _try(self, link: str) -> None:
        try:
            with anyio.move_on_after(LINK_TIMEOUT_SECONDS):
                return await self._see(httpx.URL(link))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadFailed("The link to the finished video does not answer.") from error
        raise DownloadFailed(f"The link to the finished video did not answer in {LINK_TIMEOUT_SECONDS:.0f} seconds.")

    async def _see(self, url: httpx.URL) -> None:
        storage, headers = self.runapi.connection.storage, {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
        async with self.runapi.download_guard.get(storage, url, headers, LINK_TIMEOUT) as response:
            if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
                raise error_for_status(response.status_code)
            if not is_packed(response) and not looks_like_video(await beginning(response)):
                raise VideoUnusable("What the link to the finished video leads to is no video.")


async def beginning(response: httpx.Response) -> bytes:
    """Read the first bytes of a response, and a short response to its end."""
    first, read = b"", 0
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            first, read = (first + piece)[:HEAD_BYTES], read + len(piece)
            if read > MAX_HEAD_ANSWER_BYTES:
                break
    return first
