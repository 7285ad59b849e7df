"""Videos that a host hands over with a call, by a link that soon expires: fetched at once, kept for the call alone."""

from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import cast

import anyio
import anyio.to_thread
import httpx

from luma_mcp.core.errors import DataNotWritable, DownloadFailed, SourceNotAllowed, SourceNotFound
from luma_mcp.media.downloads import LENGTH, is_packed
from luma_mcp.media.incoming import Rule, private_file, remove_left_behind, write_video
from luma_mcp.runapi.connection import HttpClients
from luma_mcp.runapi.ssrf import DownloadGuard, Purpose

MAX_ATTACHED_BYTES = 500_000_000
FETCH_SECONDS = 20.0
FETCH_TIMEOUT = httpx.Timeout(FETCH_SECONDS)
LEFTOVER_SECONDS = 600.0
FILE_NAME = "attached.mp4"
AGAIN_HINT = "Nothing was submitted. Have the user attach the video again, or give a link that anyone can open."
SMALLER_HINT = "Nothing was submitted. Have the user attach a shorter or smaller clip, or give a public link to it."
KIND_HINT = "Nothing was submitted. Have the user attach an MP4 or MOV video."
RULE = Rule("The attached video", MAX_ATTACHED_BYTES, SMALLER_HINT, KIND_HINT)
ATTACHING = Purpose(  # callers give any name, and are not told where it leads
    "The attached video's address", "is not fetched", SourceNotAllowed, AGAIN_HINT, tells_peer=False
)


class AttachmentGuard(DownloadGuard):
    """Keeps what is fetched for a call on https and off private networks, whatever the settings allow results."""

    purpose = ATTACHING
    schemes = frozenset(("https",))


class Attachments:
    """Fetches attached videos into a folder of its own, each for as long as one call lasts."""

    def __init__(self, connection: HttpClients, folder: Path, *, trusted: str) -> None:
        self._connection = connection
        self._folder = folder
        self._network = AttachmentGuard(trusted=trusted, allow_private=False)

    @asynccontextmanager
    async def fetched(self, url: str) -> AsyncGenerator[Path]:
        """Give the file that lies at an address, as far as its first bytes tell a video; it is removed afterwards.

        Raises `SourceNotAllowed`, `SourceNotFound` or `OutputNotWritable`.
        """
        async with private_file(self._folder, FILE_NAME, LEFTOVER_SECONDS) as path:
            await self._bring(url, path)
            yield path

    async def tidy(self) -> None:
        """Remove videos that killed servers left behind."""
        await anyio.to_thread.run_sync(remove_left_behind, self._folder, LEFTOVER_SECONDS, abandon_on_cancel=True)

    async def _bring(self, url: str, path: Path) -> None:
        try:
            await self._fetch(url, path)
        except OSError as error:
            raise DataNotWritable(f"{self._folder} cannot be written: {error.strerror}.") from error

    async def _fetch(self, url: str, path: Path) -> None:
        try:
            self._connection.check_proxy(url)
            with anyio.move_on_after(FETCH_SECONDS):
                return await self._receive(httpx.URL(url), path)
        except SourceNotAllowed as error:
            error.hint = AGAIN_HINT
            raise
        except (httpx.HTTPError, httpx.InvalidURL, DownloadFailed) as error:
            failed = f"The attached video could not be fetched ({type(error).__name__})."
            raise SourceNotFound(failed, hint=AGAIN_HINT) from None  # the error's own words may hold the link
        late = f"The attached video did not arrive within {FETCH_SECONDS:.0f} seconds."
        raise SourceNotFound(late, hint=SMALLER_HINT)

    async def _receive(self, url: httpx.URL, path: Path) -> None:
        async with self._network.get(self._connection.storage, url, {}, FETCH_TIMEOUT) as response:
            if response.status_code != HTTPStatus.OK or is_packed(response):
                answered = f"The attached video could not be fetched: its address answers {response.status_code}."
                raise SourceNotFound(answered, hint=AGAIN_HINT)
            length = response.headers.get("content-length", "")
            size = int(length) if LENGTH.fullmatch(length) else None
            async with aclosing(cast("AsyncGenerator[bytes]", response.aiter_raw())) as pieces:
                await write_video(pieces, path, size, RULE)
