"""What every HTTP request passes: the log, refusals of what is foreign or too much, and the check of tokens."""

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, nullcontext
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from luma_mcp.server.context import DISCONNECTED_KEY
from luma_mcp.transports.auth import authenticated_caller, is_own_host, is_own_origin
from luma_mcp.transports.health import HEALTH_PATH, METRICS_PATH, READY_PATH

LOGGED_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
PROBE_PATHS = frozenset({HEALTH_PATH, READY_PATH, METRICS_PATH})
OWN_PAGES = frozenset({"none", "same-origin"})  # Sec-Fetch-Site of what a person typed, and of a server's own pages
PROXY_HEADERS = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "x-host", "cdn-loop"}
)
PROXY_HEADER_PREFIXES = (
    *("x-forwarded", "x-original-", "x-rewrite-", "x-proxy", "x-envoy-", "x-azure-", "x-appengine-", "x-amzn-"),
    *("cf-", "fly-", "fastly-", "tailscale-", "x-tailscale-"),
)
PROXY_REFUSAL = "Whoever comes through a proxy needs a token: set LUMA_MCP_AUTH_TOKENS, which is none."
MAX_HEAD_BYTES = 32_768
access_logger = logging.getLogger("luma_mcp.access")
logger = logging.getLogger(__name__)


class ObservedRequest:
    """Notices when the client of a request disconnects, and remembers the status of the answer."""

    def __init__(self, receive: Receive, send: Send) -> None:
        self.disconnected = anyio.Event()
        self.status = 0
        self._receive = receive
        self._send = send

    async def receive(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.disconnected.set()
        return message

    async def send(self, message: Message) -> None:
        await self._send(message)
        if message["type"] == "http.response.start":
            self.status = message["status"]


class AccessLog:
    """Logs each request when it is over, and lets whoever serves it know when its client disconnects.

    Paths other than `paths` are not named in the log. A POST is tracked as a request that is to be answered before the
    end.
    """

    def __init__(
        self, app: ASGIApp, track_request: Callable[[], AbstractContextManager[None]], paths: Collection[str]
    ) -> None:
        self._app = app
        self._track_request = track_request
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        observed = ObservedRequest(receive, send)
        scope[DISCONNECTED_KEY] = observed.disconnected
        begun, path = anyio.current_time(), scope["path"]
        try:
            with self._track_request() if scope["method"] == "POST" else nullcontext():
                await self._app(scope, observed.receive, observed.send)
        finally:
            self._log(scope, path, observed.status, anyio.current_time() - begun)

    def _log(self, scope: Scope, path: str, status: int, seconds: float) -> None:
        """Log without what may be secret: paths beyond their first part, queries, headers."""
        first = "/" + path.lstrip("/").partition("/")[0]
        client = scope.get("client")
        line = {
            "method": scope["method"] if scope["method"] in LOGGED_METHODS else "other",
            "path": first if first in self._paths else "other",
            "status": status,
            "seconds": round(seconds, 3),
            "caller": authenticated_caller(scope),
            "from": client[0] if client else "",
        }
        access_logger.log(logging.DEBUG if first in PROBE_PATHS else logging.INFO, "%s", json.dumps(line))


def foreign_page(headers: Headers, known: Collection[str]) -> str:
    """Name the foreign web page that a browser says a request comes from; empty for none."""
    origins = headers.getlist("origin")
    foreign = next((origin for origin in origins if not is_own_origin(origin, known)), "")
    sites = {site.strip().lower() for site in headers.getlist("sec-fetch-site")} - OWN_PAGES
    return foreign or ("another site" if sites and not origins else "")


def is_forwarded(headers: Headers) -> bool:
    return any(name in PROXY_HEADERS or name.startswith(PROXY_HEADER_PREFIXES) for name in headers)


class TransportSecurity:
    """Refuses requests under foreign host names and from foreign web pages (DNS rebinding, cross-site requests).

    Where no token is needed it refuses proxies too, which make whoever is behind them look like this machine.
    """

    def __init__(
        self,
        app: ASGIApp,
        known: Collection[str],
        unchecked: tuple[str, ...],
        public_url: str,
        *,
        takes_forwarded: bool = True,
    ) -> None:
        self._app = app
        self._known = known
        self._takes_forwarded = takes_forwarded
        self._unchecked = unchecked
        self._public = urlsplit(public_url)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 421 (host name), 403 (origin, proxy) or 431 (size of its head)."""
        unchecked = scope["path"].startswith(self._unchecked)
        answer = None if unchecked else self._refusal(Headers(scope=scope))
        self._apply_proxy_prefix(scope)
        await (answer or self._app)(scope, receive, send)

    def _apply_proxy_prefix(self, scope: Scope) -> None:
        """Put back the public path that the proxy took off, for links that lead through the proxy."""
        prefix = self._public.path.rstrip("/")
        if prefix and Headers(scope=scope).get("host", "").lower() == self._public.netloc.lower():
            scope["root_path"], scope["path"] = prefix, prefix + scope["path"]

    def _refusal(self, headers: Headers) -> PlainTextResponse | None:
        if sum(len(name) + len(value) for name, value in headers.raw) > MAX_HEAD_BYTES:
            return refusal_response(431, f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")
        host = headers.get("host", "")
        if not is_own_host(host, self._known):
            return refusal_response(
                421, f"This server does not go by the name {host[:100]!r}: add it to LUMA_MCP_ALLOWED_HOSTS."
            )
        if page := foreign_page(headers, self._known):
            return refusal_response(403, f"Web pages of {page[:100]!r} may not call this server.")
        if not self._takes_forwarded and is_forwarded(headers):
            return refusal_response(403, PROXY_REFUSAL)
        return None


def refusal_response(status: int, reason: str) -> PlainTextResponse:
    logger.warning("Refused with %d: %s", status, reason)
    return PlainTextResponse(reason, status)


class ConcurrencyLimit:
    """Bounds how many requests of one caller are under way at once, so that there is room for others.

    Instances that share `under_way` have one bound together.
    """

    def __init__(self, app: ASGIApp, most: int, under_way: Counter[str]) -> None:
        self._app = app
        self._limit = most
        self._under_way = under_way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 429."""
        caller = authenticated_caller(scope)
        if self._under_way[caller] >= self._limit:
            await refusal_response(429, f"{self._limit} requests are under way already.")(scope, receive, send)
            return
        self._under_way[caller] += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._under_way[caller] -= 1
            if not self._under_way[caller]:
                del self._under_way[caller]  # callers come and go
