"""The HTTP clients of the process: one for RunAPI, one for files."""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from functools import partial
from http.cookiejar import CookieJar, DefaultCookiePolicy
from urllib.request import getproxies

import httpx
import truststore

from luma_mcp import __version__
from luma_mcp.errors import ProxyUnusable

TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=30.0)
MOST_CONNECTIONS = 20
KEPT = 10


class Connection:
    """Holds the clients, which are made at first use: a server that is only probed should not pay for them."""

    def __init__(self, make: Callable[[int], httpx.AsyncClient]) -> None:
        self._make = make
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

    def check(self) -> None:
        """Raise `ProxyUnusable` if no client can be made, as with proxy variables that httpx cannot use."""
        try:
            _ = self.http
            check_proxy_ports()
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ProxyUnusable from error

    async def aclose(self) -> None:
        """Close the clients that there are."""
        for client in (self._for_runapi, self._for_storage):
            if client is not None:
                await client.aclose()


def check_proxy_ports() -> None:
    """Raise `ValueError` for a proxy at a port that no address has, which the event loop would not take."""
    proxies = getproxies()
    for proxy in filter(None, map(proxies.get, ("http", "https", "all"))):
        if not 0 <= (httpx.URL(proxy if "://" in proxy else f"http://{proxy}").port or 0) < 65536:
            raise ValueError("no port")


@asynccontextmanager
async def open_connection(transport: httpx.AsyncBaseTransport | None) -> AsyncGenerator[Connection]:
    """Give a connection to the network, or to `transport` in its place, and close it when left."""
    connection = Connection(partial(http_client, transport))
    try:
        yield connection
    finally:
        await connection.aclose()


def http_client(transport: httpx.AsyncBaseTransport | None, kept: int) -> httpx.AsyncClient:
    """Make a client with the system's trust store and proxies, bounded waits, no cookies, `kept` idle connections."""
    return httpx.AsyncClient(
        transport=transport,
        verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        timeout=TIMEOUT,
        limits=httpx.Limits(max_connections=MOST_CONNECTIONS, max_keepalive_connections=kept),
        headers={"User-Agent": f"runapi-luma-mcp/{__version__}", "Accept-Encoding": "identity"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
