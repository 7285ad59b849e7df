"""One file from the network onto the disk: checked addresses, bounded size, resumed where it stopped."""

import os
import random
import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import httpx

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import backoff
from luma_mcp.core.storage_errors import DownloadFailed, LinkRefused, NoVideoThere, VideoTooLarge
from luma_mcp.media.files import check_room, megabytes, open_itself
from luma_mcp.media.films import flaw_in
from luma_mcp.media.mp4 import HEAD_BYTES, looks_like_video
from luma_mcp.media.transfers import Transfer
from luma_mcp.runapi.ssrf import PublicNetwork

LARGEST_BYTES = 4 << 30
LONGEST_SECONDS = 7200.0  # at a stretch: without another download's turn in between
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
TOO_LARGE = "Download it from video_urls with a browser before expires_at."


class DownloadInterrupted(DownloadFailed):
    """The download broke off, and may go on where it stopped."""


class Arriving:
    """A video that arrives in a new file, in one go or in several; `moved` tells how far it has come.

    What is known of it is kept from one turn to the next; the file is open, and a connection there is, in a turn only.
    """

    _file: anyio.AsyncFile[bytes]

    def __init__(self, http: httpx.AsyncClient, network: PublicNetwork, url: str, part: Path, moved: Transfer) -> None:
        self._http = http
        self._network = network
        self._url = url
        self._part = part
        self._moved = moved
        self._first = b""
        self._etag = self._modified = ""
        self._is_begun = self._resumable = self._refused = False
        self._furthest = self._failures = 0

    async def have_turn(self, turn: anyio.CancelScope) -> bool:
        """Receive what comes until the turn is cancelled, and tell whether that is all.

        Raises `DownloadFailed`, `OutputNotWritable` for a full disk, `OSError` and httpx's errors.
        """
        whole = False
        async with await self._opened() as self._file:
            failpoints.reach("download.begun")
            with turn, anyio.move_on_after(LONGEST_SECONDS) as stretch:
                await self._receive_all()
                whole = True
            if stretch.cancelled_caught:
                raise DownloadFailed(f"The finished video did not arrive in {LONGEST_SECONDS:.0f} seconds.")
            if whole:
                await self._file.flush()
                await anyio.to_thread.run_sync(os.fsync, self._file.wrapped.fileno(), abandon_on_cancel=True)
                failpoints.reach("download.complete")
        return whole

    async def _opened(self) -> anyio.AsyncFile[bytes]:
        """Open the file as an earlier turn left it, or a new one; somebody may have tidied up meanwhile."""
        if self._is_begun:
            with suppress(FileNotFoundError):
                return await anyio.open_file(self._part, "r+b", opener=open_itself)
        self._moved.done, self._is_begun = 0, True
        return await anyio.open_file(self._part, "xb")

    async def _receive_all(self) -> None:
        """Receive until all is there, with pauses between the tries; one that comes no further is not the last."""
        while not self._has_all:
            try:
                await self._receive(httpx.URL(self._url))
            except (httpx.TransportError, DownloadInterrupted):
                done = self._moved.done
                self._failures = 1 if done > self._furthest else self._failures + 1
                self._furthest = max(self._furthest, done)
                if self._failures > (MOST_BREAKS_OF_A_PART if done else MOST_BREAKS):
                    raise
            else:
                return
            await anyio.sleep(backoff(self._failures, jitter=random.random(), longest=LONGEST_PAUSE_SECONDS))  # noqa: S311 - spreads load, guards nothing

    @property
    def _has_all(self) -> bool:
        """Tell whether all that was announced has come, in a turn that ended before that was noticed."""
        return self._moved.done > 0 and self._moved.done == self._moved.total and not self._refused

    async def _receive(self, url: httpx.URL) -> None:
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
        return await anyio.to_thread.run_sync(lacks_its_end, self._part, abandon_on_cancel=True)

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
        else:
            await self._cut_off()

    async def _start_over(self, response: httpx.Response, *, packed: bool) -> None:
        """Begin the file anew; how long one is that comes packed is not known, nor can a part of it be asked for."""
        self._first = b""
        length = "" if packed else response.headers.get("content-length", "")
        self._moved.done, self._moved.total = 0, int(length) if LENGTH.fullmatch(length) else None
        self._etag, self._modified = (response.headers.get(name, "") for name in ("etag", "last-modified"))
        willing = response.headers.get("accept-ranges", "").lower() != "none"
        marks = self._etag + self._modified
        sendable = marks.isascii() and (marks.isprintable() or not marks)
        self._resumable = willing and self._moved.total is not None and sendable and not self._refused
        await self._cut_off()
        if self._moved.total is not None:
            check_size(self._moved.total)
            await anyio.to_thread.run_sync(check_room, self._part.parent, self._moved.total, abandon_on_cancel=True)

    async def _cut_off(self) -> None:
        """Let the file end where it is known to be good: a turn may have ended in the middle of a step."""
        await self._file.seek(self._moved.done)
        await self._file.truncate()

    def _goes_on(self, response: httpx.Response) -> bool:
        """Tell whether a part begins where the file ends, and is of the same file."""
        said = PLACE.fullmatch(response.headers.get("content-range", "").strip())
        same_tag = response.headers.get("etag", "") == self._etag
        same_time = self._is_strong or response.headers.get("last-modified", "") == self._modified
        fits = said is not None and (int(said[1]), int(said[2])) == (self._moved.done, self._moved.total)
        return fits and same_tag and same_time

    async def _take(self, piece: bytes) -> None:
        first = self._first
        if len(first) < HEAD_BYTES:
            first = (first + piece)[:HEAD_BYTES]
            if len(first) == HEAD_BYTES and not looks_like_video(first, self._moved.total):
                raise NoVideoThere("What lies at the finished video's address is no video.")
        moved, after = self._moved, self._moved.done + len(piece)
        check_size(after)
        if moved.total is not None and after > moved.total:
            self._refused = True
            raise DownloadInterrupted("The finished video's address sends more than it announced.")
        if moved.total is None and after // LOOK_BYTES > moved.done // LOOK_BYTES:
            await anyio.to_thread.run_sync(check_room, self._part.parent, 0, abandon_on_cancel=True)
        await self._file.write(piece)
        self._first, moved.done = first, after
        failpoints.reach("download.receiving")


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
