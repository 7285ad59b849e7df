"""Finished videos onto the disk: from checked addresses, bounded, resumed where they stopped, published whole."""

import os
import re
import time
from collections.abc import AsyncGenerator, Generator
from contextlib import aclosing, contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import httpx

from luma_mcp.core import failpoints
from luma_mcp.core.backoff import Backoff
from luma_mcp.core.errors import (
    DownloadFailed,
    LinkRefused,
    OutputNotWritable,
    ProxyUnusable,
    VideoNotWritten,
    VideoTooLarge,
    VideoUnusable,
)
from luma_mcp.core.filenames import make_filename
from luma_mcp.core.models import Task
from luma_mcp.core.text import sanitise_text
from luma_mcp.media.files import (
    PublishedFile,
    check_free_space,
    check_writable,
    copy_saved_video,
    megabytes,
    new_part,
    open_nofollow,
    publish,
    remove_leftovers,
    remove_old_leftovers,
    temporary_file,
)
from luma_mcp.media.mp4 import HEAD_BYTES, find_flaw, looks_like_video
from luma_mcp.media.transfers import Transfer, Transfers
from luma_mcp.media.turns import Turns
from luma_mcp.runapi.connection import CONNECT_SECONDS, HttpClients
from luma_mcp.runapi.ssrf import DownloadGuard

MAX_VIDEO_BYTES = 4 << 30
MAX_DOWNLOAD_SECONDS = 7200.0  # at a stretch: without another download's turn in between
LOOK_BYTES = 8 << 20  # how often the room on the disk is looked at if nobody said how much comes
DOWNLOAD_TIMEOUT = httpx.Timeout(60.0, connect=CONNECT_SECONDS)
MAX_FAILURES = 2  # in a row, without a byte more than ever before
MAX_PART_FAILURES = 8  # the same, once there is a part that is worth keeping
RETRYABLE_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
BACKOFF = Backoff(15.0)
GZIP = frozenset({"gzip"})
PACKED = GZIP | {"x-gzip", "deflate", "compress", "br", "zstd"}
UNPACKED = frozenset({"", "identity", "aws-chunked"})
LENGTH = re.compile(r"[0-9]{1,18}")
PLACE = re.compile(r"bytes ([0-9]{1,18})-[0-9]{1,18}/([0-9]{1,18})")
TOO_LARGE = "Download it from video_urls with a browser before expires_at."
MAX_PARALLEL_DOWNLOADS = 4
TURN_SECONDS = 60.0
COPY_AGAIN = "Make the output folder writable and room on its disk, then call save_video again."


class DownloadInterrupted(DownloadFailed):
    """The download broke off, and may go on where it stopped."""


