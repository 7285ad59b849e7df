"""Where finished videos may be fetched from: public addresses, by name and again on the connection itself."""

from collections.abc import Mapping
from typing import Any

import httpx

from luma_mcp.sources import is_port, is_public_host
from luma_mcp.storage_errors import DownloadRefused

PRIVATE_HINT = (
    "If this is your own storage, or a VPN gives every name a private address, set LUMA_MCP_ALLOW_PRIVATE=true, restart"
    " this server, then call save_video. Do not repeat modify_video."
)
CONNECTING = "connection.connect_tcp.started"
CONNECTED = "connection.connect_tcp.complete"

Origin = tuple[str, str, int | None]


def origin(url: httpx.URL) -> Origin:
    """Name where a URL leads: scheme, host and port."""
    return url.scheme, url.host, url.port


class PublicNetwork:
    """Keeps downloads off private networks. RunAPI's own address is trusted, whatever it is; so is all if allowed."""

    def __init__(self, *, trusted: str, allow_private: bool) -> None:
        self._trusted = origin(httpx.URL(trusted))
        self._allow_private = allow_private

    def watch(self, url: httpx.URL) -> "Watch":
        """Check an address by its name, and give what looks at the connection to it; raise `DownloadRefused`."""
        try:
            return self._watch(url)
        except ValueError as error:  # a host in a form that no host can have
            raise DownloadRefused("The finished video's address names no host.") from error

    def _watch(self, url: httpx.URL) -> "Watch":
        if url.scheme not in ("http", "https"):
            raise DownloadRefused(f"The finished video's address has the scheme {url.scheme!r}, which is not fetched.")
        if not is_port(url.port):
            raise DownloadRefused("The finished video's address has a port that cannot be one.")
        if url.userinfo:
            raise DownloadRefused("The finished video's address asks for a user name or password to be sent.")
        free = self._allow_private or origin(url) == self._trusted
        if not free and not is_public_host(url.host):
            raise private(url.host)
        return Watch(url.raw_host.decode("ascii"), free=free)


class Watch:
    """Looks at one connection before anything is sent on it: a public name may lead to a private address.

    A connection to a proxy of the user's is let through; what the proxy connects to is the proxy's decision.
    """

    def __init__(self, host: str, *, free: bool) -> None:
        self._host = host
        self._free = free
        self._direct = True
        self._seen = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        """Take an event of httpcore's `trace` extension."""
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
                raise private(f"{self._host} ({peer[0]})")

    def confirm(self, response: httpx.Response) -> None:
        """Refuse an answer that came on a connection nobody looked at."""
        if "network_stream" in response.extensions and not self._free and not self._seen:
            raise DownloadRefused("The connection to the finished video's address could not be checked.")


def private(host: str) -> DownloadRefused:
    """Refuse an address that is not on the public internet."""
    return DownloadRefused(f"The finished video's address {host} is private, so it is not fetched.", hint=PRIVATE_HINT)
