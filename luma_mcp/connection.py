"""The one HTTP client of the process."""

import ssl
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy

import httpx
import truststore

from luma_mcp import __version__
from luma_mcp.errors import ProxyUnusable

TIMEOUT = httpx.Timeout(30.0, connect=10.0, pool=30.0)
LIMITS = httpx.Limits(max_connections=20, max_keepalive_connections=10)


class Connection:
    """Holds the client, which is made at first use: a server that is only probed should not pay for it."""

    def __init__(self, make: Callable[[], httpx.AsyncClient]) -> None:
        self._make = make
        self._made: httpx.AsyncClient | None = None

    @property
    def http(self) -> httpx.AsyncClient:
        """Give the client."""
        if self._made is None:
            self._made = self._make()
        return self._made

    def check(self) -> None:
        """Raise `ProxyUnusable` if no client can be made, as with proxy variables that httpx cannot use."""
        try:
            _ = self.http
        except (ImportError, ValueError, httpx.InvalidURL) as error:
            raise ProxyUnusable(str(error)) from error

    async def aclose(self) -> None:
        """Close the client if there is one."""
        if self._made is not None:
            await self._made.aclose()


@asynccontextmanager
async def open_connection(transport: httpx.AsyncBaseTransport | None) -> AsyncGenerator[Connection]:
    """Give a connection to the network, or to `transport` in its place, and close it when left."""
    connection = Connection(lambda: http_client(transport))
    try:
        yield connection
    finally:
        await connection.aclose()


def http_client(transport: httpx.AsyncBaseTransport | None) -> httpx.AsyncClient:
    """Make the client: the system's trust store, its proxies, bounded waits (seconds), and no cookies kept."""
    return httpx.AsyncClient(
        transport=transport,
        verify=truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        timeout=TIMEOUT,
        limits=LIMITS,
        headers={"User-Agent": f"runapi-luma-mcp/{__version__}"},
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
    )
