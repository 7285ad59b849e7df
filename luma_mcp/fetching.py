"""One file from the network onto the disk: checked addresses, bounded size, resumed where it broke off."""

import os
import random
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import httpx

from luma_mcp import crash_points
from luma_mcp.containers import HEAD_BYTES, looks_like_video
from luma_mcp.films import flaw_in
from luma_mcp.pace import backoff
from luma_mcp.public_network import PublicNetwork
from luma_mcp.saved_files import check_room, megabytes
from luma_mcp.storage_errors import DownloadFailed, LinkRefused, NoVideoThere, VideoTooLarge
from luma_mcp.transfers import Transfer

LARGEST_BYTES = 4 << 30
LOOK_BYTES = 8 << 20  # how often the room on the disk is looked at if nobody said how much comes
TIMEOUT = httpx.Timeout(60.0, connect=10.0)
MOST_BREAKS = 2  # in a row, without a byte more than ever before
MOST_BREAKS_OF_A_PART = 8  # the same, once there is a part that is worth keeping
SLOW_DOWN = frozenset({408, 429})
LONGEST_PAUSE_SECONDS = 15.0
WHOLE, PART, BEYOND = 200, 206, 416
GZIP = frozenset({"gzip"})
PACKED = GZIP | {"x-gzip", "deflate", "compress", "br", "zstd"}
UNPACKED = frozenset({"", "identity", "aws-chunked"})
LENGTH = re.compile(r"[0-9]{1,18}")
PLACE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
TOO_LARGE = "Download it from video_urls with a browser before expires_at. Do not repeat modify_video."


class DownloadInterrupted(DownloadFailed):
    """The download broke off, and may go on where it stopped."""


async def fetch(http: httpx.AsyncClient, network: PublicNetwork, url: str, part: Path, moved: Transfer) -> None:
    """Stream a video into a new file, going on where the connection broke if the server allows.

    Raises `DownloadFailed`, `OutputNotWritable` for a full disk, `OSError` and httpx's errors.
    """
    async with await anyio.open_file(part, "xb") as file:
        crash_points.reach("download.begun")
        arriving = Arriving(http, network, file, part.parent, moved)
        furthest = failures = 0
        while True:
            try:
                await arriving.receive(httpx.URL(url))
                break
            except (httpx.TransportError, DownloadInterrupted):
                failures = 1 if moved.done > furthest else failures + 1
                furthest = max(furthest, moved.done)
                if failures > (MOST_BREAKS_OF_A_PART if moved.done else MOST_BREAKS):
                    raise
            await anyio.sleep(backoff(failures, jitter=random.random(), longest=LONGEST_PAUSE_SECONDS))  # noqa: S311 - spreads load, guards nothing
        await file.flush()
        await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno(), abandon_on_cancel=True)
    crash_points.reach("download.complete")


