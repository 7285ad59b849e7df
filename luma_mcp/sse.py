"""The older HTTP transport of MCP: one stream of events to each client, and messages that come beside it."""

import math
from collections import deque
from contextlib import suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import JSONRPCResponse, RequestId
from starlette.types import Message, Receive, Scope, Send

from luma_mcp.background import cancel_after
from luma_mcp.deliveries import Way
from luma_mcp.exchanges import WAY, Exchange

Incoming = ReadStream[SessionMessage | Exception]
Outgoing = WriteStream[SessionMessage]

MESSAGES_PATH = "/messages"
FIRST_SECONDS = 60.0
REMEMBERED = 1000
MESSAGE = b"event: message"


class Stream(Way):
    """The way to a client through its stream of events."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._under_way: deque[RequestId | None] = deque()
        self._sent: deque[RequestId | None] = deque(maxlen=REMEMBERED)

    def expect(self, message: SessionMessage) -> None:
        """Know what is sent next."""
        about = message.message
        self._under_way.append(about.id if isinstance(about, JSONRPCResponse) else None)

    async def send(self, message: Message) -> None:
        """Send a piece of the stream, and notice which answer it was."""
        await self._exchange.send(message)
        if message.get("body", b"").startswith(MESSAGE) and not self._exchange.gone.is_set():
            self._sent.append(self._under_way.popleft())

    def has_sent(self, request: RequestId | None) -> bool:
        """Tell whether the answer to a request was sent, among the last ones."""
        return request in self._sent

    def is_clear(self) -> bool:
        """Tell whether the client takes what it is sent."""
        return self._exchange.is_clear()

    def is_lost(self) -> bool:
        """Tell whether the stream has ended."""
        return self._exchange.over


class Streams:
    """The event streams of all clients."""

    def __init__(self, server: Server[Any], largest_message: int) -> None:
        self._server = server
        self._sse = SseServerTransport(f"{MESSAGES_PATH}/", max_request_body_size=largest_message)
        self._ending = anyio.Event()

    def end(self) -> None:
        """End all streams, as if each client had left."""
        self._ending.set()

    async def take_message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a message to the server (`POST /messages/`)."""
        await self._sse.handle_post_message(scope, receive, send)

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client for as long as it stays (`GET /sse`)."""
        way = Stream(scope[WAY])
        heard, from_client = anyio.create_memory_object_stream[SessionMessage | Exception]()
        to_client, said = anyio.create_memory_object_stream[SessionMessage]()
        async with (
            self._sse.connect_sse(scope, receive, way.send) as (incoming, outgoing),
            anyio.create_task_group() as passing,
        ):
            passing.start_soon(self._pass_in, incoming, heard, way)
            passing.start_soon(pass_out, said, outgoing, way)
            await self._server.run(from_client, to_client, self._server.create_initialization_options())

    async def _pass_in(
        self, incoming: Incoming, heard: MemoryObjectSendStream[SessionMessage | Exception], way: Stream
    ) -> None:
        """Pass on what the client says until it leaves, or says nothing at first, or all streams end."""
        async with incoming, heard, anyio.create_task_group() as group:
            group.start_soon(cancel_after, self._ending, group.cancel_scope)
            with anyio.move_on_after(FIRST_SECONDS) as first:
                async for message in incoming:
                    first.deadline = math.inf
                    mark(message, way)
                    await heard.send(message)
            group.cancel_scope.cancel()


async def pass_out(said: MemoryObjectReceiveStream[SessionMessage], outgoing: Outgoing, way: Stream) -> None:
    """Pass on what the server says; what a client that has left should have heard is dropped."""
    async with outgoing, said:
        async for message in said:
            way.expect(message)
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await outgoing.send(message)


def mark(message: SessionMessage | Exception, way: Stream) -> None:
    """Have the request that brought a message know that answers go by the stream."""
    if isinstance(message, SessionMessage) and isinstance(message.metadata, ServerMessageMetadata):
        request: Any = message.metadata.request_context
        request.scope[WAY] = way
