"""The check of tokens: who may be served, what for, and for how long."""

import json
from collections.abc import Sequence
from typing import cast

import anyio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luma_mcp.core.text import is_object
from luma_mcp.server.context import DISCONNECTED_KEY
from luma_mcp.server.scopes import READ_SCOPE, SPEND_SCOPE, SPENDING_TOOLS, allows
from luma_mcp.transports.bearer import CallerToken, TokenRefused, caller_token, refused_token
from luma_mcp.transports.challenge import Challenge

RECHECK_SECONDS = 15.0  # after which a request under way is ended at the latest when its token counts no more


class RequireToken:
    """Serves requests with a token that lets its caller look, for as long as the token counts."""

    def __init__(self, app: ASGIApp, challenge: Challenge) -> None:
        self._app = app
        self._challenge = challenge

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 401, 403 or 503."""
        token = caller_token(scope)
        if token is None:
            await self._challenge.refuse(refused_token(scope))(scope, receive, send)
        elif READ_SCOPE not in token.scopes:
            await self._challenge.require_scope(READ_SCOPE)(scope, receive, send)
        else:
            request = AuthorizedRequest(token, scope, receive, send)
            await self._app(scope, request.receive, request.send)
            if request.was_ended:
                await request.finish(self._challenge)


class AuthorizedRequest:
    """Ends a request, as if its client had left, when its token counts no more: streams may stand for days."""

    def __init__(self, token: CallerToken, scope: Scope, receive: Receive, send: Send) -> None:
        self.was_ended = False
        self._token = token
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body_came = False
        self._begun = self._finished = False

    async def receive(self) -> Message:
        """Give what comes from the client, or its end once its token does not count any more."""
        while not self.was_ended:
            with anyio.move_on_after(RECHECK_SECONDS if self._body_came else None):
                message = await self._receive()
                self._body_came = not message.get("more_body")
                return message
            if not self._token.is_current():
                self.was_ended = True
                if gone := self._scope.get(DISCONNECTED_KEY):
                    gone.set()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Pass on what is sent to the client."""
        self._begun = True
        self._finished = message["type"] == "http.response.body" and not message.get("more_body")
        await self._send(message)

    async def finish(self, challenge: Challenge) -> None:
        """Tell the client that nothing more will come."""
        if not self._begun:
            await challenge.refuse(TokenRefused())(self._scope, self._receive, self._send)
        elif not self._finished:
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})


class RequireSpendScope:
    """Refuses calls of tools that spend where the caller's token is for looking alone; the tools do so, too.

    Only then is a body looked into: an answer's status has to be known before its first byte.
    """

    def __init__(self, app: ASGIApp, challenge: Challenge, largest_message: int) -> None:
        self._app = app
        self._challenge = challenge
        self._largest_message = largest_message

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 403."""
        if allows(scope.get("user"), SPEND_SCOPE) or scope["method"] != "POST":
            await self._app(scope, receive, send)
            return
        messages = await self._read(receive)
        body = b"".join(cast("bytes", message.get("body", b"")) for message in messages)
        if calls_spending_tool(body):
            await self._challenge.require_scope(SPEND_SCOPE)(scope, receive, send)
        else:
            await self._app(scope, replayed(messages, receive), send)

    async def _read(self, receive: Receive) -> Sequence[Message]:
        """Read a body up to its end, or to where it is refused for its size."""
        messages: list[Message] = []
        size, more = 0, True
        while more and size <= self._largest_message:
            messages.append(await receive())
            size += len(messages[-1].get("body", b""))
            more = bool(messages[-1].get("more_body"))
        return messages


def replayed(messages: Sequence[Message], receive: Receive) -> Receive:
    """Give messages that came already, and then those that come."""
    ahead = iter(messages)

    async def again() -> Message:
        return next(ahead, None) or await receive()

    return again


def calls_spending_tool(body: bytes) -> bool:
    try:
        found: object = json.loads(body)
    except (ValueError, RecursionError):
        return False  # and refused by whoever reads it next
    for message in cast("list[object]", found) if isinstance(found, list) else [found]:
        params = message.get("params") if is_object(message) and message.get("method") == "tools/call" else None
        name = params.get("name") if is_object(params) else None
        if isinstance(name, str) and name in SPENDING_TOOLS:
            return True
    return False
