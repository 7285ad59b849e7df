"""A request over HTTP and its answer: whether anybody still waits for it, whether it was sent, a line about it."""

import json
import logging
import re
from collections.abc import Collection
from contextlib import nullcontext
from typing import Protocol

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.types import RequestId
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luma_mcp.answering import Answering
from luma_mcp.deliveries import Way

WAY = "luma_mcp.way"  # where a request's scope has the way of its answer
RESET_SECONDS = 0.1  # clients that leave with the answer, but before the end of its stream, reset sooner
CONNECTION = "luma_mcp.connection"  # where the state in its scope has what knows whether the client reads
ANSWER = re.compile(rb'event: message\r?\ndata: \{"jsonrpc": ?"2\.0", ?"id":')
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBED = frozenset({"/healthz", "/readyz"})

logger = logging.getLogger("luma_mcp.access")


class Reader(Protocol):
    """What knows whether a client reads what it is sent."""

    def is_stuck(self) -> bool:
        """Look whether the client leaves bytes unread."""
        ...

    @property
    def is_broken(self) -> bool:
        """Tell whether the connection ended with bytes unread."""
        ...

    @property
    def reset_at(self) -> float | None:
        """Tell when the client reset the connection, on the event loop's clock, if it did."""
        ...


class Exchange(Way):
    """A request and the answer that goes back on it."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.gone = anyio.Event()
        self.status = 0
        self.over = False
        self._reader: Reader | None = scope.get("state", {}).get(CONNECTION)
        self._receive = receive
        self._send = send
        self._sent = False
        self._sent_at = 0.0

    async def receive(self) -> Message:
        """Receive, and notice when the client is gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone.set()
        return message

    async def send(self, message: Message) -> None:
        """Send, and notice when all was sent."""
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]
        elif not self.gone.is_set() and (not message.get("more_body", False) or ANSWER.match(message["body"])):
            self._sent_at = self._sent_at if self._sent else anyio.current_time()
            self._sent = True  # clients may leave as soon as they have the answer, before the stream of events ends

    def has_sent(self, request: RequestId | None) -> bool:
        """Tell whether the answer was sent."""
        return self._sent

    def is_clear(self) -> bool:
        """Tell whether the client takes what it is sent."""
        return self._reader is None or not self._reader.is_stuck()

    def is_lost(self, request: RequestId | None) -> bool:
        """Tell whether the connection ended before the answer was sent and taken."""
        return self.is_broken or (self.over and not self._sent)

    def is_read_before_more_is_asked(self) -> bool:
        """Tell that nobody can vouch for this answer: what is asked elsewhere may be a repetition of a lost call."""
        return False

    @property
    def is_broken(self) -> bool:
        """Tell whether the connection ended with bytes unread, or was reset after the client had time to read."""
        if self._reader is None:
            return False
        reset_at = self._reader.reset_at
        return self._reader.is_broken or (reset_at is not None and reset_at - self._sent_at > RESET_SECONDS)


class Watched:
    """Makes an exchange of each request, and logs it when it is over. `paths` are those that may be named in a log."""

    def __init__(self, app: ASGIApp, answering: Answering, paths: Collection[str]) -> None:
        self._app = app
        self._answering = answering
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(scope, receive, send)
        scope[WAY] = exchange
        begun, path = anyio.current_time(), scope["path"]
        try:
            with self._answering.under_way() if scope["method"] == "POST" else nullcontext():
                await self._app(scope, exchange.receive, exchange.send)
        finally:
            exchange.over = True
            self._log(scope, path, exchange, anyio.current_time() - begun)

    def _log(self, scope: Scope, path: str, exchange: Exchange, seconds: float) -> None:
        """Log what happened, without what may be secret: addresses beyond their first part, queries, headers."""
        first = "/" + path.lstrip("/").partition("/")[0]
        client = scope.get("client")
        line = {
            "method": scope["method"] if scope["method"] in METHODS else "other",
            "path": first if first in self._paths else "other",
            "status": exchange.status,
            "seconds": round(seconds, 3),
            "caller": named(scope),
            "from": client[0] if client else "",
        }
        if scope["method"] == "POST" and exchange.is_lost(None):
            line["cut_off"] = True
        logger.log(logging.DEBUG if first in PROBED else logging.INFO, "%s", json.dumps(line))


def named(scope: Scope) -> str:
    """Name the caller whose token came with a request; empty if none did."""
    user = scope.get("user")
    return user.access_token.client_id if isinstance(user, AuthenticatedUser) else ""
