"""The beginning of a video at an address, for looking into it: guarded as downloads are, and bounded."""

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from pathlib import Path
from typing import cast

import anyio
import httpx

from luma_mcp.core.errors import DownloadFailed, VideoUnusable
from luma_mcp.core.text import sanitise_text
from luma_mcp.media.downloads import LENGTH, error_for_status, is_packed
from luma_mcp.media.mp4 import HEAD_BYTES, looks_like_video
from luma_mcp.runapi.connection import HttpClients
from luma_mcp.runapi.ssrf import DownloadGuard

MAX_PART_BYTES = 64 << 20
PART_SECONDS = 10.0
PART_TIMEOUT = httpx.Timeout(10.0)
WHOLE_LENGTH = re.compile(r"bytes 0-[0-9]{1,18}/([0-9]{1,18})")


async def fetch_part(clients: HttpClients, guard: DownloadGuard, url: str, target: Path) -> float:
    """Write the beginning of a video to a new file, and give which share of the whole that is, 0..1.

    Raises `DownloadFailed`, or `OSError` for a disk that takes no file.
    """
    try:
        clients.check_proxy(url)
        with anyio.move_on_after(PART_SECONDS):
            return await write_part(clients.storage, guard, httpx.URL(url), target)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        detail = sanitise_text(str(error)) or type(error).__name__
        raise DownloadFailed(f"The video could not be fetched for a look at it: {detail}.") from error
    raise DownloadFailed(f"The video did not arrive in {PART_SECONDS:.0f} seconds, so it was not looked at.")


async def write_part(http: httpx.AsyncClient, guard: DownloadGuard, url: httpx.URL, target: Path) -> float:
    headers = {"Range": f"bytes=0-{MAX_PART_BYTES - 1}"}
    async with guard.get(http, url, headers, PART_TIMEOUT) as response:
        if response.status_code not in (HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT):
            raise error_for_status(response.status_code)
        total = 0 if is_packed(response) else whole_length(response)
        async with await anyio.open_file(target, "xb") as file:
            done = await write_beginning(response, file)
    return min(1.0, done / total) if total else 1.0


async def write_beginning(response: httpx.Response, file: anyio.AsyncFile[bytes]) -> int:
    """Write what comes, up to the bound, and give how many bytes; raise `VideoUnusable` for what is no video."""
    done, first = 0, b""
    async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_bytes())) as pieces:
        async for piece in pieces:
            if len(first) < HEAD_BYTES:
                first = (first + piece)[:HEAD_BYTES]
                if len(first) == HEAD_BYTES and not looks_like_video(first):
                    raise VideoUnusable("What lies at the video's address is no video.")
            await file.write(piece[: MAX_PART_BYTES - done])
            done = min(done + len(piece), MAX_PART_BYTES)
            if done == MAX_PART_BYTES:
                break
    return done


def whole_length(response: httpx.Response) -> int:
    """Read how long the whole file is; 0 if that is not said."""
    if response.status_code == HTTPStatus.PARTIAL_CONTENT:
        said = WHOLE_LENGTH.fullmatch(response.headers.get("content-range", "").strip())
        return int(said[1]) if said else 0
    length = response.headers.get("content-length", "")
    return int(length) if LENGTH.fullmatch(length) else 0
