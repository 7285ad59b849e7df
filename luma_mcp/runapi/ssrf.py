"""Where files may be fetched from and sent to: public addresses, by name and again on the connection itself."""

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from luma_mcp.core.addresses import is_port, is_public_host
from luma_mcp.core.errors import DownloadFailed, DownloadRefused, LumaError, UploadAddressRefused

MAX_REDIRECTS = 5
CONNECTING = "connection.connect_tcp.started"
CONNECTED = "connection.connect_tcp.complete"

Origin = tuple[str, str, int | None]


class Purpose(NamedTuple):
    """What an address is used for, and what is said where it cannot be."""

    address: str  # how a message names the address
    unused: str  # what is not done with it
    refused: type[LumaError]
    private_hint: str  # the advice if it is private
    tells_peer: bool = True  # whether a message says where a name leads


FETCHING = Purpose(
    "The finished video's address",
    "is not fetched",
    DownloadRefused,
    "If this is your own storage, or a VPN gives every name a private address, set LUMA_MCP_ALLOW_PRIVATE=true, restart"
    " this server, then call save_video.",
)
UPLOADING = Purpose(
    "The upload address that RunAPI named",
    "gets no files",
    UploadAddressRefused,
    "If this is your own storage, or a VPN gives every name a private address, set LUMA_MCP_ALLOW_PRIVATE=true, restart"
    " this server, then call modify_video again. Nothing was submitted.",
)


def origin(url: httpx.URL) -> Origin:
    return url.scheme, url.host, url.port


class DownloadGuard:
    """Keeps downloads off private networks, unless these are allowed or are RunAPI's own address."""

    purpose = FETCHING
    schemes = frozenset(("http", "https"))

    def __init__(self, *, trusted: str, allow_private: bool) -> None:
        self._trusted = origin(httpx.URL(trusted))
        self._allow_private = allow_private

    def check_url(self, url: httpx.URL) -> "ConnectionCheck":
        """Check an address by its name, and give what checks the connection to it; raise the purpose's error."""
        try:
            return self._check_url(url)
        except ValueError as error:  # a host in a form that no host can have
            raise self.purpose.refused(f"{self.purpose.address} names no host.") from error

    def _check_url(self, url: httpx.URL) -> "ConnectionCheck":
        address, unused, refused = self.purpose.address, self.purpose.unused, self.purpose.refused
        if url.scheme not in self.schemes:
            raise refused(f"{address} has the scheme {url.scheme[:20]!r}, so it {unused}.")
        if not url.host or not is_port(url.port):
            raise refused(f"{address} has a host or a port that cannot be one.")
        if url.userinfo:
            raise refused(f"{address} asks for a user name or password to be sent.")
        free = self._allow_private or origin(url) == self._trusted
        if not free and not is_public_host(url.host):
            raise private_address_error(self.purpose, url.host)
        return ConnectionCheck(url.raw_host.decode("ascii"), self.purpose, free=free)

    @asynccontextmanager
    async def get(
        self, http: httpx.AsyncClient, url: httpx.URL, headers: Mapping[str, str], timeout: httpx.Timeout
    ) -> AsyncGenerator[httpx.Response]:
        """Send a GET, following redirects, each step checked; the response is streamed inside.

        Raises `DownloadRefused`, `DownloadFailed` and httpx's errors.
        """
        for _ in range(MAX_REDIRECTS + 1):
            watch = self.check_url(url)
            request = http.build_request("GET", url, headers=headers, timeout=timeout, extensions={"trace": watch})
            try:
                response = await http.send(request, stream=True, follow_redirects=False)
            except ValueError as error:  # httpx reads where a redirect leads, in whatever form that is
                raise DownloadFailed("The finished video's address redirects to what is no address.") from error
            try:
                watch.confirm(response)
                if response.next_request is None:
                    yield response
                    return
                url = response.next_request.url
            finally:
                await response.aclose()
        raise DownloadFailed("The finished video's address redirects in circles.")


class UploadGuard(DownloadGuard):
    """Keeps uploads on https and off private networks, unless RunAPI itself is at a private address."""

    purpose = UPLOADING

    def __init__(self, *, trusted: str, allow_private: bool) -> None:
        home = httpx.URL(trusted)
        near = not is_public_host(home.host)
        super().__init__(trusted=trusted, allow_private=allow_private or near)
        self.schemes = frozenset(("https", home.scheme) if near else ("https",))


class ConnectionCheck:
    """Checks one connection before anything is sent on it: a public name may lead to a private address.

    A proxy of the user's is let through; what it connects to is its decision.
    """

    def __init__(self, host: str, purpose: Purpose, *, free: bool) -> None:
        self._host = host
        self._purpose = purpose
        self._free = free
        self._direct = True
        self._seen = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of httpcore's `trace` extension; raise the purpose's error for a private peer."""
        if event == CONNECTING:
            self._direct = info["host"] == self._host
        elif event == CONNECTED:
            self._seen = True
            stream = info["return_value"]
            peer = stream.get_extra_info("server_addr")
            if peer is None:
                await stream.aclose()
                raise httpx.ConnectError("the connection was broken at once")
            if self._direct and not self._free and not is_public_host(str(peer[0])):
                await stream.aclose()
                where = f"{self._host} ({peer[0]})" if self._purpose.tells_peer else self._host
                raise private_address_error(self._purpose, where)

    def confirm(self, response: httpx.Response) -> None:
        """Refuse a response on a connection that was not checked."""
        if "network_stream" in response.extensions and not self._free and not self._seen:
            raise self._purpose.refused(f"{self._purpose.address}: the connection could not be checked.")


def private_address_error(purpose: Purpose, host: str) -> LumaError:
    return purpose.refused(f"{purpose.address} {host} is private, so it {purpose.unused}.", hint=purpose.private_hint)
