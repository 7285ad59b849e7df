"""Source clips to RunAPI: allowed files are checked and uploaded in pieces, earlier outputs reused (contract 5.1)."""

import base64
import hashlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp import crash_points
from luma_mcp.errors import SourceNotAllowed, SourceNotFound
from luma_mcp.ledger import Ledger
from luma_mcp.models import Clock, Status, Task
from luma_mcp.runapi import RunAPI
from luma_mcp.sources import (
    NO_FILES_HINT,
    LocalFile,
    PublicUrl,
    TaskOutput,
    allowed_file,
    looks_like_video,
    parse_source,
)

PIECE_BYTES = 1 << 18
NOT_HERE = "source_video_url: there is no such file in the folders that this server may read."


@dataclass(frozen=True, slots=True)
class Clip:
    """A local video that is fit to be uploaded: its size in bytes and its MD5 in base64 (contract 5.1)."""

    path: Path
    size: int
    md5: str

    @property
    def digest(self) -> str:
        """Name the content, whatever the file is called."""
        return f"md5:{self.md5}:{self.size}"

    async def pieces(self) -> AsyncIterator[bytes]:
        """Read the file piece by piece."""
        async with await anyio.open_file(self.path, "rb") as file:
            while piece := await file.read(PIECE_BYTES):
                yield piece


async def inspect_clip(path: Path) -> Clip:
    """Check by the first bytes that a file is MP4 or MOV, and measure it; raise `SourceNotFound` if it is not."""
    return await anyio.to_thread.run_sync(measure, path, abandon_on_cancel=True)


def measure(path: Path) -> Clip:
    """Do the reading for `inspect_clip`, in a thread."""
    try:
        with path.open("rb") as file:
            if not looks_like_video(file.read(12)):
                raise SourceNotFound(
                    f"{path} is not an MP4 or MOV video.", hint="Luma takes MP4 and MOV; convert the clip."
                )
            file.seek(0)
            digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
            size = file.tell()
    except OSError as error:
        raise SourceNotFound(f"{path} cannot be read: {error.strerror}.") from error
    return Clip(path, size, base64.b64encode(digest.digest()).decode())


class Uploads:
    """Turns what a caller named as source into something that RunAPI can fetch."""

    def __init__(
        self, ledger: Ledger, runapi: RunAPI, roots: Sequence[Path], now: Clock, *, discreet: bool = False
    ) -> None:
        self._ledger = ledger
        self._runapi = runapi
        self._roots = roots
        self._discreet = discreet
        self._now = now

    async def check(self, source: str, caller: str) -> str:
        """Check a source before money is spent, and name its content; raise a `Source…` error or `InvalidRequest`."""
        match parse_source(source):
            case PublicUrl(url):
                return url
            case LocalFile(path):
                return (await inspect_clip(self._allowed(path))).digest
            case TaskOutput(task_id):
                await self._output_of(task_id, caller)
                return source

    async def url(self, task: Task) -> str:
        """Give the URL of a checked source, uploading it if it is a file on this machine."""
        match parse_source(task.request.source):
            case PublicUrl(url):
                return url
            case LocalFile(path):
                return await self._upload(self._allowed(path))
            case TaskOutput(task_id):
                output = await self._output_of(task_id, task.caller)
                return output if isinstance(output, str) else await self._upload(output)

    def _allowed(self, path: Path) -> Path:
        """Find an allowed file; callers from other machines do not learn what else there is on this one."""
        try:
            return allowed_file(path, self._roots)
        except (SourceNotAllowed, SourceNotFound):
            if self._discreet and self._roots:
                raise SourceNotAllowed(NOT_HERE, hint=NO_FILES_HINT) from None
            raise

    async def _output_of(self, task_id: str, caller: str) -> str | Path:
        earlier = await self._ledger.find(caller, task_id)
        if earlier and not earlier.status.done:
            hint = "Wait for its end with get_task, then call modify_video again."
            raise SourceNotFound(f"source_video_url: task {task_id} is still {earlier.status}.", hint=hint)
        if earlier and earlier.status is not Status.COMPLETED:
            hint = "Continue from another task, or from the clip that this one was made of."
            raise SourceNotFound(f"source_video_url: task {task_id} has failed, so it has no result.", hint=hint)
        if earlier is None:
            raise SourceNotFound(f"source_video_url: there is no finished task {task_id[:80]!r} to continue from.")
        if earlier.video_urls and (earlier.expires_at or 0) > self._now():
            return earlier.video_urls[0]
        if earlier.video_path and await anyio.Path(earlier.video_path).is_file():
            return Path(earlier.video_path)
        raise SourceNotFound(f"source_video_url: the output of task {task_id} has expired and its saved file is gone.")

    async def _upload(self, path: Path) -> str:
        clip = await inspect_clip(path)
        target = await self._runapi.prepare_upload(path.name, clip.size, clip.md5)
        crash_points.reach("upload.prepared")
        try:
            await self._runapi.put_upload(target, clip.size, clip.pieces())
        except OSError as error:
            raise SourceNotFound(f"{path} cannot be read: {error.strerror}.") from error
        crash_points.reach("upload.sent")
        url = await self._runapi.confirm_upload(target)
        crash_points.reach("upload.confirmed")
        return url
