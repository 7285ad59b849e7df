"""Finished videos onto the disk: fetched to a temporary name, published when complete, never over another file."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx

from luma_mcp.core.errors import ProxyUnusable
from luma_mcp.core.filenames import readable_name
from luma_mcp.core.models import Task
from luma_mcp.core.storage_errors import DownloadFailed, OutputNotWritable, VideoNotWritten
from luma_mcp.core.text import safe_text
from luma_mcp.media.fetching import LONGEST_SECONDS, Arriving
from luma_mcp.media.files import (
    Published,
    check_writable,
    copy_published,
    new_part,
    publish,
    remove_leftovers,
    remove_old_leftovers,
    temporary,
)
from luma_mcp.media.transfers import Transfers
from luma_mcp.media.turns import Turns
from luma_mcp.runapi.connection import Connection
from luma_mcp.runapi.ssrf import PublicNetwork

AT_ONCE = 4
TURN_SECONDS = 60.0
COPY_AGAIN = "Make the output folder writable and room on its disk, then call save_video again."


class Downloads:
    """Saves finished videos into the output folder. Carries no key and no cookies."""

    def __init__(
        self, connection: Connection, folder: Path, transfers: Transfers, *, trusted: str, allow_private: bool
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._transfers = transfers
        self._network = PublicNetwork(trusted=trusted, allow_private=allow_private)
        self._turns = Turns(AT_ONCE, TURN_SECONDS)

    async def save(self, task: Task) -> Published:
        """Download a completed task's video, in turns if others wait, and tell where it lies.

        Raises `DownloadFailed` or `VideoNotWritten`, both of which say that the video was paid for.
        """
        target = self._folder / (task.file_name or readable_name(task, self._folder))
        part = self._part(task)
        with told_as_paid(target):
            self._connection.check(task.video_urls[0])
            with temporary(part), self._transfers.moving(task.key) as moved:
                arriving = Arriving(self._connection.storage, self._network, task.video_urls[0], part, moved)
                earlier = 0
                while True:
                    async with self._turns.turn(earlier) as turn:
                        if not earlier:
                            await self._make_ready(task)
                        if await arriving.have_turn(turn):
                            return await anyio.to_thread.run_sync(publish, part, target, abandon_on_cancel=True)
                    earlier += 1

    async def copy(self, task: Task, name: str) -> Published:
        """Copy a task's saved video under another name, and tell where that lies; raise like `save`."""
        target = self._folder / name
        with told_as_paid(target, COPY_AGAIN):
            existing = Path(task.video_path)
            await anyio.to_thread.run_sync(check_writable, self._folder, abandon_on_cancel=True)
            part = self._part(task)
            return await anyio.to_thread.run_sync(copy_published, existing, part, target, abandon_on_cancel=True)

    async def tidy(self) -> None:
        """Remove what was left behind longer ago than anything takes."""
        before = time.time() - 2 * LONGEST_SECONDS
        await anyio.to_thread.run_sync(remove_old_leftovers, self._folder, before, abandon_on_cancel=True)

    def _part(self, task: Task) -> Path:
        return new_part(self._folder, task.key)

    async def _make_ready(self, task: Task) -> None:
        await anyio.to_thread.run_sync(check_writable, self._folder, abandon_on_cancel=True)
        await anyio.to_thread.run_sync(remove_leftovers, self._folder, task.key, abandon_on_cancel=True)


@contextmanager
def told_as_paid(target: Path, hint: str = "") -> Generator[None]:
    """Say of whatever goes wrong that the video exists and was paid for."""
    try:
        yield
    except httpx.HTTPError as error:
        detail = safe_text(str(error)) or type(error).__name__
        raise DownloadFailed(f"The finished video could not be downloaded: {detail}.") from error
    except ProxyUnusable as error:
        raise DownloadFailed(error.message, hint=error.hint) from error
    except httpx.InvalidURL as error:
        raise DownloadFailed("The finished video's address is not a URL.") from error
    except OutputNotWritable as error:
        raise VideoNotWritten(error.message, hint=hint) from error
    except OSError as error:
        raise VideoNotWritten(f"{target} cannot be written: {error.strerror}.", hint=hint) from error
