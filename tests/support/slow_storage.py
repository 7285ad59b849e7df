"""Storage that is slow: on the virtual clock, a few bytes from time to time; over real sockets, stuck at first."""

import re
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress

import anyio
import httpx
from anyio.abc import SocketAttribute, SocketStream

from tests.support.networks import Slow

SECONDS = 5.3
PIECES = 100


class SlowStorage:
    """Serves a video at once, and at the slow paths in many pieces; the first few of these know no ranges."""

    def __init__(self, content: bytes, slow: Sequence[str], *, without: int = 0) -> None:
        self._content = content
        self.slow = list(slow)
        self._without = self.slow[:without]
        self._streams: list[Slow] = []
        self.asked: list[tuple[str, str]] = []
        self.conditions: list[str] = []
        self.most_open = 0

    @property
    def open(self) -> int:
        """How many answers are being read."""
        return sum(not stream.is_closed for stream in self._streams)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path, asked = request.url.path, request.headers.get("range", "")
        self.asked.append((path, asked))
        self.conditions.append(request.headers.get("if-range", ""))
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked and path not in self._without else 0
        size = len(self._content) // PIECES if path in self.slow else len(self._content)
        whole = len(self._content)
        pieces = [self._content[at : at + size] for at in range(start, whole, size)]
        stream = Slow(pieces, SECONDS)
        self._streams.append(stream)
        self.most_open = max(self.most_open, self.open)
        headers = {"ETag": '"one"', "Content-Length": str(whole - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{whole - 1}/{whole}"
        return httpx.Response(206 if start else 200, headers=headers, stream=stream)


class SlowServer:
    """Answers each path with the beginning of a video, and then nothing more; asked for the rest, with the rest."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.port = 0
        self.stuck = self.left = 0

    @asynccontextmanager
    async def serving(self) -> AsyncGenerator["SlowServer"]:
        """Serve on loopback inside."""
        listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
        self.port = listener.extra(SocketAttribute.local_port)  # noqa: S610 - no database is near
        async with listener, anyio.create_task_group() as group:
            group.start_soon(listener.serve, self._answer)
            yield self
            group.cancel_scope.cancel()

    async def _answer(self, stream: SocketStream) -> None:
        async with stream:
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):  # a client may leave at any moment
                asked = re.search(rb"(?i)\r\nrange: bytes=(\d+)-", await stream.receive())
                start, whole = int(asked[1]) if asked else 0, len(self._content)
                head = [f"HTTP/1.1 {206 if start else 200} OK", 'ETag: "one"', f"Content-Length: {whole - start}"]
                head += [f"Content-Range: bytes {start}-{whole - 1}/{whole}"] if start else []
                await stream.send("\r\n".join([*head, "", ""]).encode())
                await stream.send(self._content[start:] if start else self._content[:1000])
                if not start:
                    self.stuck += 1
                    await until_left(stream)
                    self.left += 1


async def until_left(stream: SocketStream) -> None:
    """Wait until the other side closes the connection."""
    try:
        await stream.receive()
    except (anyio.EndOfStream, anyio.BrokenResourceError):
        return
