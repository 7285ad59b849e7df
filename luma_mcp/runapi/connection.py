"""HTTP as this server uses it: clients with their proxies and trusted certificates, bounded answers, and what broke."""

import re
import ssl
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import cast

import httpx
import truststore
from pydantic import SecretStr

from luma_mcp import __version__
from luma_mcp.core.errors import (
    BadAnswer,
    NetworkFailure,
)
from luma_mcp.core.settings_proxies import Proxies, Proxy, read_proxies
from luma_mcp.core.text import redact_secret, sanitise_text

CONNECT_SECONDS = 10.0
TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_SECONDS, pool=30.0)
MAX_HTTP_CONNECTIONS = 20
MAX_IDLE_CONNECTIONS = 8  # each is looked at for every request, and to make one costs more than a request
MAX_RESPONSE_BYTES = 1 << 22
PROXY_STATUS = re.compile(r"^(\d{3})\b.*$")
NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.ProxyError, httpx.UnsupportedProtocol)
BODY_HEADERS = frozenset({b"content-encoding", b"content-length", b"transfer-encoding"})


class HttpClients:
    """Holds the clients, which are made at first use: a server that is only probed should not pay for them.

    With a `transport` in place of the network, no proxy counts. `timeout` bounds each wait.
    """

    def __init__(self, transport: httpx.AsyncBaseTransport | None, timeout: httpx.Timeout = TIMEOUT) -> None:
        self._transport = transport
        self._timeout = timeout
        self._for_runapi: httpx.AsyncClient | None = None
        self._for_storage: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """Give the client for RunAPI."""
        self._for_runapi = self._for_runapi or http_client(self._network, self._timeout)
        return self._for_runapi

    async def exchange(self, request: httpx.Request) -> httpx.Response:
        """Send a request of the client for RunAPI, and give the response, which is to be closed.

        What a client does besides sending is of no use here: there are no cookies, and no redirect is followed.
        """
        response = await self._network.handle_async_request(request)
        response.request = request
        return response

    @property
    def storage(self) -> httpx.AsyncClient:
        """Give the client for files at any address; it keeps no connection, so that each new one can be checked."""
        if self._for_storage is None:
            network = self._transport or ProxyTransport(self._proxies, 0)
            self._for_storage = http_client(network, self._timeout)
        return self._for_storage

    def check_proxy(self, url: str | httpx.URL) -> None:
        """Raise `ProxyUnusable` if a URL goes through a proxy that cannot be used."""
        self._proxies.proxy_for(httpx.URL(url))

    async def aclose(self) -> None:
        """Close the clients that were made."""
        for client in (self._for_runapi, self._for_storage):
            if client is not None:
                await client.aclose()

    @cached_property
    def _proxies(self) -> Proxies:
        return Proxies() if self._transport else read_proxies()

    @cached_property
    def _network(self) -> httpx.AsyncBaseTransport:
        return self._transport or ProxyTransport(self._proxies, MAX_IDLE_CONNECTIONS)


class ProxyTransport(httpx.AsyncBaseTransport):
    """The network, with the system's trust store; each request goes through its URL's proxy, if it has one."""

    def __init__(self, proxies: Proxies, kept: int) -> None:
        self._proxies = proxies
        self._limits = httpx.Limits(max_connections=MAX_HTTP_CONNECTIONS, max_keepalive_connections=kept)
        self._trust = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ways: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self._way(self._proxies.proxy_for(request.url)).handle_async_request(request)

    async def aclose(self) -> None:
        for way in self._ways.values():
            await way.aclose()

    def _way(self, proxy: Proxy | None) -> httpx.AsyncHTTPTransport:
        if proxy not in self._ways:
            through = httpx.Proxy(proxy.url, ssl_context=self._trust if proxy.is_tls else None) if proxy else None
            self._ways[proxy] = httpx.AsyncHTTPTransport(
                verify=self._trust, limits=self._limits, proxy=through, trust_env=False
            )
        return self._ways[proxy]


@asynccontextmanager
async def open_http_clients(
    transport: httpx.AsyncBaseTransport | None, timeout: httpx.Timeout = TIMEOUT
) -> AsyncGenerator[HttpClients]:
    """Give clients for the network, or for `transport` in its place, and close them when left."""
    connection = HttpClients(transport, timeout)
    try:
        yield connection
    finally:
        await connection.aclose()


def http_client(transport: httpx.AsyncBaseTransport, timeout: httpx.Timeout = TIMEOUT) -> httpx.AsyncClient:
    """Make a client with bounded waits and no cookies, which does not look at the environment by itself."""
    return httpx.AsyncClient(
        transport=transport,
        trust_env=False,
        timeout=timeout,
        headers={"User-Agent": f"runapi-luma-mcp/{__version__}", "Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )


async def read_bounded(response: httpx.Response) -> httpx.Response:
    """Read a response whole; raise `BadAnswer` for one that is larger than any API's, or compressed more than once."""
    if "," in response.headers.get("content-encoding", ""):
        raise BadAnswer(f"{response.request.url.host} sent an answer that is packed more than once.")
    content = bytearray()
    unpacked = response.aiter_bytes() if "content-encoding" in response.headers else aiter(as_stream(response))
    async with aclosing(cast("AsyncGenerator[bytes]", unpacked)) as pieces:
        async for piece in pieces:
            content += piece
            if len(content) > MAX_RESPONSE_BYTES:
                raise BadAnswer(f"{response.request.url.host} sent an answer that is too large.")
    headers = [(name, value) for name, value in response.headers.raw if name.lower() not in BODY_HEADERS]
    return httpx.Response(response.status_code, headers=headers, content=bytes(content), request=response.request)


def as_stream(response: httpx.Response) -> httpx.AsyncByteStream:
    return cast("httpx.AsyncByteStream", response.stream)


def network_failure(error: httpx.HTTPError | ValueError, host: str, hidden: SecretStr | None) -> NetworkFailure:
    """Say in one sentence what broke on the way to `host`; `hidden` is not in it."""
    causes: dict[type[httpx.HTTPError], str] = {
        httpx.ConnectTimeout: "did not accept a connection in time",
        httpx.PoolTimeout: "is busy with this server's other requests",
        httpx.TimeoutException: "did not answer in time",
        httpx.ProxyError: "could not be reached through the proxy",
        httpx.ConnectError: "could not be reached",
    }
    cause = next((words for kind, words in causes.items() if isinstance(error, kind)), "broke the connection")
    detail = sanitise_text(str(error)) or type(error).__name__
    if isinstance(error, httpx.ProxyError):
        detail = PROXY_STATUS.sub(r"\1", detail)  # what a proxy says beside it may repeat a password
    failure = NetworkFailure(redact_secret(f"{host} {cause} ({detail}).", hidden))
    failure.sent = not isinstance(error, NEVER_SENT)
    return failure
