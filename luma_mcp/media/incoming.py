"""Videos on their way in from elsewhere: a private file for each, written as long as it can be a video."""

import shutil
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from luma_mcp.core.errors import DataNotWritable, SourceNotFound, SourceTooLarge
from luma_mcp.core.paths import real_path
from luma_mcp.media.files import check_free_space, megabytes
from luma_mcp.media.mp4 import HEAD_BYTES, looks_like_video

LOOK_BYTES = 1 << 20  # how often the room on the disk is looked at while something comes: others write, too


class Rule(NamedTuple):
    """What may come in, and what is said of the rest."""

    what: str  # as the beginning of a sentence
    most: int  # bytes
    smaller_hint: str
    kind_hint: str

    def check_size(self, size: int) -> None:
        """Raise `SourceTooLarge`."""
        if size > self.most:
            raise SourceTooLarge(f"{self.what} is larger than {megabytes(self.most)}.", hint=self.smaller_hint)

    def check_beginning(self, first: bytes, size: int | None) -> None:
        """Raise `SourceNotFound` unless the first `HEAD_BYTES` are those of a video, of `size` bytes if known."""
        if not looks_like_video(first, size):
            raise SourceNotFound(f"{self.what} is no MP4 or MOV video.", hint=self.kind_hint)


@asynccontextmanager
async def private_file(folder: Path, name: str, leftover_seconds: float) -> AsyncGenerator[Path]:
    """Give a path for a file of this user's alone, which is removed afterwards; raise `DataNotWritable`.

    What killed servers left behind in the folder is removed once it is older than `leftover_seconds`.
    """
    place = real_path(folder) / uuid.uuid4().hex
    try:
        try:
            await anyio.to_thread.run_sync(make_place, place, leftover_seconds)
        except OSError as error:
            raise DataNotWritable(f"{folder} cannot be written: {error.strerror}.") from error
        yield place / name
    finally:
        shutil.rmtree(place, ignore_errors=True)  # at once: whoever needed it may have been cancelled


def make_place(place: Path, leftover_seconds: float) -> None:
    place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    remove_left_behind(place.parent, leftover_seconds)
    place.mkdir(mode=0o700)


def remove_left_behind(folder: Path, leftover_seconds: float) -> None:
    """Remove what killed servers left in a folder of private files, once it is older than anything lasts."""
    with suppress(OSError):  # there is no folder before the first file
        for left in folder.iterdir():
            if left.lstat().st_mtime < time.time() - leftover_seconds:
                shutil.rmtree(left, ignore_errors=True)


async def write_video(pieces: AsyncIterable[bytes], path: Path, size: int | None, rule: Rule) -> int:
    """Write what comes, of which `size` bytes are announced, as long as it can be a video; give how much came.

    Raises `SourceNotFound`, `OutputNotWritable`, `OSError`, and what `pieces` raises.
    """
    rule.check_size(size or 0)
    check_room = partial(check_free_space, path.parent, what="data folder", hint=DataNotWritable.hint)
    await anyio.to_thread.run_sync(check_room, size or 0)
    first, written = b"", 0
    async with await anyio.open_file(path, "xb") as file:
        async for piece in pieces:
            written += len(piece)
            rule.check_size(written)
            if len(first) < HEAD_BYTES:
                first = (first + piece)[:HEAD_BYTES]
                if len(first) == HEAD_BYTES:
                    rule.check_beginning(first, size)
            if written // LOOK_BYTES > (written - len(piece)) // LOOK_BYTES:
                await anyio.to_thread.run_sync(check_room, 0)
            await file.write(piece)
    return written
