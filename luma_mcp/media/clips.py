"""Clips on this machine that may be uploaded: what kind of file, how large, how long, which content."""

import base64
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import anyio
import anyio.to_thread

from luma_mcp.core.errors import SourceNotFound
from luma_mcp.media.files import megabytes, open_real
from luma_mcp.media.films import Flaw, flaw_in
from luma_mcp.media.mp4 import HEAD_BYTES, duration, other_kind
from luma_mcp.media.sources import MAY_NOT_READ
from luma_mcp.media.transfers import Transfer

PIECE_BYTES = 1 << 18
LARGEST_BYTES = 16 << 30
REMEMBERED = 100
CHANGED_HINT = "Nothing was submitted. Call modify_video again once the file is complete."
HINTS = {
    Flaw.OTHER: "Luma takes MP4 and MOV; convert the clip.",
    Flaw.CUT_OFF: "Nothing was submitted. Copy or download the clip again, or export it anew.",
    Flaw.NO_HEADER: "Nothing was submitted. End the recording or download, or have the clip repaired, then call again.",
    Flaw.NO_PICTURES: "Nothing was submitted. Give a clip with pictures; this one has at most sound.",
}

Identity = tuple[int, int, int, int, int]


@dataclass(frozen=True, slots=True)
class Clip:
    """A local video that is fit to be uploaded: bytes, seconds if known, and its MD5 in base64 (contract 5.1)."""

    path: Path
    size: int
    seconds: float | None
    md5: str

    @property
    def digest(self) -> str:
        """Name the content, whatever the file is called."""
        return f"md5:{self.md5}:{self.size}"

    def __str__(self) -> str:
        lasting = f", {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.path.name} ({megabytes(self.size)}{lasting})"

    async def pieces(self, moved: Transfer) -> AsyncGenerator[bytes]:
        """Read the file piece by piece, and note how far that has come; raise `SourceNotFound` if it has changed."""
        moved.done = 0
        async with anyio.wrap_file(await anyio.to_thread.run_sync(open_real, self.path)) as file:
            while piece := await file.read(PIECE_BYTES):
                if moved.done + len(piece) > self.size:
                    break
                yield piece
                moved.done += len(piece)
            if piece or moved.done != self.size:
                raise SourceNotFound(f"{self} has changed since it was asked for.", hint=CHANGED_HINT)


class Content:
    """The bytes of a clip, from the beginning each time that they are asked for."""

    def __init__(self, clip: Clip, moved: Transfer) -> None:
        self._clip = clip
        self._moved = moved
        self._opened: list[AsyncGenerator[bytes]] = []

    def __aiter__(self) -> AsyncGenerator[bytes]:
        """Read the clip, and note how far that has come."""
        self._opened.append(self._clip.pieces(self._moved))
        return self._opened[-1]

    async def aclose(self) -> None:
        """Close the file."""
        for pieces in self._opened:
            await pieces.aclose()


class Clips:
    """Measures clips, and remembers those that have not changed since: reading a large file takes seconds."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Path, Identity], Clip] = OrderedDict()
        self._being_read: dict[Path, threading.Lock] = {}

    async def inspect(self, path: Path) -> Clip:
        """Check that a file is a whole MP4 or MOV video, and measure it; raise `SourceNotFound` if it is not.

        A caller who stops waiting finds the file measured the next time.
        """
        return await anyio.to_thread.run_sync(self._measured, path, abandon_on_cancel=True)

    def _measured(self, path: Path) -> Clip:
        """Measure a file, or wait for whoever does and whose caller may have gone."""
        with self._being_read.setdefault(path, threading.Lock()):
            try:
                return self._measured_alone(path)
            finally:
                self._being_read.pop(path, None)

    def _measured_alone(self, path: Path) -> Clip:
        try:
            with open_real(path) as file:
                found = (path, identity(file.fileno()))
                if clip := self._known.get(found):
                    return clip
                size = os.fstat(file.fileno()).st_size
                check_film(path, file, size)
                seconds = duration(file, size)
                file.seek(0)
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
                clip = Clip(path, file.tell(), seconds, base64.b64encode(digest.digest()).decode())
                if identity(file.fileno()) == found[1]:
                    self._remember(found, clip)
                return clip
        except OSError as error:
            hint = MAY_NOT_READ if isinstance(error, PermissionError) else ""
            raise SourceNotFound(f"{path.name} cannot be read: {error.strerror}.", hint=hint) from error

    def _remember(self, found: tuple[Path, Identity], clip: Clip) -> None:
        self._known[found] = clip
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)


def check_film(path: Path, file: BinaryIO, size: int) -> None:
    """Raise `SourceNotFound` for a file that is too large, or no whole MP4 or MOV video; say what it is if known."""
    if size > LARGEST_BYTES:
        raise SourceNotFound(f"{path.name} ({megabytes(size)}) is too large.", hint="Give a shorter or smaller clip.")
    if flaw := flaw_in(file, size):
        file.seek(0)
        found = other_kind(file.read(HEAD_BYTES)) if flaw is Flaw.OTHER else ""
        kind = f"{found}, " if found else ""
        raise SourceNotFound(f"{path.name} ({kind}{megabytes(size)}) {flaw}.", hint=HINTS[flaw])


def identity(descriptor: int) -> Identity:
    """Tell whether a file is still the one that was read: where it lies, how large it is, when it was written."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
