"""Who may come in over HTTP: by name of this server, by origin, by token; and how many requests at once."""

import hashlib
import hmac
import logging
from collections import Counter
from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken, TokenVerifier
from pydantic import SecretStr
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from luma_mcp.core.settings import Settings
from luma_mcp.transports.exchange import named

LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
OWN_PAGES = frozenset({"none", "same-origin"})  # Sec-Fetch-Site of what a person typed, and of a server's own pages
FORWARDED = frozenset(
    {"forwarded", "via", "x-real-ip", "x-client-ip", "x-cluster-client-ip", "true-client-ip", "x-host", "cdn-loop"}
)
FORWARDED_PREFIXES = (
    *("x-forwarded", "x-original-", "x-rewrite-", "x-proxy", "x-envoy-", "x-azure-", "x-appengine-", "x-amzn-"),
    *("cf-", "fly-", "fastly-", "tailscale-", "x-tailscale-"),
)
PROXIED = "Whoever comes through a proxy needs a token: set LUMA_MCP_AUTH_TOKENS, which is none."
NAMED_TOKENS = (
    "This server wants the header Authorization: Bearer <token>, with one of the tokens in LUMA_MCP_AUTH_TOKENS."
)
OWN_TOKEN = "This server wants the header Authorization: Bearer <token>; luma-mcp token, run on its machine, prints it."  # noqa: S105 - names no token
EVERYWHERE = frozenset({"0.0.0.0", "::", "[::]", ""})  # noqa: S104 - named to be told apart from real addresses
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
    public = (urlsplit(settings.public_url).hostname or "") if settings.tokens else ""
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


def foreign_page(headers: Headers, known: Collection[str]) -> str:
    """Name the foreign web page that a browser says a request comes from; empty for none."""
    origins = headers.getlist("origin")
    foreign = next((origin for origin in origins if not is_known_origin(origin, known)), "")
    sites = {site.strip().lower() for site in headers.getlist("sec-fetch-site")} - OWN_PAGES
    return foreign or ("another site" if sites and not origins else "")


def is_forwarded(headers: Headers) -> bool:
    """Tell whether a proxy passed a request on."""
    return any(name in FORWARDED or name.startswith(FORWARDED_PREFIXES) for name in headers)


class Gate:
    """Lets in only who calls this server by its name, from no foreign web page: browsers can be tricked to come.

    Where no token is needed, nobody comes through a proxy, which makes whoever is behind it look like this machine.
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
        host = headers.get("host", "")
        if not is_known_host(host, self._known):
            return refuse(421, f"This server does not go by the name {host[:100]!r}: add it to LUMA_MCP_ALLOWED_HOSTS.")
        if page := foreign_page(headers, self._known):
            return refuse(403, f"Web pages of {page[:100]!r} may not call this server.")
        if not self._takes_forwarded and is_forwarded(headers):
            return refuse(403, PROXIED)
        return None


def refuse(status: int, reason: str) -> PlainTextResponse:
    """Refuse a request, and log why."""
    logger.warning("Refused with %d: %s", status, reason)
    return PlainTextResponse(reason, status)


class NeedsToken:
    """Lets in only whose token is known, and says where others find one; `hint` is told with a 401."""

    def __init__(self, app: ASGIApp, hint: str) -> None:
        self._app = app
        self._hint = hint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, or refuse it with 401."""
        if isinstance(scope.get("user"), AuthenticatedUser):
            await self._app(scope, receive, send)
        else:
            await self._refusal()(scope, receive, send)

    def _refusal(self) -> Response:
        header = f'Bearer error="invalid_token", error_description="{self._hint}"'
        told = {"error": "invalid_token", "error_description": self._hint}
        return JSONResponse(told, 401, headers={"WWW-Authenticate": header})


class Shared:
    """Lets each caller have only so many requests under way at once, so that there is room for others.

    Several that share what is `under_way` have one bound together.
    """

    def __init__(self, app: ASGIApp, most: int, under_way: Counter[str]) -> None:
        self._app = app
        self._most = most
        self._under_way = under_way

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