class ResumableDownload:
    """A video that arrives in a new file over one or several turns; `moved` counts its bytes.

    What is known of it outlives a turn; the open file and the connection do not.
    """

    _file: anyio.AsyncFile[bytes]

    def __init__(self, http: httpx.AsyncClient, network: DownloadGuard, url: str, part: Path, moved: Transfer) -> None:
        self._http = http
        self._network = network
        self._url = url
        self._part = part
        self._moved = moved
        self._first = b""
        self._etag = self._modified = ""
        self._is_begun = self._resumable = self._range_refused = False
        self._furthest = self._failures = 0

    async def receive_in_turn(self, turn: anyio.CancelScope) -> bool:
        """Receive what comes until the turn is cancelled, and tell whether that is all.

        Raises `DownloadFailed`, `OutputNotWritable` for a full disk, `OSError` and httpx's errors.
        """
        whole = False
        async with await self._opened() as self._file:
            failpoints.reach("download.begun")
            with turn, anyio.move_on_after(MAX_DOWNLOAD_SECONDS) as stretch:
                await self._receive_all()
                whole = True
            if stretch.cancelled_caught:
                raise DownloadFailed(f"The finished video did not arrive in {MAX_DOWNLOAD_SECONDS:.0f} seconds.")
            if whole:
                await self._file.flush()
                await anyio.to_thread.run_sync(os.fsync, self._file.wrapped.fileno(), abandon_on_cancel=True)
                failpoints.reach("download.complete")
        return whole

    async def _opened(self) -> anyio.AsyncFile[bytes]:
        """Open the file as an earlier turn left it, or a new one: the old one may have been tidied up."""
        if self._is_begun:
            with suppress(FileNotFoundError):
                return await anyio.open_file(self._part, "r+b", opener=open_nofollow)
        self._moved.done, self._is_begun = 0, True
        return await anyio.open_file(self._part, "xb")

    async def _receive_all(self) -> None:
        """Receive until all has come, pausing after failures; those that follow new bytes count anew."""
        while not self._has_all:
            try:
                await self._receive(httpx.URL(self._url))
            except (httpx.TransportError, DownloadInterrupted):
                done = self._moved.done
                self._failures = 1 if done > self._furthest else self._failures + 1
                self._furthest = max(self._furthest, done)
                if self._failures > (MAX_PART_FAILURES if done else MAX_FAILURES):
                    raise
            else:
                return
            await anyio.sleep(BACKOFF.after(self._failures))

    @property
    def _has_all(self) -> bool:
        """Tell whether all has come, as in a turn that was cancelled before it noticed."""
        return self._moved.done > 0 and self._moved.done == self._moved.total and not self._range_refused

    async def _receive(self, url: httpx.URL) -> None:
        async with self._network.get(self._http, url, self._headers(), DOWNLOAD_TIMEOUT) as response:
            await self._begin(response)
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
                async for piece in pieces:
                    await self._take(piece)
        moved = self._moved
        complete = moved.done == moved.total if moved.total is not None else not await self._is_truncated()
        if not (moved.done and complete):
            raise DownloadInterrupted(
                f"The download broke off after {moved.done} bytes of {moved.total or 'an unknown number'}."
            )

    async def _is_truncated(self) -> bool:
        """Look into the file itself: without an announced length, nothing else tells where it ends."""
        await self._file.flush()
        return await anyio.to_thread.run_sync(is_truncated, self._part, abandon_on_cancel=True)

    def _headers(self) -> dict[str, str]:
        """Ask for the rest only where it is certain to be of the same file (If-Range, RFC 9110, 13.1.5)."""
        if not self._resumable or self._range_refused or not self._moved.done:
            return {}
        unchanged = self._etag if self._is_strong else self._modified
        condition = {"If-Range": unchanged} if unchanged else {}
        return {"Range": f"bytes={self._moved.done}-"} | condition

    @property
    def _is_strong(self) -> bool:
        """Tell whether the tag promises the same bytes; a weak one promises something alike."""
        return self._etag.startswith('"')

    async def _begin(self, response: httpx.Response) -> None:
        packed = is_packed(response)
        status, asked_for_rest = response.status_code, "range" in response.request.headers
        if status == HTTPStatus.OK:
            await self._start_over(response, packed=packed)
        elif asked_for_rest and (
            status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            or (status == HTTPStatus.PARTIAL_CONTENT and (packed or not self._goes_on(response)))
        ):
            self._range_refused = True
            raise DownloadInterrupted("The rest of the finished video cannot be had; it is fetched from its beginning.")
        elif status != HTTPStatus.PARTIAL_CONTENT or not asked_for_rest:
            raise error_for_status(status)
        else:
            await self._cut_off()

    async def _start_over(self, response: httpx.Response, *, packed: bool) -> None:
        """Begin the file anew; a packed response gives no length, and no part of it can be asked for later."""
        self._first = b""
        length = "" if packed else response.headers.get("content-length", "")
        self._moved.done, self._moved.total = 0, int(length) if LENGTH.fullmatch(length) else None
        self._etag, self._modified = (response.headers.get(name, "") for name in ("etag", "last-modified"))
        willing = response.headers.get("accept-ranges", "").lower() != "none"
        marks = self._etag + self._modified
        sendable = marks.isascii() and (marks.isprintable() or not marks)
        self._resumable = willing and self._moved.total is not None and sendable and not self._range_refused
        await self._cut_off()
        if self._moved.total is not None:
            check_size(self._moved.total)
            await anyio.to_thread.run_sync(
                check_free_space, self._part.parent, self._moved.total, abandon_on_cancel=True
            )

    async def _cut_off(self) -> None:
        """Drop what was written and not counted: a turn may be cancelled between the two."""
        await self._file.seek(self._moved.done)
        await self._file.truncate()

    def _goes_on(self, response: httpx.Response) -> bool:
        """Tell whether a partial response begins where the file ends, and is of the same file."""
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
                raise VideoUnusable("What lies at the finished video's address is no video.")
        moved, after = self._moved, self._moved.done + len(piece)
        check_size(after)
        if moved.total is not None and after > moved.total:
            self._range_refused = True
            raise DownloadInterrupted("The finished video's address sends more than it announced.")
        if moved.total is None and after // LOOK_BYTES > moved.done // LOOK_BYTES:
            await anyio.to_thread.run_sync(check_free_space, self._part.parent, 0, abandon_on_cancel=True)
        await self._file.write(piece)
        self._first, moved.done = first, after
        failpoints.reach("download.receiving")


