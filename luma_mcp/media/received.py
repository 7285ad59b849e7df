"""Clips that callers elsewhere send to this server: here only until RunAPI has them."""

from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread

from luma_mcp.core.errors import DataNotWritable, SourceNotFound
from luma_mcp.media.clips import MAX_CLIP_BYTES
from luma_mcp.media.incoming import Rule, private_file, remove_left_behind, write_video

RECEIVE_SECONDS = 3600.0
LEFTOVER_SECONDS = 3 * RECEIVE_SECONDS
FILE_NAME = "upload.mp4"
RULE = Rule(
    "What was sent",
    MAX_CLIP_BYTES,
    smaller_hint="Send a shorter or smaller clip.",
    kind_hint="Luma takes MP4 and MOV: send one of these, or convert the clip.",
)


class SentTooSlowly(SourceNotFound):
    """A clip did not arrive in `RECEIVE_SECONDS`."""

    hint = "Send a smaller clip, or send it over a faster connection."


class ReceivedClips:
    """Writes each clip into a folder of its own, for as long as it is needed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def received(self, pieces: AsyncIterable[bytes], size: int | None) -> AsyncGenerator[Path]:
        """Give the file of a clip of `size` bytes, if that is known, once it is here whole; it is removed afterwards.

        Raises `SourceNotFound` for what is too large, too slow or no video, `OutputNotWritable`, and what `pieces`
        raises.
        """
        async with private_file(self._folder, FILE_NAME, LEFTOVER_SECONDS) as path:
            await self._write(pieces, path, size)
            yield path

    async def tidy(self) -> None:
        """Remove clips that killed servers left behind."""
        await anyio.to_thread.run_sync(remove_left_behind, self._folder, LEFTOVER_SECONDS, abandon_on_cancel=True)

    async def _write(self, pieces: AsyncIterable[bytes], path: Path, size: int | None) -> None:
        try:
            with anyio.move_on_after(RECEIVE_SECONDS):
                await write_video(pieces, path, size, RULE)
                return
        except OSError as error:
            raise DataNotWritable(f"{self._folder} cannot be written: {error.strerror}.") from error
        raise SentTooSlowly(f"The clip did not arrive within {RECEIVE_SECONDS / 60:.0f} minutes.")