class Arriving:
    """A file that arrives, in one go or in several; `moved` tells how far it has come."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        network: PublicNetwork,
        file: anyio.AsyncFile[bytes],
        folder: Path,
        moved: Transfer,
    ) -> None:
        self._http = http
        self._network = network
        self._file = file
        self._folder = folder
        self._moved = moved
        self._first = b""
        self._etag = self._modified = ""
        self._resumable = self._refused = False

    async def receive(self, url: httpx.URL) -> None:
        """Receive what is still missing; raise `DownloadInterrupted` or an httpx error if it breaks off."""
        async with self._network.get(self._http, url, self._headers(), TIMEOUT) as response:
            await self._begin(response)
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
                async for piece in pieces:
                    await self._take(piece)
        moved = self._moved
        complete = moved.done == moved.total if moved.total is not None else not await self._lacks_its_end()
        if not (moved.done and complete):
            raise DownloadInterrupted(
                f"The download broke off after {moved.done} bytes of {moved.total or 'an unknown number'}."
            )

    async def _lacks_its_end(self) -> bool:
        """Tell by the file itself whether it is cut off, where nobody announced how long it is."""
        await self._file.flush()
        path = Path(str(self._file.name))
        return await anyio.to_thread.run_sync(lacks_its_end, path, abandon_on_cancel=True)

    def _headers(self) -> dict[str, str]:
        """Ask for the file as it is, from where it broke off if it is certain to be the same file."""
        if not self._resumable or self._refused or not self._moved.done:
            return {}
        unchanged = self._etag if self._is_strong else self._modified
        condition = {"If-Range": unchanged} if unchanged else {}
        return {"Range": f"bytes={self._moved.done}-"} | condition

    @property
    def _is_strong(self) -> bool:
        """Tell whether the tag promises the same bytes; a weak one promises something alike."""
        return self._etag.startswith('"')

    async def _begin(self, response: httpx.Response) -> None:
        """Put the file where the answer goes on, or begins anew."""
        packed = is_packed(response)
        status, asked_for_rest = response.status_code, "range" in response.request.headers
        if status == WHOLE:
            await self._start_over(response, packed=packed)
        elif asked_for_rest and (status == BEYOND or (status == PART and (packed or not self._goes_on(response)))):
            self._refused = True
            raise DownloadInterrupted("The rest of the finished video cannot be had; it is fetched from its beginning.")
        elif status != PART or not asked_for_rest:
            raise no_video(status)

    async def _start_over(self, response: httpx.Response, *, packed: bool) -> None:
        """Begin the file anew; how long one is that comes packed is not known, nor can a part of it be asked for."""
        await self._file.seek(0)
        await self._file.truncate()
        self._first = b""
        length = "" if packed else response.headers.get("content-length", "")
        self._moved.done, self._moved.total = 0, int(length) if LENGTH.fullmatch(length) else None
        self._etag, self._modified = (response.headers.get(name, "") for name in ("etag", "last-modified"))
        willing = response.headers.get("accept-ranges", "").lower() != "none"
        marks = self._etag + self._modified
        sendable = marks.isascii() and (marks.isprintable() or not marks)
        self._resumable = willing and self._moved.total is not None and sendable and not self._refused
        if self._moved.total is not None:
            check_size(self._moved.total)
            await anyio.to_thread.run_sync(check_room, self._folder, self._moved.total, abandon_on_cancel=True)

    def _goes_on(self, response: httpx.Response) -> bool:
        """Tell whether a part begins where the file ends, and is of the same file."""
        said = PLACE.fullmatch(response.headers.get("content-range", "").strip())
        same_tag = response.headers.get("etag", "") == self._etag
        same_time = self._is_strong or response.headers.get("last-modified", "") == self._modified
        fits = said is not None and (int(said[1]), int(said[2])) == (self._moved.done, self._moved.total)
        return fits and same_tag and same_time

    async def _take(self, piece: bytes) -> None:
        if len(self._first) < HEAD_BYTES:
            self._first = (self._first + piece)[:HEAD_BYTES]
            if len(self._first) == HEAD_BYTES and not looks_like_video(self._first, self._moved.total):
                raise NoVideoThere("What lies at the finished video's address is no video.")
        moved, after = self._moved, self._moved.done + len(piece)
        check_size(after)
        if moved.total is not None and after > moved.total:
            self._refused = True
            raise DownloadInterrupted("The finished video's address sends more than it announced.")
        if moved.total is None and after // LOOK_BYTES > moved.done // LOOK_BYTES:
            await anyio.to_thread.run_sync(check_room, self._folder, 0, abandon_on_cancel=True)
        await self._file.write(piece)
        moved.done = after
        crash_points.reach("download.receiving")


def is_packed(response: httpx.Response) -> bool:
    """Tell whether an answer is packed although that was not asked for; once with gzip is let through, no more."""
    packings = PACKED.intersection(named := re.split(r"[\s,]+", response.headers.get("content-encoding", "").lower()))
    if packings and (len([name for name in named if name not in UNPACKED]) > 1 or not packings <= GZIP):
        raise DownloadFailed("The finished video's address sends it packed in a way that nobody asked for.")
    return bool(packings)


def no_video(status: int) -> DownloadFailed:
    """Say of an answer that brings nothing whether it may pass, is a refusal of the link, or makes no sense."""
    if status >= 500 or status in SLOW_DOWN:
        return DownloadInterrupted(f"The finished video could not be downloaded: its address answers {status}.")
    if status >= 400:
        return LinkRefused(f"RunAPI's storage refuses the link to the finished video: it answers {status}.")
    return DownloadFailed(f"The finished video could not be downloaded: its address answers {status}.")


def lacks_its_end(path: Path) -> bool:
    """Tell whether a file is a film that is cut off."""
    with path.open("rb") as file:
        return flaw_in(file, os.fstat(file.fileno()).st_size).may_be_missing_its_end


def check_size(size: int) -> None:
    """Refuse what is too large to be a result."""
    if size > LARGEST_BYTES:
        raise VideoTooLarge(
            f"What lies at the finished video's address is larger than {megabytes(LARGEST_BYTES)}, so it is not saved.",
            hint=TOO_LARGE,
        )
