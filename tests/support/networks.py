"""Networks that are slow or gone, on the virtual clock."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import cast

import anyio
import httpx


class SlowUpload(httpx.AsyncBaseTransport):
    """A network on which each piece of an upload takes its time, and which breaks after some seconds at first."""

    def __init__(self, inner: httpx.AsyncBaseTransport, seconds: float, breaks: int) -> None:
        self._inner = inner
        self._seconds = seconds
        self._breaks = breaks
        self.received = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.method != "PUT":
            return await self._inner.handle_async_request(request)
        content = bytearray()
        assert isinstance(request.stream, httpx.AsyncByteStream)
        async with aclosing(cast("AsyncGenerator[bytes]", aiter(request.stream))) as pieces:
            async for piece in pieces:
                content += piece
                self.received = max(self.received, len(piece))
                await anyio.sleep(self._seconds)
                if self._breaks and len(content) > 1_000_000:
                    self._breaks -= 1
                    raise httpx.WriteError("connection reset")
        request.stream = httpx.ByteStream(bytes(content))
        return await self._inner.handle_async_request(request)


class Outage(httpx.AsyncBaseTransport):
    """A network that cannot be reached at certain times, from and to so many seconds on the event loop's clock."""

    def __init__(self, inner: httpx.AsyncBaseTransport, *times: tuple[float, float]) -> None:
        self._inner = inner
        self._times = times

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if any(begin <= anyio.current_time() < end for begin, end in self._times):
            raise httpx.ConnectError("All connection attempts failed")
        return await self._inner.handle_async_request(request)


class SlowOutput(httpx.AsyncBaseTransport):
    """A network on which a finished video comes in so many pieces, each of which takes its time."""

    def __init__(self, inner: httpx.AsyncBaseTransport, seconds: float, pieces: int) -> None:
        self._inner = inner
        self._seconds = seconds
        self._pieces = pieces

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        response = await self._inner.handle_async_request(request)
        if not request.url.path.endswith(".mp4"):
            return response
        content = await response.aread()
        size = -(-len(content) // self._pieces)
        pieces = [content[start : start + size] for start in range(0, len(content), size)]
        return httpx.Response(response.status_code, headers=response.headers, stream=Slow(pieces, self._seconds))


class Slow(httpx.AsyncByteStream):
    """Pieces that come one after the other; tells when it is closed."""

    def __init__(self, pieces: Sequence[bytes], seconds: float) -> None:
        self._pieces = iter(pieces)
        self._seconds = seconds
        self.is_closed = False

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        await anyio.sleep(self._seconds)
        for piece in self._pieces:
            return piece
        raise StopAsyncIteration

    async def aclose(self) -> None:
        self.is_closed = True
