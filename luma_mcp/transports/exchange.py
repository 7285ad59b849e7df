"""A request over HTTP and its answer: whether anybody still waits for it, and a line about it."""

import json
import logging
from collections.abc import Collection
from contextlib import nullcontext

import anyio
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luma_mcp.app.drain import Answering
from luma_mcp.server.context import GONE

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBED = frozenset({"/healthz", "/readyz"})

logger = logging.getLogger("luma_mcp.access")


class Exchange:
    """A request and the answer that goes back on it."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.gone = anyio.Event()
        self.status = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        """Receive, and notice when the client is gone."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone.set()
        return message

    async def send(self, message: Message) -> None:
        """Send, and remember the status."""
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]


class Watched:
    """Makes an exchange of each request, and logs it when it is over. `paths` are those that may be named in a log."""

    def __init__(self, app: ASGIApp, answering: Answering, paths: Collection[str]) -> None:
        self._app = app
        self._answering = answering
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        exchange = Exchange(receive, send)
        scope[GONE] = exchange.gone
        begun, path = anyio.current_time(), scope["path"]
        try:
            with self._answering.under_way() if scope["method"] == "POST" else nullcontext():
                await self._app(scope, exchange.receive, exchange.send)
        finally:
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
        logger.log(logging.DEBUG if first in PROBED else logging.INFO, "%s", json.dumps(line))


def named(scope: Scope) -> str:
    """Name the caller whose token came with a request; empty if none did."""
    user = scope.get("user")
    return user.access_token.client_id if isinstance(user, AuthenticatedUser) else ""
