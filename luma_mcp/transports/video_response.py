"""A video file over HTTP, whole or one range of it (RFC 9110, 14), as players ask for it."""

import os
import re
from collections.abc import Mapping
from contextlib import closing
from io import BufferedReader

import anyio
import anyio.to_thread
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from luma_mcp.app.videos import VideoFile
from luma_mcp.core.concurrency import background_work
from luma_mcp.core.errors import SourceNotFound

PIECE_BYTES = 1 << 18
RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII | re.IGNORECASE)


class RangeNotSatisfiable(ValueError):
    """A range begins behind the end of the file."""


class VideoResponse(Response):
    """Sends an open file, and closes it. It is the file that was checked, whatever lies at its path by now.

    A request for several ranges gets the whole file, as does one whose range is not understood.
    """

    def __init__(self, file: BufferedReader, media_type: str, headers: Mapping[str, str]) -> None:
        self._file = file
        known = os.fstat(file.fileno())
        self._size = known.st_size
        self._tag = f'"{known.st_mtime_ns:x}-{known.st_size:x}"'
        more = {"Accept-Ranges": "bytes", "ETag": self._tag, "Content-Length": str(known.st_size)}
        super().__init__(media_type=media_type, headers={**headers, **more})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with closing(self._file):
            start, end = self._begin(Headers(scope=scope))
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with background_work() as group:
                group.start_soon(cancel_on_disconnect, receive, group.cancel_scope)
                if scope["method"] == "HEAD" or await self._send_pieces(send, start, end):
                    await send({"type": "http.response.body", "body": b""})

    def _begin(self, asked: Headers) -> tuple[int, int]:
        """Set status and headers by what is asked for; give where it begins and ends."""
        ranges = asked.getlist("range") if asked.get("if-range", self._tag) == self._tag else []
        try:
            found = parse_range(ranges[0], self._size) if len(ranges) == 1 else None
        except RangeNotSatisfiable:
            self._set_range("*", 0)
            self.status_code = 416
            return 0, 0
        if found is None:
            return 0, self._size
        start, end = found
        self._set_range(f"{start}-{end - 1}", end - start)
        self.status_code = 206
        return start, end

    def _set_range(self, words: str, length: int) -> None:
        self.headers["Content-Range"] = f"bytes {words}/{self._size}"
        self.headers["Content-Length"] = str(length)

    async def _send_pieces(self, send: Send, start: int, end: int) -> bool:
        """Send a part, and tell whether all of it came: of a file that was cut, the server drops the connection."""
        self._file.seek(start)
        while start < end:
            piece = await anyio.to_thread.run_sync(self._file.read, min(PIECE_BYTES, end - start))
            if not piece:
                return False
            start += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        return True


async def open_response(video: VideoFile, headers: Mapping[str, str]) -> VideoResponse:
    """Give what sends a video of a task's; raise `SourceNotFound` if it cannot be opened."""
    try:
        file = await anyio.to_thread.run_sync(video.open)
    except OSError as error:
        raise SourceNotFound(f"The file {video.path.name} cannot be read: {error.strerror}.") from error
    return VideoResponse(file, video.mime_type, headers)


def parse_range(value: str, size: int) -> tuple[int, int] | None:
    """Give where a range begins and ends in a file of `size` bytes, None if one range cannot be read from it.

    Raises `RangeNotSatisfiable`.
    """
    match = RANGE.fullmatch(value.strip())
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    start, end = (int(first), size) if first else (max(0, size - int(last)), size)
    if first and last:
        if int(last) < start:
            return None
        end = min(size, int(last) + 1)
    if start >= end:
        raise RangeNotSatisfiable(value)
    return start, end


async def cancel_on_disconnect(receive: Receive, scope: anyio.CancelScope) -> None:
    """Stop sending when the client has left: what is sent then goes nowhere, without a word."""
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