def is_packed(response: httpx.Response) -> bool:
    """Tell whether a response is compressed, which was not asked for; raise `DownloadFailed` unless once by gzip."""
    packings = PACKED.intersection(named := re.split(r"[\s,]+", response.headers.get("content-encoding", "").lower()))
    if packings and (len([name for name in named if name not in UNPACKED]) > 1 or not packings <= GZIP):
        raise DownloadFailed("The finished video's address sends it packed in a way that nobody asked for.")
    return bool(packings)


def error_for_status(status: int) -> DownloadFailed:
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in RETRYABLE_STATUSES:
        return DownloadInterrupted(f"The finished video could not be downloaded: its address answers {status}.")
    if status >= HTTPStatus.BAD_REQUEST:
        return LinkRefused(f"RunAPI's storage refuses the link to the finished video: it answers {status}.")
    return DownloadFailed(f"The finished video could not be downloaded: its address answers {status}.")


def is_truncated(path: Path) -> bool:
    with path.open("rb") as file:
        return find_flaw(file, os.fstat(file.fileno()).st_size).may_be_truncated


def check_size(size: int) -> None:
    if size > MAX_VIDEO_BYTES:
        raise VideoTooLarge(
            f"What lies at the finished video's address is larger than {megabytes(MAX_VIDEO_BYTES)}, so it is not"
            " saved.",
            hint=TOO_LARGE,
        )


class Downloads:
    """Saves finished videos into the output folder. Sends no key and no cookies."""

    def __init__(
        self, connection: HttpClients, folder: Path, transfers: Transfers, *, trusted: str, allow_private: bool
    ) -> None:
        self._connection = connection
        self._folder = folder
        self._transfers = transfers
        self._network = DownloadGuard(trusted=trusted, allow_private=allow_private)
        self._turns = Turns(MAX_PARALLEL_DOWNLOADS, TURN_SECONDS)

    async def save(self, task: Task) -> PublishedFile:
        """Download a completed task's video, in turns if others wait, and publish it.

        Raises `DownloadFailed` or `VideoNotWritten`, both of which say that the video was paid for.
        """
        target = self._folder / (task.file_name or make_filename(task, self._folder))
        part = self._part(task)
        with errors_as_paid(target):
            self._connection.check_proxy(task.video_urls[0])
            with temporary_file(part), self._transfers.moving(task.key) as moved:
                arriving = ResumableDownload(self._connection.storage, self._network, task.video_urls[0], part, moved)
                earlier = 0
                while True:
                    async with self._turns.turn(earlier) as turn:
                        if not earlier:
                            await self._make_ready(task)
                        if await arriving.receive_in_turn(turn):
                            return await anyio.to_thread.run_sync(publish, part, target, abandon_on_cancel=True)
                    earlier += 1

    async def copy(self, task: Task, folder: Path, name: str) -> PublishedFile:
        """Copy a task's saved video into a folder, under a name; raise like `save`."""
        target = folder / name
        with errors_as_paid(target, COPY_AGAIN):
            existing = Path(task.video_path)
            await anyio.to_thread.run_sync(check_writable, folder, abandon_on_cancel=True)
            part = new_part(folder, task.key)
            return await anyio.to_thread.run_sync(copy_saved_video, existing, part, target, abandon_on_cancel=True)

    async def tidy(self) -> None:
        """Remove temporary files that are older than any download lasts."""
        before = time.time() - 2 * MAX_DOWNLOAD_SECONDS
        await anyio.to_thread.run_sync(remove_old_leftovers, self._folder, before, abandon_on_cancel=True)

    def _part(self, task: Task) -> Path:
        return new_part(self._folder, task.key)

    async def _make_ready(self, task: Task) -> None:
        await anyio.to_thread.run_sync(check_writable, self._folder, abandon_on_cancel=True)
        await anyio.to_thread.run_sync(remove_leftovers, self._folder, task.key, abandon_on_cancel=True)


@contextmanager
def errors_as_paid(target: Path, hint: str = "") -> Generator[None]:
    """Turn what goes wrong into errors which say that the video exists and was paid for."""
    try:
        yield
    except httpx.HTTPError as error:
        detail = sanitise_text(str(error)) or type(error).__name__
        raise DownloadFailed(f"The finished video could not be downloaded: {detail}.") from error
    except ProxyUnusable as error:
        raise DownloadFailed(error.message, hint=error.hint) from error
    except httpx.InvalidURL as error:
        raise DownloadFailed("The finished video's address is not a URL.") from error
    except OutputNotWritable as error:
        raise VideoNotWritten(error.message, hint=hint) from error
    except OSError as error:
        raise VideoNotWritten(f"{target} cannot be written: {error.strerror}.", hint=hint) from error
