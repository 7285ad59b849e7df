"""The older HTTP transport of MCP: one stream of events to each client, and messages that come beside it."""

import math
from collections import Counter, deque
from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import ServerMessageMetadata, SessionMessage
from mcp.types import INTERNAL_ERROR, ErrorData, JSONRPCError, JSONRPCRequest, JSONRPCResponse, RequestId
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from luma_mcp.background import cancel_after
from luma_mcp.deliveries import Way
from luma_mcp.exchanges import WAY, Exchange, named

Incoming = ReadStream[SessionMessage | Exception]
Outgoing = WriteStream[SessionMessage]

MESSAGES_PATH = "/messages"
FIRST_SECONDS = 60.0
REMEMBERED = 1000
MESSAGE = b"event: message"
MOST_AT_ONCE = 50
MOST_TAKEN = 200


class Stream(Way):
    """The way to a client through its stream of events."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self._next: deque[RequestId | None] = deque()
        self.under_way = 0
        self._sent: deque[RequestId | None] = deque(maxlen=REMEMBERED)

    def expect(self, message: SessionMessage) -> None:
        """Know what is sent next."""
        about = message.message
        self._next.append(about.id if isinstance(about, JSONRPCResponse) else None)

    async def send(self, message: Message) -> None:
        """Send a piece of the stream, and notice which answer it was."""
        await self._exchange.send(message)
        if message.get("body", b"").startswith(MESSAGE) and not self._exchange.gone.is_set():
            self._sent.append(self._next.popleft())

    def has_sent(self, request: RequestId | None) -> bool:
        """Tell whether the answer to a request was sent, among the last ones."""
        return request in self._sent

    def is_clear(self) -> bool:
        """Tell whether the client takes what it is sent."""
        return self._exchange.is_clear()

    def is_lost(self, request: RequestId | None) -> bool:
        """Tell whether the stream has ended before the answer was sent and taken."""
        return self._exchange.is_broken or (self._exchange.over and not self.has_sent(request))

    def is_read_before_more_is_asked(self) -> bool:
        """Tell that nobody can vouch for this answer: what is asked elsewhere may be a repetition of a lost call."""
        return False

    @contextmanager
    def answering(self) -> Generator[None]:
        """Answer a request inside."""
        self.under_way += 1
        try:
            yield
        finally:
            self.under_way -= 1


class Streams:
    """The event streams of all clients."""

    def __init__(self, server: Server[Any], largest_message: int) -> None:
        self._server = server
        self._sse = SseServerTransport(f"{MESSAGES_PATH}/", max_request_body_size=largest_message)
        self._ending = anyio.Event()
        self._taking: Counter[str] = Counter()

    def end(self) -> None:
        """End all streams, as if each client had left."""
        self._ending.set()

    async def take_message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a message to the server (`POST /messages/`), unless too many of the caller's get no further."""
        caller = named(scope)
        if self._taking[caller] >= MOST_TAKEN:
            await PlainTextResponse("Too many messages at once.", 429)(scope, receive, send)
            return
        self._taking[caller] += 1
        try:
            with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client left meanwhile
                await self._sse.handle_post_message(scope, receive, send)
        finally:
            self._taking[caller] -= 1

    async def stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client for as long as it stays (`GET /sse`)."""
        if scope["method"] != "GET":  # a stream to a `HEAD` would stand for ever, and say nothing
            await PlainTextResponse("A stream is asked for with GET.", 405, {"Allow": "GET"})(scope, receive, send)
            return
        way = Stream(scope[WAY])
        heard, from_client = anyio.create_memory_object_stream[SessionMessage | Exception]()
        to_client, said = anyio.create_memory_object_stream[SessionMessage]()
        async with (
            self._sse.connect_sse(scope, receive, way.send) as (incoming, outgoing),
            anyio.create_task_group() as passing,
        ):
            passing.start_soon(self._pass_in, incoming, heard, to_client.clone(), way)
            passing.start_soon(pass_out, said, outgoing, way)
            await self._server.run(from_client, to_client, self._server.create_initialization_options())

    async def _pass_in(
        self,
        incoming: Incoming,
        heard: MemoryObjectSendStream[SessionMessage | Exception],
        to_client: MemoryObjectSendStream[SessionMessage],
        way: Stream,
    ) -> None:
        """Pass on what the client says until it leaves, or says nothing at first, or all streams end."""
        async with incoming, heard, to_client, anyio.create_task_group() as group:
            group.start_soon(cancel_after, self._ending, group.cancel_scope)
            with anyio.move_on_after(FIRST_SECONDS) as first:
                async for message in incoming:
                    first.deadline = math.inf
                    mark(message, way)
                    if refusal := too_much(message, way):
                        await to_client.send(refusal)
                    else:
                        await heard.send(message)
            group.cancel_scope.cancel()


async def pass_out(said: MemoryObjectReceiveStream[SessionMessage], outgoing: Outgoing, way: Stream) -> None:
    """Pass on what the server says; what a client that has left should have heard is dropped."""
    async with outgoing, said:
        async for message in said:
            way.expect(message)
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await outgoing.send(message)


def too_much(message: SessionMessage | Exception, way: Stream) -> SessionMessage | None:
    """Refuse a request while its client has as many under way as it may; anything else always comes through."""
    if way.under_way < MOST_AT_ONCE or not isinstance(message, SessionMessage):
        return None
    if not isinstance(message.message, JSONRPCRequest):
        return None
    error = ErrorData(code=INTERNAL_ERROR, message=f"At most {MOST_AT_ONCE} requests can be under way on one stream.")
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=message.message.id, error=error))


def mark(message: SessionMessage | Exception, way: Stream) -> None:
    """Have the request that brought a message know that answers go by the stream."""
    if isinstance(message, SessionMessage) and isinstance(message.metadata, ServerMessageMetadata):
        request: Any = message.metadata.request_context
        request.scope[WAY] = way
