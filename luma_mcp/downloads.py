"""Finished videos onto the disk: streamed to a temporary name, renamed when complete, never over another file."""

import hashlib
import os
import re
import tempfile
import unicodedata
import uuid
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import anyio
import anyio.to_thread
import httpx

from luma_mcp import crash_points
from luma_mcp.connection import Connection
from luma_mcp.errors import DownloadFailed, OutputNotWritable, VideoNotWritten
from luma_mcp.models import Task
from luma_mcp.renaming import rename_without_replacing
from luma_mcp.sources import is_public_host, looks_like_video
from luma_mcp.untrusted import safe_text

PIECE_BYTES = 1 << 18
COMPLETE = 200  # a part of the video, 206, is not what was asked for
STALLED_SECONDS = 60.0
LONGEST_SECONDS = 1800.0
AT_ONCE = 4  # leaves most of the connections to questions about tasks
REDIRECTS = 5
NAME_WORDS = 6
NAME_BYTES = 150
RESERVED = frozenset({"con", "prn", "aux", "nul", *(f"{port}{n}" for port in ("com", "lpt") for n in range(1, 10))})


def check_writable(folder: Path) -> None:
    """Prove that the output folder takes files, before any money is spent; raise `OutputNotWritable`."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OutputNotWritable(f"The output folder {folder} cannot be written: {error.strerror}.") from error


def file_name(task: Task) -> str:
    """Make a name that people can read and every system takes: date, words of the prompt, short id."""
    day = datetime.fromtimestamp(task.finished_at or task.created_at, UTC).strftime("%Y-%m-%d")
    plain = unicodedata.normalize("NFC", task.request.prompt.lower())
    words = [word for word in re.findall(r"\w+", plain) if word not in RESERVED][:NAME_WORDS]
    short_id = re.sub(r"\W", "", task.task_id or task.key)[:8]
    name = "-".join([day, *words])
    while len(name.encode()) > NAME_BYTES:
        name = name[:-1]
    return f"{name}-{short_id}.mp4"


class Downloads:
    """Saves finished videos into the output folder. Carries no key and no cookies (design 3.3)."""

    def __init__(self, connection: Connection, folder: Path, *, trusted: str, allow_private: bool) -> None:
        self._connection = connection
        self._folder = folder
        self._trusted = origin(httpx.URL(trusted))
        self._allow_private = allow_private
        self._at_once = anyio.CapacityLimiter(AT_ONCE)

    async def save(self, task: Task) -> Path:
        """Download a completed task's video and give its path.

        Raises `DownloadFailed` or `VideoNotWritten`, both of which say that the video was paid for.
        """
        target = self._folder / file_name(task)
        part = self._folder / f".{task.key}-{uuid.uuid4().hex[:8]}.part"
        try:
            async with self._at_once:
                check_writable(self._folder)
                await anyio.to_thread.run_sync(remove_leftovers, self._folder, task.key, abandon_on_cancel=True)
                with temporary(part):
                    await self._fetch_in_time(task.video_urls[0], part)
                    return await anyio.to_thread.run_sync(publish, part, target, abandon_on_cancel=True)
        except httpx.HTTPError as error:
            detail = safe_text(str(error)) or type(error).__name__
            raise DownloadFailed(f"The finished video could not be downloaded: {detail}.") from error
        except httpx.InvalidURL as error:
            raise DownloadFailed("The finished video's address is not a URL.") from error
        except OutputNotWritable as error:
            raise VideoNotWritten(error.message) from error
        except OSError as error:
            raise VideoNotWritten(f"{target} cannot be written: {error.strerror}.") from error

    async def _fetch_in_time(self, url: str, part: Path) -> None:
        with anyio.move_on_after(LONGEST_SECONDS):
            return await self._fetch(httpx.URL(url), part)
        raise DownloadFailed(f"The finished video did not arrive in {LONGEST_SECONDS:.0f} seconds.")

    async def _fetch(self, url: httpx.URL, part: Path) -> None:
        for _ in range(REDIRECTS + 1):
            self._check(url)
            request = self._connection.http.build_request("GET", url, timeout=httpx.Timeout(STALLED_SECONDS))
            response = await self._connection.http.send(request, stream=True, follow_redirects=False)
            try:
                if response.next_request is None:
                    await write_to(response, part)
                    return
                url = response.next_request.url
            finally:
                await response.aclose()
        raise DownloadFailed("The finished video's address redirects in circles.")

    def _check(self, url: httpx.URL) -> None:
        if url.scheme not in ("http", "https"):
            raise DownloadFailed(f"The finished video's address has the scheme {url.scheme!r}, which is not fetched.")
        if self._allow_private or origin(url) == self._trusted or is_public_host(url.host):
            return
        raise DownloadFailed(
            f"The finished video's address {url.host} is private, so it is not fetched.",
            hint="If this is your own storage, set LUMA_MCP_ALLOW_PRIVATE=true.",
        )


def origin(url: httpx.URL) -> tuple[str, str, int | None]:
    """Name where a URL leads: scheme, host and port."""
    return url.scheme, url.host, url.port


def remove_leftovers(folder: Path, key: str) -> None:
    """Remove what earlier downloads of a task left behind when they were killed."""
    for leftover in folder.glob(f".{key}*.part"):
        leftover.unlink(missing_ok=True)


@contextmanager
def temporary(part: Path) -> Generator[None]:
    """Let a temporary name be free afterwards."""
    try:
        yield
    finally:
        part.unlink(missing_ok=True)


async def write_to(response: httpx.Response, part: Path) -> None:
    """Stream a response into a file on disk, complete and of the announced length."""
    if response.status_code != COMPLETE:
        raise DownloadFailed(f"The finished video could not be downloaded: its address answers {response.status_code}.")
    async with await anyio.open_file(part, "xb") as file:
        crash_points.reach("download.begun")
        async for piece in response.aiter_bytes(PIECE_BYTES):
            await file.write(piece)
            crash_points.reach("download.receiving")
        written = await file.tell()
        await file.flush()
        await anyio.to_thread.run_sync(os.fsync, file.wrapped.fileno(), abandon_on_cancel=True)
    announced = response.headers.get("content-length", "")
    encoded = response.headers.get("content-encoding")
    if written == 0 or (announced.isdigit() and not encoded and int(announced) != written):
        raise DownloadFailed(f"The download broke off after {written} bytes of {announced or 'an unknown number'}.")
    crash_points.reach("download.complete")


def publish(part: Path, target: Path) -> Path:
    """Give a complete file its name, never over another file; the same bytes under that name count as done.

    Raises `DownloadFailed` for what is no video.
    """
    with part.open("rb") as file:
        if not looks_like_video(file.read(12)):
            raise DownloadFailed("What lies at the finished video's address is no video.")
    for candidate in [target, *(target.with_stem(f"{target.stem}-{n}") for n in range(2, 100))]:
        if same_bytes(part, candidate):
            return candidate
        try:
            rename_without_replacing(part, candidate)
        except FileExistsError:
            continue
        crash_points.reach("download.published")
        return candidate
    raise FileExistsError(17, "a hundred files of that name exist", str(target))


def same_bytes(one: Path, other: Path) -> bool:
    """Compare two files by content; a file that is not there equals nothing."""
    if not other.is_file() or one.stat().st_size != other.stat().st_size:
        return False
    with one.open("rb") as left, other.open("rb") as right:
        return hashlib.file_digest(left, "sha256").digest() == hashlib.file_digest(right, "sha256").digest()
