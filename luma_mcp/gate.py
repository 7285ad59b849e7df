"""Who may come in over HTTP: by name of this server, by origin, by token; and how much they may say."""

import hashlib
import hmac
import logging
from collections import Counter, deque
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

import anyio
from mcp.server.auth.provider import AccessToken, TokenVerifier
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luma_mcp.exchanges import named
from luma_mcp.settings import Settings

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
EVERYWHERE = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 - named to be told apart from real addresses
BODY_SECONDS = 15.0
LARGEST_HEAD_BYTES = 32_768

logger = logging.getLogger(__name__)


class Callers(TokenVerifier):
    """Knows whose token is whose."""

    def __init__(self, callers: Sequence[tuple[str, SecretStr]]) -> None:
        self._known = [(name, digest(token.get_secret_value())) for name, token in callers]

    async def verify_token(self, token: str) -> AccessToken | None:
        """Name the caller of a token; takes as long for every token."""
        given, found = digest(token), ""
        for name, known in self._known:
            found = name if hmac.compare_digest(given, known) else found
        return AccessToken(token="", client_id=found, scopes=[]) if found else None


def digest(token: str) -> bytes:
    """Make tokens of any length equally long."""
    return hashlib.sha256(token.encode()).digest()


def known_hosts(settings: Settings) -> frozenset[str]:
    """List the names that this server goes by, with a port where only that one is meant.

    Its public name is one of them only where tokens keep the public out; without, it is there for RunAPI's calls alone.
    """
    own = settings.host.lower()
    public = (urlsplit(settings.public_url).hostname or "") if settings.callers else ""
    named = {f"[{name}]" if ":" in name and not name.startswith("[") else name for name in (own, public)}
    return LOOPBACK | frozenset(settings.allowed_hosts) | (named - EVERYWHERE)


def is_known_host(host: str, known: Collection[str]) -> bool:
    """Tell whether a `Host` header names this server: a known name with any port, or a known name and port."""
    given = host.lower()
    name, colon, port = given.rpartition(":")
    bare = name if colon and port.isascii() and port.isdigit() else given
    return given in known or bare.removesuffix(".") in known


def is_known_origin(origin: str, known: Collection[str]) -> bool:
    """Tell whether an `Origin` header names a page of this server's, or of this machine's."""
    scheme, _, host = origin.partition("://")
    return scheme in {"http", "https"} and is_known_host(host, known)


class Gate:
    """Lets in only who calls this server by its name, from no foreign web page: browsers can be tricked to come."""

    def __init__(self, app: ASGIApp, known: Collection[str], unchecked: tuple[str, ...], public_url: str) -> None:
        self._app = app
        self._known = known
        self._unchecked = unchecked
        self._public = urlsplit(public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 421 (name), 403 (origin) or 431 (bytes of its head)."""
        unchecked = scope["path"].startswith(self._unchecked)
        answer = None if unchecked else self._refusal(Headers(scope=scope))
        self._put_below(scope)
        await (answer or self._app)(scope, receive, send)

    def _put_below(self, scope: Scope) -> None:
        """Know the path under which the proxy shows this server to whoever comes through it: it took that off."""
        prefix = self._public.path.rstrip("/")
        if prefix and Headers(scope=scope).get("host", "").lower() == self._public.netloc.lower():
            scope["root_path"], scope["path"] = prefix, prefix + scope["path"]

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        if sum(len(name) + len(value) for name, value in headers.raw) > LARGEST_HEAD_BYTES:
            return refuse(431, f"The request's head is larger than {LARGEST_HEAD_BYTES} bytes.")
        host, origins = headers.get("host", ""), headers.getlist("origin")
        if not is_known_host(host, self._known):
            return refuse(421, f"This server does not go by the name {host[:100]!r}: add it to LUMA_MCP_ALLOWED_HOSTS.")
        for origin in origins:
            if not is_known_origin(origin, self._known):
                return refuse(403, f"Web pages of {origin[:100]!r} may not call this server.")
        return None


def refuse(status: int, reason: str) -> PlainTextResponse:
    """Refuse a request, and log why."""
    logger.warning("Refused with %d: %s", status, reason)
    return PlainTextResponse(reason, status)


class Shared:
    """Lets each caller have only so many requests under way at once, so that there is room for others."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._under_way: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 429."""
        caller = named(scope)
        if self._under_way[caller] >= self._most:
            await refuse(429, f"{self._most} requests are under way already.")(scope, receive, send)
            return
        self._under_way[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[caller] -= 1


class Brief:
    """Takes a request's body whole before anybody works on it, if it is small enough and comes in time."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest  # bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 413 (bytes) or 408 (seconds)."""
        taken: deque[Message] = deque()
        whole = False
        with anyio.move_on_after(BODY_SECONDS) as in_time:
            whole = await self._take(receive, taken)
        if taken and taken[-1]["type"] == "http.disconnect":
            return
        if in_time.cancelled_caught:
            await refuse(408, f"The request was not sent in {BODY_SECONDS:.0f} seconds.")(scope, receive, send)
        elif not whole:
            await refuse(413, f"The request is larger than {self._largest} bytes.")(scope, receive, send)
        else:

            async def again() -> Message:
                return taken.popleft() if taken else await receive()

            await self._app(scope, again, send)

    async def _take(self, receive: Receive, taken: deque[Message]) -> bool:
        """Take the messages of a body, and tell whether it is small enough."""
        size = 0
        while True:
            message = await receive()
            taken.append(message)
            size += len(message.get("body", b""))
            if size > self._largest:
                return False
            if not message.get("more_body", False):
                return True
