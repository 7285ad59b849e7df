"""A transport behind which an ASGI application answers in this process, piece by piece as over a network."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, cast

import anyio
import httpx
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from starlette.types import ASGIApp, Message, Scope

from luma_mcp.core.concurrency import background_work, guarded

PieceSender = MemoryObjectSendStream[bytes]
PieceReceiver = MemoryObjectReceiveStream[bytes]


@asynccontextmanager
async def open_asgi_transport(app: ASGIApp) -> AsyncGenerator["StreamingASGITransport"]:
    """Give a transport for use inside; requests that the application still works on are cancelled afterwards."""
    async with background_work() as serving:
        yield StreamingASGITransport(app, serving)


class StreamingASGITransport(httpx.AsyncBaseTransport):
    """Passes requests to an application, and its answers back, without ever holding a whole body."""

    def __init__(self, app: ASGIApp, serving: TaskGroup) -> None:
        self._app = app
        self._serving = serving

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        exchange = RequestResponseCycle(request)
        work = partial(exchange.run, self._app)
        self._serving.start_soon(partial(guarded, work, otherwise=None, what="The application"))
        awaited = False
        try:
            await exchange.response_started.wait()
            awaited = True
        finally:
            if not awaited:  # also if it had just begun to answer
                await exchange.abandon()
        if exchange.failure is not None:
            exchange.pieces.close()
            raise exchange.failure
        return httpx.Response(exchange.status, headers=exchange.headers, stream=Body(exchange))


class RequestResponseCycle:
    """One request and its answer."""

    def __init__(self, request: httpx.Request) -> None:
        self.response_started = anyio.Event()
        self.failure: httpx.TransportError | None = None
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.pieces: PieceReceiver
        self._send_piece: PieceSender
        self._send_piece, self.pieces = anyio.create_memory_object_stream[bytes](0)
        self._request = request
        self._content = cast("AsyncGenerator[bytes]", aiter(cast("AsyncIterator[bytes]", request.stream)))
        self._sent_all = False
        self._stopping = anyio.CancelScope()
        self._ended = anyio.Event()

    async def run(self, app: ASGIApp) -> None:
        """Run the application; an `httpx.TransportError` of its own is raised for the client as well."""
        try:
            with self._stopping, self._send_piece:
                await app(scope_of(self._request), self._receive, self._send)
        except httpx.TransportError as error:
            self.failure = error
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass  # the client has gone
        finally:
            self.response_started.set()
            self._ended.set()

    async def abandon(self) -> None:
        """Cancel the application and wait for its end: its client has gone."""
        self._stopping.cancel()
        self.pieces.close()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    async def _receive(self) -> Message:
        if self._sent_all:
            await anyio.sleep_forever()
        piece = await anext(self._content, b"")
        self._sent_all = not piece
        return {"type": "http.request", "body": piece, "more_body": bool(piece)}

    async def _send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status, self.headers = message["status"], list(message["headers"])
            self.response_started.set()
        elif message["type"] == "http.response.body" and message.get("body"):
            await self._send_piece.send(message["body"])


class Body(httpx.AsyncByteStream):
    """The body of an answer, as it comes."""

    def __init__(self, exchange: RequestResponseCycle) -> None:
        self._exchange = exchange

    async def __aiter__(self) -> AsyncIterator[bytes]:
        """Give the pieces, then raise the failure if there was one."""
        async for piece in self._exchange.pieces:
            yield piece
        if self._exchange.failure is not None:
            raise self._exchange.failure

    async def aclose(self) -> None:
        self._exchange.pieces.close()


def scope_of(request: httpx.Request) -> Scope:
    target, _, query = request.url.raw_path.partition(b"?")
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "headers": [(name.lower(), value) for name, value in request.headers.raw],
        "scheme": request.url.scheme,
        "path": request.url.path,
        "raw_path": target,
        "query_string": query,
        "server": (request.url.host, request.url.port),
        "client": ("127.0.0.1", 0),
        "root_path": "",
    }
    return scope
