"""The HTTP clients of the process: one for RunAPI, one for files."""

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import cached_property
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import truststore

from luma_mcp import __version__
from luma_mcp.core.settings_proxies import Proxies, Proxy, read_proxies

CONNECT_SECONDS = 10.0
TIMEOUT = httpx.Timeout(30.0, connect=CONNECT_SECONDS, pool=30.0)
MOST_CONNECTIONS = 20
KEPT = 10


class Connection:
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
        self._for_runapi = self._for_runapi or self._make(KEPT)
        return self._for_runapi

    @property
    def storage(self) -> httpx.AsyncClient:
        """Give the client for files at any address; it uses no connection twice, so that each can be looked at."""
        self._for_storage = self._for_storage or self._make(0)
        return self._for_storage

    def check(self, url: str) -> None:
        """Raise `ProxyUnusable` if a URL goes through a proxy that cannot be used."""
        self._proxies.proxy_for(httpx.URL(url))

    async def aclose(self) -> None:
        """Close the clients that there are."""
        for client in (self._for_runapi, self._for_storage):
            if client is not None:
                await client.aclose()

    @cached_property
    def _proxies(self) -> Proxies:
        return Proxies() if self._transport else read_proxies()

    def _make(self, kept: int) -> httpx.AsyncClient:
        return http_client(self._transport or Routed(self._proxies, kept), self._timeout)


class Routed(httpx.AsyncBaseTransport):
    """The network, with the system's trust store: each request goes through the proxy that is meant for it, or none."""

    def __init__(self, proxies: Proxies, kept: int) -> None:
        self._proxies = proxies
        self._limits = httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=kept)
        self._trust = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._ways: dict[Proxy | None, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; raise `ProxyUnusable` before anything is sent."""
        return await self._way(self._proxies.proxy_for(request.url)).handle_async_request(request)

    async def aclose(self) -> None:
        """Close all connections."""
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
async def open_connection(
    transport: httpx.AsyncBaseTransport | None, timeout: httpx.Timeout = TIMEOUT
) -> AsyncGenerator[Connection]:
    """Give a connection to the network, or to `transport` in its place, and close it when left."""
    connection = Connection(transport, timeout)
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
