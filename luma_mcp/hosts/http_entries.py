"""The entry with which a host connects to a server that runs already, and what it changes in the host's file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from luma_mcp.core.addresses import LOOPBACK, WILDCARD_ADDRESSES, bracketed
from luma_mcp.core.settings import Settings
from luma_mcp.core.settings_sources import BadSetting
from luma_mcp.core.text import child, is_object
from luma_mcp.hosts.config_file import HostFileUnusable
from luma_mcp.hosts.existing import address_of, read_servers
from luma_mcp.hosts.formats import KeyPath
from luma_mcp.hosts.registry import ENTRY_NAME, Entry, Host

AUTHORIZATION = "Authorization"
TOKEN_PLACEHOLDER = "your token"  # noqa: S105 - stands where people put theirs
ONLY_PROGRAMS = (
    "{title} connects to no address with a header of its own from its file; without --transport http the entry starts"
    " a server."
)
NO_SSE = "{title} does not speak SSE: use --transport http."


@dataclass(frozen=True, slots=True)
class ServerEndpoint:
    """Where a host is to connect to, and the token that it shows there, empty for none."""

    url: str
    token: str
    is_sse: bool


def server_endpoint(settings: Settings, token: str) -> ServerEndpoint:
    """Give the address of the server that these settings describe; raise `BadSetting` where its port is not known."""
    if not (settings.port or settings.public_url):
        raise BadSetting("LUMA_MCP_PORT", "must be the port that the server listens on, not any free one")
    host = LOOPBACK if settings.host in WILDCARD_ADDRESSES else settings.host
    base = settings.public_url or f"http://{bracketed(host)}:{settings.port}"
    is_sse = settings.transport == "sse"
    return ServerEndpoint(f"{base}/{'sse' if is_sse else 'mcp'}", token, is_sse)


def new_http_entry(host: Host, target: ServerEndpoint) -> Entry:
    """Give the entry that connects a host; raise `BadSetting` for a host that cannot."""
    names = host.http
    if names is None:
        raise BadSetting("--transport", ONLY_PROGRAMS.format(title=host.title))
    if target.is_sse and names.sse is None:
        raise BadSetting("--transport", NO_SSE.format(title=host.title))
    more = (names.sse if target.is_sse else names.more) or {}
    url = names.sse_url if target.is_sse else names.url
    header = {names.headers: {AUTHORIZATION: f"Bearer {target.token}"}} if target.token else {}
    return {**more, url: target.url, **header}


def http_entry_changes(host: Host, document: Mapping[str, Any], target: ServerEndpoint) -> dict[KeyPath, object]:
    """Give what has to be changed in a file; raise `HostFileUnusable` where the name stands for something else."""
    place, entry = (*host.servers, ENTRY_NAME), new_http_entry(host, target)
    there = read_servers(host, document).get(ENTRY_NAME)
    if there is None:
        return {place: entry}
    if not is_object(there) or origin_of(there) != origin_of(entry):
        raise HostFileUnusable(
            f"There is an entry {ENTRY_NAME!r} already, which does not connect to {target.url}.",
            hint="Rename it or take it out by hand first.",
        )
    values = {key: value for key, value in entry.items() if not is_object(value) and there.get(key) != value}
    headers = {name: (key, value) for name, part in entry.items() if is_object(part) for key, value in part.items()}
    return {
        **{(*place, key): value for key, value in values.items()},
        **{
            (*place, name, key): value for name, (key, value) in headers.items() if child(there, name).get(key) != value
        },
    }


def origin_of(entry: Entry) -> tuple[str, str]:
    """Tell which server an entry connects to, empty for none."""
    try:
        parts = urlsplit(address_of(entry))
    except ValueError:
        return "", ""
    return parts.scheme, parts.netloc.lower()
