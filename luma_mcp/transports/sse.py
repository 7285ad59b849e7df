"""The older HTTP transport of MCP: one stream of events to each client, and messages that come beside it."""

import math
from contextlib import suppress
from typing import Any

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.server import Server
from mcp.server.sse import SseServerTransport
from mcp.shared._stream_protocols import ReadStream, WriteStream
from mcp.shared.message import SessionMessage
from mcp.types import (
    INTERNAL_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from luma_mcp.core.concurrency import cancel_after
from luma_mcp.server.context import DISCONNECTED_KEY

Incoming = ReadStream[SessionMessage | Exception]
Outgoing = WriteStream[SessionMessage]

MESSAGES_PATH = "/messages"
FIRST_MESSAGE_SECONDS = 60.0
MAX_UNANSWERED = 50


class SseStreams:
    """The event streams of all clients."""

    def __init__(self, server: Server[Any], largest_message: int) -> None:
        self._server = server
        self._sse = SseServerTransport(f"{MESSAGES_PATH}/", max_request_body_size=largest_message)
        self._ending = anyio.Event()

    def end(self) -> None:
        """End all streams, as if each client had left."""
        self._ending.set()

    async def handle_message(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a message to the server (`POST /messages/`).

        The answer goes by the stream, so it does not matter when the client closes this connection.
        """
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):  # the client left meanwhile
            await self._sse.handle_post_message({**scope, DISCONNECTED_KEY: None}, receive, send)

    async def handle_stream(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one client for as long as it stays (`GET /sse`)."""
        if scope["method"] != "GET":  # a stream to a `HEAD` would stand for ever, and say nothing
            await PlainTextResponse("A stream is asked for with GET.", 405, {"Allow": "GET"})(scope, receive, send)
            return
        heard, from_client = anyio.create_memory_object_stream[SessionMessage | Exception]()
        to_client, said = anyio.create_memory_object_stream[SessionMessage]()
        unanswered: set[RequestId] = set()
        async with (
            self._sse.connect_sse(scope, receive, send) as (incoming, outgoing),
            anyio.create_task_group() as passing,
        ):
            passing.start_soon(self._forward_incoming, incoming, heard, to_client.clone(), unanswered)
            passing.start_soon(forward_outgoing, said, outgoing, unanswered)
            await self._server.run(from_client, to_client, self._server.create_initialization_options())

    async def _forward_incoming(
        self,
        incoming: Incoming,
        heard: MemoryObjectSendStream[SessionMessage | Exception],
        to_client: MemoryObjectSendStream[SessionMessage],
        unanswered: set[RequestId],
    ) -> None:
        """Forward a client's messages until it leaves, sends none at first, or all streams end."""
        async with incoming, heard, to_client, anyio.create_task_group() as group:
            group.start_soon(cancel_after, self._ending, group.cancel_scope)
            with anyio.move_on_after(FIRST_MESSAGE_SECONDS) as first:
                async for message in incoming:
                    first.deadline = math.inf
                    if refusal := check_unanswered_limit(message, unanswered):
                        await to_client.send(refusal)
                    else:
                        await heard.send(message)
            group.cancel_scope.cancel()


async def forward_outgoing(
    said: MemoryObjectReceiveStream[SessionMessage], outgoing: Outgoing, unanswered: set[RequestId]
) -> None:
    """Forward the server's messages; those for a client that has left are dropped."""
    async with outgoing, said:
        async for message in said:
            if isinstance(message.message, JSONRPCResponse | JSONRPCError) and message.message.id is not None:
                unanswered.discard(message.message.id)
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                await outgoing.send(message)


def check_unanswered_limit(message: SessionMessage | Exception, unanswered: set[RequestId]) -> SessionMessage | None:
    """Give the refusal of a request whose client has `MAX_UNANSWERED` already; None for whatever may pass."""
    about = message.message if isinstance(message, SessionMessage) else None
    if isinstance(about, JSONRPCNotification) and about.method == "notifications/cancelled":
        unanswered.discard((about.params or {}).get("requestId", ""))
    if not isinstance(about, JSONRPCRequest):
        return None
    if len(unanswered) < MAX_UNANSWERED:
        unanswered.add(about.id)
        return None
    error = ErrorData(code=INTERNAL_ERROR, message=f"At most {MAX_UNANSWERED} requests can be under way on one stream.")
    return SessionMessage(JSONRPCError(jsonrpc="2.0", id=about.id, error=error))
