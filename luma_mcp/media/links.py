"""Links to finished videos: whether one answers, and what RunAPI names now in place of one that does not."""

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import cast

import anyio
import httpx

from luma_mcp.core.errors import LumaError
from luma_mcp.core.models import Clock, Status, Task
from luma_mcp.core.storage_errors import DownloadFailed, LinkRefused, NoVideoThere
from luma_mcp.ledger.ledger import Ledger
from luma_mcp.media.fetching import PART, WHOLE, is_packed, no_video
from luma_mcp.media.mp4 import HEAD_BYTES, looks_like_video
from luma_mcp.runapi.client import RunAPI

ANSWER_SECONDS = 10.0
MOST_BYTES = 1 << 16
TIMEOUT = httpx.Timeout(ANSWER_SECONDS)


async def renewed(runapi: RunAPI, task: Task, now: float) -> Task:
    """Ask RunAPI for a finished task again, and give it with the links that it has now; as it was if nobody says."""
    try:
        reading = await runapi.read(task.task_id)
    except LumaError:
        return task
    if reading.status is not Status.COMPLETED or reading.video_urls in ((), task.video_urls):
        return task
    return replace(task, video_urls=reading.video_urls, updated_at=now)


@dataclass(frozen=True, slots=True)
class Links:
    """Finds links that can be handed on."""

    ledger: Ledger
    runapi: RunAPI
    now: Clock

    async def that_answers(self, known: Task, *, alone: bool) -> str:
        """Give the link to a finished task's video, after asking RunAPI anew where the known one does not answer.

        Raises `DownloadFailed`; where the link is the only (`alone`) place of the video, the task tells of a refusal.
        """
        task = known
        try:
            try:
                await self._try(task.video_urls[0])
            except DownloadFailed:
                task = await renewed(self.runapi, known, self.now())
                if task is known:
                    raise
                await self._try(task.video_urls[0])
        except DownloadFailed as failure:
            refused = alone and isinstance(failure, LinkRefused)
            await self._keep(known, task.troubled(failure.failure(), self.now()) if refused else task)
            raise
        await self._keep(known, task if task.awaits_file else replace(task, error=None))
        return task.video_urls[0]

    async def _keep(self, before: Task, after: Task) -> None:
        if after != before:
            await self.ledger.relink(after)

    async def _try(self, link: str) -> None:
        """See whether a link answers with the beginning of a video, in time; raise `DownloadFailed`."""
        try:
            with anyio.move_on_after(ANSWER_SECONDS):
                return await self._see(httpx.URL(link))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise DownloadFailed("The link to the finished video does not answer.") from error
        raise DownloadFailed(f"The link to the finished video did not answer in {ANSWER_SECONDS:.0f} seconds.")

    async def _see(self, url: httpx.URL) -> None:
        storage, headers = self.runapi.connection.storage, {"Range": f"bytes=0-{HEAD_BYTES - 1}"}
        async with self.runapi.network.get(storage, url, headers, TIMEOUT) as response:
            if response.status_code not in (WHOLE, PART):
                raise no_video(response.status_code)
            if not is_packed(response) and not looks_like_video(await beginning(response)):
                raise NoVideoThere("What the link to the finished video leads to is no video.")


async def beginning(response: httpx.Response) -> bytes:
    """Read the first bytes of an answer; one that has little more is read to its end."""
    first, read = b"", 0
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            first, read = (first + piece)[:HEAD_BYTES], read + len(piece)
            if read > MOST_BYTES:
                break
    return first
