"""Clips on this machine that may be uploaded: what kind of file, how large, how long, which content."""

import base64
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import anyio
import anyio.to_thread

from luma_mcp.core.errors import SourceNotFound
from luma_mcp.media.files import megabytes, open_without_links
from luma_mcp.media.mp4 import HEAD_BYTES, Flaw, find_flaw, other_kind, read_duration
from luma_mcp.media.sources import MAY_NOT_READ
from luma_mcp.media.transfers import Transfer

PIECE_BYTES = 1 << 18
MAX_CLIP_BYTES = 16 << 30
MAX_CACHED_CLIPS = 100
CHANGED_HINT = "Nothing was submitted. Call modify_video again once the file is complete."
HINTS = {
    Flaw.NOT_MP4: "Luma takes MP4 and MOV; convert the clip.",
    Flaw.TRUNCATED: "Nothing was submitted. Copy or download the clip again, or export it anew.",
    Flaw.NO_HEADER: "Nothing was submitted. End the recording or download, or have the clip repaired, then call again.",
    Flaw.NO_VIDEO: "Nothing was submitted. Give a clip with pictures; this one has at most sound.",
}


class ClipUnusable(SourceNotFound):
    """A file that is no whole MP4 or MOV video; `kind` is what it is, empty if that is not known."""

    def __init__(self, path: Path, size: int, flaw: Flaw, kind: str) -> None:
        named = f"{kind}, " if kind else ""
        super().__init__(f"{path.name} ({named}{megabytes(size)}) {flaw}.", hint=HINTS[flaw])
        self.path = path
        self.flaw = flaw
        self.kind = kind


FileIdentity = tuple[int, int, int, int, int]


class Clip(NamedTuple):
    """A local video that is fit to be uploaded; `str()` gives its name, size and length."""

    path: Path
    size: int  # bytes
    seconds: float | None  # None where the file does not say
    md5: str  # in base64 (contract 5.1)

    @classmethod
    def known_by(cls, digest: str) -> "Clip":
        """Give what a digest tells of a clip that is not here."""
        _, md5, size = digest.split(":")
        return cls(Path("attached clip"), int(size), None, md5)

    @property
    def digest(self) -> str:
        """Identify the content, whatever the file is called."""
        return f"md5:{self.md5}:{self.size}"

    def __str__(self) -> str:
        return f"{self.path.name} ({describe_measures(self.size, self.seconds)})"

    async def pieces(self, moved: Transfer) -> AsyncGenerator[bytes]:
        """Yield the bytes, counting them in `moved.done`; raise `SourceNotFound` if the file has changed since."""
        moved.done = 0
        async with anyio.wrap_file(await anyio.to_thread.run_sync(open_without_links, self.path)) as file:
            while piece := await file.read(PIECE_BYTES):
                if moved.done + len(piece) > self.size:
                    break
                yield piece
                moved.done += len(piece)
            if piece or moved.done != self.size:
                raise changed_clip_error(self)


def describe_measures(size: int, seconds: float | None) -> str:
    """Say how large (bytes) and how long a clip is."""
    return megabytes(size) + (f", {seconds:.1f} s" if seconds else "")


class Content:
    """The bytes of a clip, from the beginning each time that they are asked for: uploads are repeated."""

    def __init__(self, clip: Clip, moved: Transfer) -> None:
        self._clip = clip
        self._moved = moved
        self._opened: list[AsyncGenerator[bytes]] = []

    def __aiter__(self) -> AsyncGenerator[bytes]:
        self._opened.append(self._clip.pieces(self._moved))
        return self._opened[-1]

    async def aclose(self) -> None:
        for pieces in self._opened:
            await pieces.aclose()


class Clips:
    """Measures clips, and remembers those that have not changed since: reading a large file takes seconds."""

    def __init__(self) -> None:
        self._known: OrderedDict[tuple[Path, FileIdentity], Clip] = OrderedDict()
        self._being_read: dict[Path, threading.Lock] = {}

    async def inspect(self, path: Path) -> Clip:
        """Check that a file is a whole MP4 or MOV video, and measure it; raise `SourceNotFound` if it is not.

        A caller who stops waiting finds the file measured the next time.
        """
        return await anyio.to_thread.run_sync(self._measured, path, abandon_on_cancel=True)

    def _measured(self, path: Path) -> Clip:
        """Measure a file, or wait for a thread that does: its caller may be gone, the result is remembered."""
        with self._being_read.setdefault(path, threading.Lock()):
            try:
                return self._measured_alone(path)
            finally:
                self._being_read.pop(path, None)

    def _measured_alone(self, path: Path) -> Clip:
        try:
            with open_without_links(path) as file:
                found = (path, file_identity(file.fileno()))
                if clip := self._known.get(found):
                    return clip
                size = os.fstat(file.fileno()).st_size
                check_film(path, file, size)
                seconds = read_duration(file, size)
                file.seek(0)
                digest = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False))
                clip = Clip(path, file.tell(), seconds, base64.b64encode(digest.digest()).decode())
                if file_identity(file.fileno()) == found[1]:
                    self._remember(found, clip)
                return clip
        except OSError as error:
            hint = MAY_NOT_READ if isinstance(error, PermissionError) else ""
            raise SourceNotFound(f"{path.name} cannot be read: {error.strerror}.", hint=hint) from error

    def _remember(self, found: tuple[Path, FileIdentity], clip: Clip) -> None:
        self._known[found] = clip
        while len(self._known) > MAX_CACHED_CLIPS:
            self._known.popitem(last=False)


def changed_clip_error(clip: Clip) -> SourceNotFound:
    return SourceNotFound(f"{clip} has changed since it was asked for.", hint=CHANGED_HINT)


def check_film(path: Path, file: BinaryIO, size: int) -> None:
    """Raise `SourceNotFound` for a file that is too large, or no whole MP4 or MOV video; name what it is if known."""
    if size > MAX_CLIP_BYTES:
        raise SourceNotFound(f"{path.name} ({megabytes(size)}) is too large.", hint="Give a shorter or smaller clip.")
    if flaw := find_flaw(file, size):
        file.seek(0)
        raise ClipUnusable(path, size, flaw, other_kind(file.read(HEAD_BYTES)) if flaw is Flaw.NOT_MP4 else "")


def file_identity(descriptor: int) -> FileIdentity:
    """Give what differs as soon as another file lies there, or the file was written to."""
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
